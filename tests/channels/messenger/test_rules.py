"""When Messenger lets us write."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.channels.contract import Permission
from shared.channels.messenger.rules import Context, may_write
from shared.events import AuthorKind
from tests.channels.messenger.sample import PAGE, PSID, an_inbox
from tests.channels.tables import a_reply

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
DAY, WEEK, MOMENT = timedelta(hours=24), timedelta(days=7), timedelta(microseconds=1)


def permission(after: timedelta, author: AuthorKind = "agent", granted: bool = True) -> Permission:
    draft = a_reply("messenger", Context(psid=PSID, at=AT).encode(), "Hello", author_kind=author)
    return may_write(draft, an_inbox(PAGE, 2, human_agent=granted), AT + after)


@pytest.mark.parametrize(
    ("after", "author", "granted", "expected"),
    [
        (timedelta(0), "agent", False, (True, "response", AT + DAY)),
        (timedelta(0), "automatic", False, (True, "response", AT + DAY)),
        (DAY - MOMENT, "automatic", True, (True, "response", AT + DAY)),
        (DAY, "agent", True, (True, "human_agent", AT + WEEK)),
        (DAY, "agent", False, (False, "window_closed", None)),
        (DAY, "automatic", True, (False, "window_closed", None)),
        (WEEK - MOMENT, "agent", True, (True, "human_agent", AT + WEEK)),
        (WEEK, "agent", True, (False, "window_closed", None)),
    ],
)
def test_a_day_for_everybody_and_a_week_for_people_with_the_feature(
    after: timedelta, author: AuthorKind, granted: bool, expected: tuple[bool, str, datetime | None]
) -> None:
    found = permission(after, author, granted)
    assert (found.allowed, found.reason, found.until) == expected
    assert found.sentence


def test_a_clock_that_runs_behind_the_vendors_closes_nothing() -> None:
    assert permission(-timedelta(minutes=5)).allowed


def test_nobody_is_written_to_who_never_wrote() -> None:
    found = may_write(a_reply("messenger", b"", "Hello"), an_inbox(PAGE, 2), AT)
    assert (found.allowed, found.reason) == (False, "no_reply_context")
    assert found.sentence


def test_an_instant_without_a_zone_is_not_a_context_of_ours() -> None:
    draft = a_reply("messenger", {"psid": PSID, "at": "2026-08-03T09:00:00", "v": 1}, "Hello")
    assert may_write(draft, an_inbox(PAGE, 2), AT).reason == "no_reply_context"
