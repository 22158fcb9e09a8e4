"""Answering in Mirakl's threads beyond the payload tables: answers that get lost, and asking for them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from shared.channels.contract import Part, Try, always_allowed
from shared.channels.http import client
from shared.channels.mirakl import channel
from shared.channels.mirakl.inbound import Context
from shared.errors import OutcomeUnknown, Rejected, Unavailable
from tests.channels.mirakl.marketplace import DROPPED, Marketplace, listening
from tests.channels.mirakl.sample import INBOX, REPLY_CONTEXT, THREAD
from tests.channels.tables import REFERENCE, a_reply

NOW = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
TEXT = "Bonjour, nous regardons."


def a_part(text: str = TEXT, answered_at: datetime | None = NOW - timedelta(hours=1)) -> Part:
    context = Context(THREAD, [{"type": "CUSTOMER", "id": "8812"}], answered_at)
    return channel.render(a_reply("mirakl", msgspec.json.encode(context), text))[0]


def an_attempt(part: Part | None = None) -> Try:
    return Try(part=part or a_part(), reference=REFERENCE, started_at=NOW)


def a_thread(*messages: tuple[str, str, datetime]) -> dict[str, Any]:
    """Of messages of the shop: id, text, time."""
    shown = [
        {"id": id_, "body": body, "date_created": at.isoformat(), "from": {"type": "SHOP_USER"}}
        for id_, body, at in messages
    ]
    return {"status": 200, "body": {"id": THREAD, "messages": shown}}


async def asked(marketplace: Marketplace, attempt: Try) -> str | None:
    assert channel.ask is not None
    async with client() as http:
        return await channel.ask(http, attempt, marketplace.account, INBOX)


def test_the_channel_asks_rather_than_sends_twice() -> None:
    assert channel.ask is not None
    assert not channel.resend_unproven
    assert not channel.live
    assert channel.may_write is always_allowed
    assert (channel.verify, channel.receive) == (None, None)


async def test_an_answer_that_is_lost_after_it_was_taken_is_found_by_asking() -> None:
    taken = a_thread(("m-9", TEXT, NOW + timedelta(seconds=1)))
    async with listening(DROPPED, taken) as marketplace, client() as http:
        with pytest.raises(OutcomeUnknown):
            await channel.send(http, an_attempt(), marketplace.account, INBOX)
        assert await asked(marketplace, an_attempt()) == "m-9"
    assert [request["method"] for request in marketplace.requests] == ["POST", "GET"]


async def test_an_answer_that_never_arrived_is_not_found() -> None:
    async with listening(DROPPED, a_thread()) as marketplace, client() as http:
        with pytest.raises(OutcomeUnknown):
            await channel.send(http, an_attempt(), marketplace.account, INBOX)
        assert await asked(marketplace, an_attempt()) is None


async def test_a_question_that_gets_lost_can_be_asked_again() -> None:
    async with listening(DROPPED) as marketplace:
        with pytest.raises(Unavailable):
            await asked(marketplace, an_attempt())


async def test_nobody_there_means_that_nothing_was_sent() -> None:
    async with listening() as marketplace:
        account = marketplace.account
    async with client() as http:
        with pytest.raises(Unavailable):
            await channel.send(http, an_attempt(), account, INBOX)


@pytest.mark.parametrize(
    ("minutes_before", "answered_minutes_before", "found"),
    [(4, 60, "m-0"), (4, 3, None), (6, 60, None), (4, None, "m-0"), (6, None, None)],
)
async def test_the_same_words_prove_nothing_when_older_than_what_is_answered_or_than_clocks_differ(
    minutes_before: int, answered_minutes_before: int | None, found: str | None
) -> None:
    answered = None if answered_minutes_before is None else NOW - timedelta(minutes=answered_minutes_before)
    thread = a_thread(("m-0", TEXT, NOW - timedelta(minutes=minutes_before)))
    async with listening(thread) as marketplace:
        assert await asked(marketplace, an_attempt(a_part(answered_at=answered))) == found


async def test_the_same_words_that_another_part_has_brought_prove_nothing() -> None:
    thread = a_thread(("m-0", TEXT, NOW + timedelta(seconds=1)))
    async with listening(thread) as marketplace:
        assert await asked(marketplace, replace(an_attempt(), taken=frozenset({"m-0"}))) is None
        assert await asked(marketplace, replace(an_attempt(), taken=frozenset({"m-1"}))) == "m-0"


async def test_a_part_that_was_rendered_before_it_told_what_it_answers_can_be_asked_about() -> None:
    payload = {name: value for name, value in a_part().payload.items() if name != "after"}
    old = Part("text", payload, THREAD)
    async with listening(a_thread(("m-9", TEXT, NOW))) as marketplace:
        assert await asked(marketplace, an_attempt(old)) == "m-9"


@pytest.mark.parametrize("text", ["", "  ", "OK", "\x00\x00ok\n"])
def test_a_text_that_the_platform_finds_too_short_is_refused_in_words(text: str) -> None:
    with pytest.raises(Rejected, match="below 3 characters") as caught:
        channel.render(a_reply("mirakl", REPLY_CONTEXT, text))
    assert caught.value.code == "text_too_short"


@pytest.mark.parametrize(
    "context", [b"", b"{}", b'{"thread": "", "to": [{"type": "CUSTOMER"}]}', b'{"thread": "t", "to": []}']
)
def test_an_answer_to_no_thread_or_nobody_is_refused(context: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        channel.render(a_reply("mirakl", context, TEXT))
    assert caught.value.code == "no_reply_context"


def test_a_context_of_before_it_told_the_time_is_still_read() -> None:
    context = b'{"thread": "t-1", "to": [{"type": "CUSTOMER"}], "v": 1}'
    (part,) = channel.render(a_reply("mirakl", context, TEXT))
    assert part == Part("text", {"thread": "t-1", "to": [{"type": "CUSTOMER"}], "body": TEXT}, "t-1", TEXT)
