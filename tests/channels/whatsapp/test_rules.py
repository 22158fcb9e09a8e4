"""When WhatsApp lets us write."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.channels.whatsapp.rules import Context, may_write
from tests.channels.tables import a_reply
from tests.channels.whatsapp.sample import INBOX, PHONE

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
DAY, MOMENT = timedelta(hours=24), timedelta(microseconds=1)


@pytest.mark.parametrize("author", ["agent", "automatic"])
def test_a_day_for_everybody_and_then_nothing_but_templates(author: str) -> None:
    draft = a_reply("whatsapp", Context(phone=PHONE, user_id="", at=AT).encode(), "Hello", author_kind=author)
    for age in (-timedelta(minutes=5), timedelta(0), DAY - MOMENT):
        found = may_write(draft, INBOX, AT + age)
        assert (found.allowed, found.reason, found.until) == (True, "response", AT + DAY)
    found = may_write(draft, INBOX, AT + DAY)
    assert (found.allowed, found.reason, found.until) == (False, "window_closed", None)
    assert "template" in found.sentence


@pytest.mark.parametrize(
    "context",
    [
        b"",
        {"phone": "", "user_id": "", "at": "2026-08-03T09:00:00Z"},
        {"phone": PHONE, "user_id": "", "at": "2026-08-03T09:00:00"},
    ],
)
def test_nobody_is_written_to_who_never_wrote(context: object) -> None:
    found = may_write(a_reply("whatsapp", context, "Hello"), INBOX, AT)
    assert (found.allowed, found.reason) == (False, "no_reply_context")
    assert found.sentence
