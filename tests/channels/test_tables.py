"""Every payload table of every channel, in both directions."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.channels.contract import Try
from shared.channels.http import client
from shared.channels.registry import CHANNELS, channel
from shared.errors import DragomanError
from tests.channels.tables import (
    FAR_AHEAD,
    HOOK_URL,
    REFERENCE,
    StoredFiles,
    Table,
    Vendor,
    a_hook,
    a_reply,
    encoded,
    sample_of,
    shown_item,
    shown_part,
    tables,
)  # fmt: skip

HOOKS = [table for table in tables("inbound") if "request" in table.data]
POLLS = [table for table in tables("inbound") if "calls" in table.data]
OUTBOUND = tables("outbound")


@pytest.mark.parametrize("table", HOOKS, ids=str)
def test_what_a_request_holds(table: Table) -> None:
    case, it, sample = table.data, channel(table.channel), sample_of(table.channel)
    hook = a_hook(**case["request"] | {"body": encoded(table.channel, case["request"].get("body", ""))})
    hook = hook if case.get("signed") == "by the vendor" else sample.sign(hook)
    found: dict[str, Any] = {}
    try:
        it.verify(hook, sample.ACCOUNT)
        received = it.receive(hook, sample.ACCOUNT)
        found["items"] = [shown_item(item) for item in received.items]
        found["answer"] = {"status": received.answer.status, "body": received.answer.body.decode()}
    except DragomanError as error:
        found["error"] = {"type": type(error).__name__, "code": error.code}
    assert found == {name: case[name] for name in ("items", "answer", "error") if name in case}


@pytest.mark.parametrize("table", POLLS, ids=str)
async def test_what_a_poll_brings(table: Table) -> None:
    case, it, sample = table.data, channel(table.channel), sample_of(table.channel)
    vendor = Vendor([call["answer"] for call in case["calls"]])
    found: dict[str, Any] = {"items": []}
    try:
        async with vendor.client() as http:
            async for page in it.poll(http, sample.ACCOUNT, sample.INBOX, case["cursor"]):
                found["items"] += [shown_item(item) for item in page.items]
                found["cursor_after"] = page.cursor
    except DragomanError as error:
        found["error"] = {"type": type(error).__name__, "code": error.code}
    assert vendor.requests == [call["request"] for call in case["calls"]]
    assert found == {name: case[name] for name in ("items", "cursor_after", "error") if name in case}


@pytest.mark.parametrize("table", OUTBOUND, ids=str)
async def test_how_a_reply_leaves(table: Table) -> None:
    case, it, sample = table.data, channel(table.channel), sample_of(table.channel)
    inbox = replace(sample.INBOX, settings=case.get("inbox_settings", {}))
    vendor = Vendor([case["vendor_answer"]] if "vendor_answer" in case else [])
    found: dict[str, Any] = {}
    try:
        parts = it.render(a_reply(table.channel, **case["reply"]))
        found["parts"] = [shown_part(part) for part in parts]
        attempt = Try(
            part=parts[case.get("part", 0)],
            reference=REFERENCE,
            started_at=FAR_AHEAD - timedelta(days=1),
            files=StoredFiles(),
            hook_url=HOOK_URL,
        )
        async with vendor.client() as http:
            found["external_id"] = await it.send(http, attempt, sample.ACCOUNT, inbox)
    except DragomanError as error:
        found["error"] = {"type": type(error).__name__, "code": error.code}
        retry_after = getattr(error, "retry_after", None)
        if retry_after is not None:
            found["error"]["retry_after"] = retry_after.total_seconds()
    assert found == {name: case[name] for name in ("parts", "external_id", "error") if name in case}
    assert vendor.requests == ([case["request"]] if "request" in case else [])


@pytest.mark.parametrize("table", [*HOOKS, *POLLS, *OUTBOUND], ids=str)
def test_a_table_names_the_vendors_document_and_its_version(table: Table) -> None:
    assert "version" in table.data["source"]
    assert any(letter.isdigit() for letter in table.data["source"])


@pytest.mark.parametrize("name", [it.name for it in CHANNELS if it.connect is client])
@pytest.mark.parametrize("direction", ["inbound", "outbound"])
def test_every_channel_has_tables_of_both_directions(name: str, direction: str) -> None:
    assert tables(direction, name)
