"""The payload tables over a real connection, with the client that the services use; and asking, which has its own."""

import json
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from shared.channels.contract import Try
from shared.channels.http import client
from shared.channels.mirakl import channel
from shared.errors import DragomanError
from tests.channels.mirakl.marketplace import Marketplace, listening
from tests.channels.mirakl.sample import ACCOUNT, INBOX
from tests.channels.tables import FAR_AHEAD, REFERENCE, StoredFiles, Table, a_reply, shown_item, tables

HOST = urlsplit(ACCOUNT.settings["url"]).netloc
POLLS = tables("inbound", "mirakl")
REPLIES = [table for table in tables("outbound", "mirakl") if "request" in table.data]
QUESTIONS = tables("ask", "mirakl")


def shown(error: DragomanError) -> dict[str, Any]:
    return {"type": type(error).__name__, "code": error.code}


def with_wait(error: DragomanError) -> dict[str, Any]:
    wait = getattr(error, "retry_after", None)
    return shown(error) | ({} if wait is None else {"retry_after": wait.total_seconds()})


def at_home(found: Any, marketplace: Marketplace) -> Any:
    """As the tables have it, where the marketplace has a name."""
    return json.loads(json.dumps(found).replace(f"127.0.0.1:{marketplace.port}", HOST))


def asked(request: dict[str, Any]) -> dict[str, Any]:
    """The request without the liberty that clients take in writing its address."""
    url = urlsplit(request["url"])
    return request | {"url": (url.netloc, url.path, parse_qsl(url.query))}


def as_asked(marketplace: Marketplace) -> list[dict[str, Any]]:
    return [asked(request) for request in at_home(marketplace.requests, marketplace)]


@pytest.mark.parametrize("table", POLLS, ids=str)
async def test_a_poll_over_the_wire_brings_the_same(table: Table) -> None:
    case = table.data
    found: dict[str, Any] = {"items": []}
    async with listening(*(call["answer"] for call in case["calls"])) as marketplace, client() as http:
        try:
            async for page in channel.poll(http, marketplace.account, INBOX, case["cursor"]):
                found["items"] += [shown_item(item) for item in page.items]
                found["cursor_after"] = page.cursor
        except DragomanError as error:
            found["error"] = shown(error)
    assert as_asked(marketplace) == [asked(call["request"]) for call in case["calls"]]
    assert at_home(found, marketplace) == {n: case[n] for n in ("items", "cursor_after", "error") if n in case}


@pytest.mark.parametrize("table", REPLIES, ids=str)
async def test_a_reply_over_the_wire_leaves_the_same(table: Table) -> None:
    case = table.data
    part = channel.render(a_reply("mirakl", **case["reply"]))[case.get("part", 0)]
    attempt = Try(part=part, reference=REFERENCE, started_at=FAR_AHEAD, files=StoredFiles())
    found: dict[str, Any] = {}
    async with listening(case["vendor_answer"]) as marketplace, client() as http:
        try:
            found["external_id"] = await channel.send(http, attempt, marketplace.account, INBOX)
        except DragomanError as error:
            found["error"] = with_wait(error)
    assert as_asked(marketplace) == [asked(case["request"])]
    expected = {name: case[name] for name in ("external_id", "error") if name in case}
    assert found == expected


@pytest.mark.parametrize("table", QUESTIONS, ids=str)
async def test_what_became_of_an_attempt(table: Table) -> None:
    case = table.data
    (part,) = channel.render(a_reply("mirakl", **case["reply"]))
    attempt = Try(part=part, reference=REFERENCE, started_at=datetime.fromisoformat(case["started_at"]))
    found: dict[str, Any] = {}
    async with listening(case["vendor_answer"]) as marketplace, client() as http:
        try:
            found["external_id"] = await channel.ask(http, attempt, marketplace.account, INBOX)
        except DragomanError as error:
            found["error"] = shown(error)
    assert as_asked(marketplace) == [asked(case["request"])]
    assert found == {name: case[name] for name in ("external_id", "error") if name in case}


@pytest.mark.parametrize("table", QUESTIONS, ids=str)
def test_a_question_names_the_vendors_document_and_its_version(table: Table) -> None:
    assert "version" in table.data["source"]
