"""Messenger's Send API beyond the payload tables: every verdict, every page's own token, windows at the last moment."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.channels.contract import Part, Try
from shared.channels.messenger import channel
from shared.channels.messenger.outbound import VERDICTS
from shared.channels.messenger.rules import Context
from shared.clock import utc_now
from shared.errors import DragomanError, InboxMisconfigured, Throttled
from tests.channels.messenger.sample import ACCOUNT, INBOX, OTHER_PAGE, PAGE, PSID, REPLY_CONTEXT
from tests.channels.tables import FAR_AHEAD, REFERENCE, Vendor, a_reply

TAKEN = {"status": 200, "body": {"recipient_id": PSID, "message_id": "m_1"}}


def a_part(age: timedelta | None = None, **reply: Any) -> Part:
    context = REPLY_CONTEXT if age is None else Context(psid=PSID, at=utc_now() - age).encode()
    return channel.render(a_reply("messenger", context, "Guten Tag!", **reply))[0]


async def sent(
    answer: dict[str, Any], part: Part | None = None, inbox: Any = INBOX, account: Any = ACCOUNT
) -> dict[str, Any]:
    """What the vendor was asked. Raises what `send` raises."""
    vendor = Vendor([answer])
    async with vendor.client() as http:
        attempt = Try(part=part or a_part(), reference=REFERENCE, started_at=FAR_AHEAD)
        assert await channel.send(http, attempt, account, inbox) == "m_1"
    (request,) = vendor.requests
    return request


@pytest.mark.parametrize("codes", VERDICTS, ids=str)
async def test_a_documented_code_decides_whatever_the_status(codes: tuple[int | None, int | None]) -> None:
    code, subcode = codes
    error = {"code": code or 100_000, "message": "(#x) text of the vendor", "error_subcode": subcode}
    for status in (200, 400, 403, 500):
        with pytest.raises(DragomanError) as caught:
            await sent({"status": status, "body": {"error": error}})
        assert (type(caught.value), caught.value.code) == VERDICTS[codes]
        assert "text of the vendor" not in str(caught.value)


async def test_a_rate_limit_waits_as_long_as_the_vendor_says() -> None:
    for headers, wait in (({"retry-after": "120"}, timedelta(minutes=2)), ({}, None)):
        with pytest.raises(Throttled) as caught:
            await sent({"status": 400, "headers": headers, "body": {"error": {"code": 613}}})
        assert caught.value.retry_after == wait


async def test_every_page_is_answered_with_its_own_token() -> None:
    for page, token in ((PAGE, "EAAG-token-of-the-first-page"), (OTHER_PAGE, "EAAG-token-of-the-second-page")):
        request = await sent(TAKEN, inbox=ACCOUNT.inboxes[page])
        assert request["headers"]["authorization"] == f"Bearer {token}"
        assert request["url"] == f"https://graph.facebook.com/v25.0/{page}/messages"


async def test_a_page_without_a_token_is_misconfigured() -> None:
    with pytest.raises(InboxMisconfigured, match="page_token:999"):
        await sent(TAKEN, inbox=replace(INBOX, address="999"))


async def test_host_and_version_are_the_accounts() -> None:
    account = replace(ACCOUNT, settings={"graph_url": "http://127.0.0.1:8080/graph", "graph_version": "v26.0"})
    assert (await sent(TAKEN, account=account))["url"] == f"http://127.0.0.1:8080/graph/v26.0/{PAGE}/messages"


@pytest.mark.parametrize(
    ("age", "granted", "author", "expected"),
    [
        (timedelta(hours=23, minutes=59), False, "agent", "RESPONSE"),
        (timedelta(hours=23, minutes=59), True, "agent", "RESPONSE"),
        (timedelta(hours=24), True, "agent", "HUMAN_AGENT"),
        (timedelta(hours=24), False, "agent", "RESPONSE"),
        (timedelta(hours=24), True, "automatic", "RESPONSE"),
    ],
)
async def test_the_window_is_looked_at_when_the_call_is_made(
    age: timedelta, granted: bool, author: str, expected: str
) -> None:
    inbox = replace(INBOX, settings={"human_agent": granted})
    body = (await sent(TAKEN, a_part(age, author_kind=author), inbox))["body"]
    assert body.get("tag", body["messaging_type"]) == expected
    assert (body["messaging_type"] == "MESSAGE_TAG") == ("tag" in body)


async def test_a_part_that_was_kept_as_json_leaves_as_the_same_call() -> None:
    part = a_part()
    kept = replace(part, payload=json.loads(json.dumps(part.payload)))
    assert await sent(TAKEN, kept) == await sent(TAKEN, part)


def test_text_comes_first_and_every_file_by_itself() -> None:
    files = [{"kind": kind, "url": "https://files.example/x"} for kind in ("image", "video", "audio", "file", "odd")]
    parts = channel.render(a_reply("messenger", REPLY_CONTEXT, "a" * 2500, files))
    assert [part.kind for part in parts] == ["text", "text", *["attachment"] * 5]
    types = [part.payload["message"]["attachment"]["type"] for part in parts[2:]]
    assert types == ["image", "video", "audio", "file", "file"]
