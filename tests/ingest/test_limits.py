"""What ingest does at its limits: of time, of space, of what a reader of ours can stand."""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from services.ingest.rejected import SUSPICIOUS_PER_MINUTE, Rejections
from services.ingest.seal import RAW_LIMIT, seal
from shared.accounts import Account
from shared.channels import messenger
from shared.channels.contract import BadItem, Hook, Item, Received
from shared.clock import utc_now
from shared.events import Address, DeadLetter, MessageReceived, Record, decode
from tests.ingest.test_hooks import ACCOUNT, DIRECTORY, META, Front, body, item, letters


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[int]:
    """The app behind a real server; its port."""
    config = uvicorn.Config(
        app, port=0, loop="none", http="httptools", lifespan="off", access_log=False, log_config=None
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await task


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def a_message(address: str = "100", lane: str = "p", text: str = "Hallo", key: str = "m1", raw: bytes = b"{}") -> Item:
    sender = Address(kind="messenger", value=lane)
    data = MessageReceived(channel="messenger", keys=[key], sender=sender, occurred_at=utc_now(), text=text, raw=raw)
    return Item(address, lane, data)


# space


async def test_bodies_that_together_are_too_large_are_refused_before_they_are_read(tmp_path: Path) -> None:
    front = Front(tmp_path, bytes_in_flight=100_000)
    front.bus.slow = 0.3
    large = [body(item(f"m{n}", text="x" * 40_000, psid=f"p{n}")) for n in range(10)]
    answers = await asyncio.gather(*map(front.post, large))
    assert [a.status_code for a in answers].count(200) == 2
    assert {a.headers["retry-after"] for a in answers if a.status_code == 503} == {"5"}
    assert (await front.post(large[0])).status_code == 200, "the room is given back"


async def test_a_body_of_unknown_length_counts_as_the_longest(tmp_path: Path) -> None:
    front = Front(tmp_path, bytes_in_flight=messenger.channel.body_limit - 1)

    async def chunks() -> AsyncIterator[bytes]:
        yield b"{}"

    assert (await front.http.post("/hooks/messenger/token", content=chunks())).status_code == 503


async def test_an_announced_body_that_is_too_large_is_not_awaited(tmp_path: Path) -> None:
    async def receive() -> Any:
        raise AssertionError("nothing of it is read")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/hooks/messenger/token", "query_string": b"",
             "headers": [(b"content-length", b"4000001")]}  # fmt: skip
    await Front(tmp_path).hooks(scope, receive, send)
    assert sent[0]["status"] == 413


RAW = {
    "none": b"",
    "ASCII": b"Body=Wo+bleibt%3F",
    "UTF-8": '{"text": "Grüße 📦"}'.encode(),
    "controls": b"a\x00\x1f\x7f\xe2\x80\xa8",
    "no UTF-8": b"\xff\xfe",
    "a surrogate": b"\xed\xa0\x80",
    "long": b"x" * (RAW_LIMIT + 1),
    "long, of controls": b"\x01" * (RAW_LIMIT + 1),
    "long, cut in a letter": b"x" + "é".encode() * RAW_LIMIT,
    "long, no UTF-8": b"\xff" * (RAW_LIMIT + 1),
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_an_event_carries_its_raw_bytes_as_they_were_or_their_beginning(raw: bytes) -> None:
    (record,) = seal([a_message(raw=raw)], META, utc_now())
    data = decode(record).data
    assert isinstance(data, MessageReceived)
    assert data.original == raw[:RAW_LIMIT]


async def test_an_item_that_is_too_long_for_an_event_is_kept_whole_beside_it(tmp_path: Path) -> None:
    front = Front(tmp_path)
    long = item("m1", text="x" * (RAW_LIMIT + 1))
    assert (await front.post(body(long, item("m2")))).status_code == 200
    first, second = (decode(record).data for record in front.bus.records)
    assert isinstance(first, MessageReceived)
    assert isinstance(second, MessageReceived)
    brand = META.inboxes["100"].brand_id
    assert (first.original, json.loads(await front.objects.get(brand, first.raw_ref))) == (b"", long)
    assert (json.loads(second.original), second.raw_ref) == (item("m2"), "")


def test_raw_bytes_that_are_text_travel_as_text() -> None:
    raw = b"Body=Wo+bleibt+meine+Bestellung%3F"
    (record,) = seal([a_message(raw=raw)], META, utc_now())
    assert raw in record.value, "a third less than as Base64"


@pytest.mark.parametrize(
    "bad",
    [
        a_message(text="x" * 1_500_000),
        a_message(lane="x" * 1_500_000),
        a_message(lane="lone \udc80"),
        a_message(text="lone \udc80"),
        a_message(address="9" * 1_500_000),
        BadItem(b"x" * 3_000_000, "broken_item", "it breaks the form", "9" * 1_500_000),
    ],
    ids=["text", "lane", "surrogate in the lane", "surrogate in the text", "address", "bad item"],
)
def test_what_no_bus_could_carry_is_a_small_dead_letter_between_its_neighbours(bad: Item | BadItem) -> None:
    records = seal([a_message(key="m0"), bad, a_message(key="m2")], META, utc_now())
    assert [r.topic for r in records] == ["inbound", "dead", "inbound"]
    assert all(_size(record) < 1_000_000 for record in records)
    assert isinstance(decode(records[1]).data, DeadLetter)


def _size(record: Record) -> int:
    return (
        len(record.value) + len(record.key.encode()) + sum(len(f"{n}{v}".encode()) for n, v in record.headers.items())
    )


# time


async def test_a_body_that_drips_gives_its_place_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.hooks.BODY_WITHIN", 0.1)
    front = Front(tmp_path, in_flight=1)
    async with served(front.hooks) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /hooks/messenger/token HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        assert b" 408 " in await reader.readline()
        writer.close()
        assert (await front.post(body(item("m1")))).status_code == 200


async def test_a_connection_that_breaks_in_the_body_leaves_nothing(tmp_path: Path) -> None:
    front = Front(tmp_path)
    async with served(front.hooks) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /hooks/messenger/token HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        await until(lambda: front.hooks._bytes_now == 100)
        writer.transport.abort()
        await until(lambda: front.hooks._bytes_now == 0)
        assert (front.hooks._now, front.bus.records, front.spool.waiting) == (0, [], 0)


async def test_two_hundred_at_once_over_real_connections_are_all_taken(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.bus.slow = 0.05
    limits = httpx.Limits(max_connections=200)
    async with (
        served(front.hooks) as port,
        httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20, trust_env=False
        ) as front.http,
    ):
        answers = await asyncio.gather(*(front.post(body(item(f"m{n}", psid=f"p{n}"))) for n in range(200)))
    assert {a.status_code for a in answers} == {200}
    assert len(front.bus.records) == 200


async def test_a_thousand_messages_in_one_webhook_are_answered_in_time(tmp_path: Path) -> None:
    front = Front(tmp_path)
    sent = body(*(item(f"m{n}", psid=f"p{n}") for n in range(1000)))
    started = time.perf_counter()
    assert (await front.post(sent)).status_code == 200
    sys.stdout.write(f"\n1000 messages in one webhook: {(time.perf_counter() - started) * 1000:.0f} ms\n")
    assert len(front.bus.records) == 1000


async def test_while_the_bus_is_known_to_be_away_nobody_waits_for_it_to_the_last(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.bus.away = True
    async with front.spool.draining(front.bus):  # type: ignore[arg-type]
        assert (await front.post(body(item("m1")))).status_code == 200
        await until(lambda: front.spool.is_stuck)
        front.bus.slow = 60
        async with asyncio.timeout(1.5):
            assert (await front.post(body(item("m2", psid="q")))).status_code == 200


# readers


async def test_a_reader_that_breaks_is_our_fault_and_a_person_sees_what_came(tmp_path: Path) -> None:
    def broken(hook: Hook, account: Account) -> Received:
        raise KeyError("a secret word")

    front = Front(tmp_path, channels=[replace(messenger.channel, receive=broken)])
    answer = await front.post(body(item("m1")))
    assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
    assert "secret" not in answer.text
    (letter,) = letters(front)
    assert (letter.code, letter.value) == ("reader_failed", body(item("m1")))
    assert "secret" not in letter.error


async def test_an_unreadable_body_that_cannot_be_kept_is_asked_for_again(tmp_path: Path) -> None:
    front = Front(tmp_path, spool_limit=10)
    front.bus.away = True
    assert (await front.post(b"[]")).status_code == 503


async def test_every_token_of_an_account_holds_until_it_is_taken_away(tmp_path: Path) -> None:
    front = Front(tmp_path)
    front.directory = replace(DIRECTORY, by_hook_token={"token": META, "newer": META})
    assert [(await front.post(body(item("m1")), token=t)).status_code for t in ("token", "newer")] == [200, 200]
    front.directory = replace(DIRECTORY, by_hook_token={"newer": META})
    assert [(await front.post(body(item("m1")), token=t)).status_code for t in ("token", "newer")] == [404, 200]


async def test_a_token_opens_its_own_channel_only(tmp_path: Path) -> None:
    front = Front(tmp_path, channels=[messenger.channel, replace(messenger.channel, name="other")])
    assert (await front.http.post("/hooks/other/token", content=b"{}")).status_code == 404


# what is not authentic


def a_hook(after: timedelta = timedelta(0), **headers: str) -> Hook:
    return Hook(method="POST", path="/", headers=headers, body=b"words", received_at=START + after)


START = utc_now()
LATER = timedelta(minutes=2)


def test_the_all_clear_is_an_authentic_request_after_a_quiet_minute() -> None:
    rejections = Rejections()
    alerts = [rejections.note(ACCOUNT, a_hook(), "wrong_signature") for _ in range(SUSPICIOUS_PER_MINUTE)]
    assert [a.state for a in alerts if a] == ["suspicious"]
    assert rejections.authentic(ACCOUNT, START) is None, "others still try"
    clear = rejections.authentic(ACCOUNT, START + LATER)
    assert clear is not None
    assert clear.state == "healthy"
    assert rejections.authentic(ACCOUNT, START + LATER) is None, "told once"


def test_a_second_burst_within_ten_minutes_is_not_told_again() -> None:
    rejections = Rejections()
    for after in (timedelta(0), LATER):
        for _ in range(SUSPICIOUS_PER_MINUTE):
            told = rejections.note(ACCOUNT, a_hook(after), "wrong_signature") is not None
            assert not (told and after)
    again = [rejections.note(ACCOUNT, a_hook(LATER * 6), "x") for _ in range(SUSPICIOUS_PER_MINUTE)]
    assert len([a for a in again if a]) == 1


def test_samples_are_short_and_gone_after_a_day() -> None:
    rejections = Rejections()
    rejections.note(ACCOUNT, a_hook(**{f"h{n:03}-{'x' * 500}": "value" for n in range(200)}), "wrong_signature")
    (sample,) = rejections.samples(ACCOUNT, START)
    assert (sample.length, sample.reason, len(sample.header_names)) == (5, "wrong_signature", 40)
    assert max(map(len, sample.header_names)) == 60
    assert "value" not in repr(sample)
    assert "words" not in repr(sample)
    assert rejections.samples(ACCOUNT, START + timedelta(hours=25)) == []


async def test_another_product_of_the_same_app_is_answered_and_gives_nothing(tmp_path: Path) -> None:
    front = Front(tmp_path)
    answer = await front.post(json.dumps({"object": "instagram", "entry": []}).encode())
    assert (answer.status_code, front.bus.records) == (200, [])
