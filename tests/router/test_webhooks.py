"""Alerts reach webhooks signed, whatever their receivers do; each once, and those that failed again on request."""

import asyncio
import base64
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from services.router.domain import signing
from services.router.store import webhooks as store
from services.router.timers import tell_deadlines
from services.router.webhooks import DISABLED_AFTER, LEASE, WAITS, Outcome, Webhooks, settle
from shared.errors import PoisonEvent
from shared.events import AccountHealth, Event, QueueStalled, WebhookDisabled, decode
from shared.events import Record as BusRecord
from shared.guard import Trusted
from shared.ids import derived_id
from shared.secrets import Vault
from tests.router.api.parts import KEY
from tests.router.test_dispatch import sweep
from tests.router.world import World, id_of

VAULT = Vault([KEY])
SECRET, OLD = (signing.secret_of(letter * 32) for letter in (b"a", b"b"))
Answer = int | Callable[[asyncio.StreamWriter], Awaitable[None]]


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await holds():
            await asyncio.sleep(0.02)


@dataclass
class Receiver:
    """Answers as it was told, the last one for ever, and keeps what it got."""

    answers: list[Answer] = field(default_factory=lambda: [204])
    got: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.got]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.lower().split(": ", 1) if ": " in line else ("", "") for line in head.split("\r\n"))
            # A signature is not the same in small letters.
            headers |= {k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n") if ": " in line)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.got.append((headers, body))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, int):
                writer.write(f"HTTP/1.1 {answer} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            else:
                await answer(writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


Receiving = Callable[..., Awaitable[Receiver]]


@pytest.fixture
async def receiving() -> AsyncIterator[Receiving]:
    async with AsyncExitStack() as stack:

        async def start(*answers: Answer) -> Receiver:
            receiver = Receiver(list(answers) or [204])
            server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
            stack.callback(server.close)
            receiver.port = server.sockets[0].getsockname()[1]
            return receiver

        yield start


def hooks(w: World, *near: Receiver, within: float = 20.0) -> Webhooks:
    trusted = Trusted.of([receiver.url for receiver in near])
    return Webhooks(w.router, w.cache, VAULT, trusted, "https://dragoman.example", within=within)


async def wanted(w: World, handle: str, url: str, *, events: tuple[str, ...] = (), brands: tuple[str, ...] = (),
                 secrets: tuple[str, ...] = (SECRET,)) -> UUID:  # fmt: skip
    id_ = derived_id("webhook", handle)
    async with w.router.transaction() as tx:
        sealed = [VAULT.seal(secret) for secret in secrets]
        assert await store.insert(
            tx, webhook_id=id_, handle=handle, url=url, events=events, brands=[id_of(b) for b in brands], sealed=sealed
        )
    return id_


async def alerts(w: World) -> list[Event]:
    """What was put on the topic `alerts` so far."""
    rows = await w.fetch("SELECT topic, key, headers, value FROM bus.outbox WHERE topic = 'alerts' ORDER BY id")
    return [decode(BusRecord(row["topic"], row["key"], row["headers"], row["value"])) for row in rows]


async def handled(w: World, webhooks: Webhooks, *events: Event) -> None:
    async with w.router.transaction() as tx:
        await webhooks.handle(tx, events)


async def missed(w: World, n: int = 1, *, inbox: str = "shop-chat", late: timedelta = timedelta(minutes=5)) -> None:
    """So many customers wait longer than they should."""
    await w.receive(*(w.message(sender=f"s{k}", inbox=inbox) for k in range(n)))
    w.clock.at += timedelta(hours=1) + late
    async with w.router.transaction() as tx:
        assert await tell_deadlines(tx, await w.cache.current(tx), "https://dragoman.example") >= n


async def states(w: World) -> list[str]:
    return [row["state"] for row in await w.fetch("SELECT state FROM router.webhook_delivery ORDER BY at, event_id")]


def settled(w: World, *expected: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await states(w) == list(expected)

    return holds


async def test_a_missed_deadline_arrives_signed_and_says_whose_how_late_and_what_to_do(
    w: World, receiving: Receiving
) -> None:
    w.clock.at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1, minutes=5)
    receiver = await receiving()
    await wanted(w, "operations", receiver.url)
    await missed(w)
    webhooks = hooks(w, receiver)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(settled(w, "delivered"))
    ((headers, body),) = receiver.got
    told = Webhook(SECRET).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(OLD).verify(body, headers)
    assert headers["content-type"] == "application/json"
    (alert,) = await alerts(w)
    assert (headers["webhook-id"], told["type"]) == (str(alert.id), "deadline.missed")
    conversation = await w.value("SELECT id FROM router.conversation")
    data = told["data"]
    assert data.items() >= {
        "brand": "shop", "brand_id": str(id_of("shop")), "inbox": "shop-chat", "channel": "chat", "language": "de",
        "target": "first_response", "family": "contract", "policy": "default", "late_seconds": 300.0,
        "what_to_do": "it waits for an agent: somebody who speaks German should take it now",
        "links": {
            "conversation": f"https://dragoman.example/v1/conversations/{conversation}",
            "console": f"https://dragoman.example/console/#/c/{conversation}",
        },
    }.items()  # fmt: skip
    assert data["sentence"].startswith("The first response is 5 min late (1 h around the clock; due ")
    # What the customer wrote is in none of it.
    assert b"Bestellung" not in body


def test_what_is_signed_is_id_time_and_body() -> None:
    id_, at, body = UUID(int=7), datetime(2026, 11, 23, 9, 0, 0, 700_000, UTC), '{"type":"übung"}'.encode()
    made = signing.headers(id_, at, body, [SECRET])
    signed = f"{id_}.1795424400.".encode() + body
    digest = hmac.digest(b"a" * 32, signed, "sha256")
    assert made == {
        "webhook-id": str(id_),
        "webhook-timestamp": "1795424400",
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


async def test_while_a_secret_is_rotated_either_verifies(w: World, receiving: Receiving) -> None:
    w.clock.at = datetime.now(UTC) - timedelta(hours=1, minutes=5)
    receiver = await receiving()
    await wanted(w, "operations", receiver.url, secrets=(SECRET, OLD))
    await missed(w)
    webhooks = hooks(w, receiver)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(settled(w, "delivered"))
    ((headers, body),) = receiver.got
    assert Webhook(SECRET).verify(body, headers) == Webhook(OLD).verify(body, headers)


def about(w: World, data: Any, brand: str | None = None) -> Event:
    return Event(data=data, key="k", source="router", time=w.clock.at, brand_id=id_of(brand) if brand else None)


async def test_a_webhook_is_told_of_its_events_and_its_brands_alone(w: World) -> None:
    await wanted(w, "all", "https://all.example")
    await wanted(w, "shop", "https://shop.example", brands=("shop",))
    await wanted(w, "other-missed", "https://other.example", brands=("other",), events=("deadline.missed",))
    await missed(w)
    await missed(w, inbox="other-chat")
    health = AccountHealth(account_id=id_of("account-market"), state="broken", reason="token", at=w.clock.at)
    stalled = QueueStalled(pool_id=id_of("pool-de"), waiting=3, oldest_at=w.clock.at, at=w.clock.at)
    disabled = WebhookDisabled(webhook_id=id_of("x"), webhook="x", reason="gone", at=w.clock.at)
    webhooks = hooks(w)
    deadlines = await alerts(w)
    rest = [about(w, health, "other"), about(w, stalled), about(w, disabled)]
    await handled(w, webhooks, *deadlines, *rest)
    await handled(w, webhooks, *deadlines)
    rows = await w.fetch(
        "SELECT w.handle, d.event, d.brand_id, d.body FROM router.webhook_delivery d "
        "JOIN config.webhook w ON w.id = webhook_id"
    )
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(row["handle"], []).append(row["event"])
    everything = ["account.health", *["deadline.missed"] * 2, "queue.stalled", "webhook.disabled"]
    assert {handle: sorted(events) for handle, events in told.items()} == {
        "all": everything,
        # The account has an inbox of the shop's; who else is in the queue is not the shop's to know.
        "shop": ["account.health", "deadline.missed"],
        "other-missed": ["deadline.missed"],
    }
    bodies = {(row["handle"], row["event"]): json.loads(row["body"])["data"] for row in rows}
    assert bodies[("shop", "account.health")]["inboxes"] == ["shop-market"]
    assert str(id_of("other")) not in json.dumps(bodies[("shop", "account.health")])
    assert bodies[("all", "queue.stalled")]["what_to_do"].startswith("somebody who answers in German has to come")


async def test_what_is_no_alert_is_named_and_stops_nobody(w: World) -> None:
    with pytest.raises(PoisonEvent) as raised:
        await handled(w, hooks(w), w.message())
    assert raised.value.code == "wrong_topic"


async def hang(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    await asyncio.sleep(60)


async def test_a_receiver_that_hangs_holds_nobody_up_and_is_tried_again(w: World, receiving: Receiving) -> None:
    hanging, healthy = await receiving(hang), await receiving()
    slow, quick = await wanted(w, "slow", hanging.url), await wanted(w, "quick", healthy.url)
    await missed(w, 8)
    webhooks = hooks(w, hanging, healthy, within=2.0)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(lambda: reached(w, quick, "delivered", 8))
        # It has only some of the places.
        assert len(hanging.got) <= 3
        await until(lambda: told(w, slow, "it did not answer in time"))
    next_at = await w.value("SELECT min(next_at) FROM router.webhook_delivery WHERE reason <> ''")
    assert WAITS[0] <= next_at - w.clock.at <= WAITS[0] * 1.1


async def reached(w: World, webhook_id: UUID, state: str, n: int) -> bool:
    count = "SELECT count(*) FROM router.webhook_delivery WHERE webhook_id = $1 AND state = $2"
    return bool(await w.value(count, webhook_id, state) == n)


async def told(w: World, webhook_id: UUID, reason: str) -> bool:
    return bool(
        await w.value(
            "SELECT count(*) FROM router.webhook_delivery WHERE webhook_id = $1 AND reason = $2", webhook_id, reason
        )
    )


async def test_a_redirect_to_a_private_address_is_not_followed(w: World, receiving: Receiving) -> None:
    inner = await receiving()

    async def elsewhere(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 307 X\r\nLocation: {inner.url}\r\nContent-Length: 0\r\n\r\n".encode())

    outer = await receiving(elsewhere)
    id_ = await wanted(w, "operations", outer.url)
    await missed(w)
    webhooks = hooks(w, outer, inner)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(lambda: told(w, id_, "it answered 307"))
    assert (len(outer.got), len(inner.got)) == (1, 0)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{port}/hook", "not_https"),
        ("https://127.0.0.1:{port}/hook", "private_address"),
        ("https://localhost:{port}/hook", "private_address"),
        ("https://0x7f000001:{port}/hook", "private_address"),
        ("https://[::ffff:127.0.0.1]:{port}/hook", "private_address"),
    ],
)
async def test_nothing_is_sent_into_our_own_networks(w: World, receiving: Receiving, url: str, reason: str) -> None:
    inner = await receiving()
    id_ = await wanted(w, "operations", url.format(port=inner.port))
    await missed(w)
    webhooks = hooks(w)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(lambda: told(w, id_, reason))
    assert inner.got == []


async def test_it_is_tried_for_more_than_a_day_and_then_left_to_a_person(w: World, receiving: Receiving) -> None:
    receiver = await receiving(500)
    id_ = await wanted(w, "operations", receiver.url)
    await missed(w)
    webhooks = hooks(w, receiver)
    waits = []
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        for attempt in range(1, len(WAITS) + 1):
            await until(lambda n=attempt: after_attempt(w, n))  # type: ignore[misc]
            next_at = await w.value("SELECT next_at FROM router.webhook_delivery")
            waits.append(next_at - w.clock.at)
            w.clock.at = next_at - timedelta(milliseconds=1)
            async with w.router.transaction() as tx:
                assert await store.claim(tx, [], 3, 10, LEASE) == []
            w.clock.at = next_at
            webhooks.hint()
        await until(settled(w, "failed"))
    assert [w_.total_seconds() for w_ in WAITS] == [5, 300, 1800, 7200, 18000, 36000, 36000]
    assert all(wait <= took <= wait * 1.1 for wait, took in zip(WAITS, waits, strict=True))
    assert len(receiver.got) == 8
    assert len(set(receiver.ids)) == 1
    assert len({headers["webhook-timestamp"] for headers, _ in receiver.got}) == 8
    assert await w.value("SELECT enabled FROM config.webhook WHERE id = $1", id_)


async def after_attempt(w: World, n: int) -> bool:
    (row,) = await w.fetch("SELECT attempts, reason, next_at FROM router.webhook_delivery")
    return bool(row["attempts"] == n and row["reason"] and row["next_at"] > w.clock.at + LEASE * (n > 1))


async def test_a_receiver_that_is_gone_is_disabled_at_once_said_so_and_made_good_later(
    w: World, receiving: Receiving
) -> None:
    receiver = await receiving(410)
    id_ = await wanted(w, "operations", receiver.url)
    await missed(w, 4)
    webhooks = hooks(w, receiver)
    async with webhooks.running():
        await handled(w, webhooks, *await alerts(w))
        await until(settled(w, *["failed"] * 4))
        (row,) = await w.fetch("SELECT enabled, reason FROM config.webhook")
        assert tuple(row) == (False, "its receiver is gone (410)")
        last = (await alerts(w))[-1]
        assert isinstance(last.data, WebhookDisabled)
        assert last.data.webhook_id == id_
        assert await w.value("SELECT count(*) FROM router.audit WHERE action = 'webhook.disabled'") == 1
        # What comes meanwhile is kept, and not sent.
        before = len(receiver.got)
        await handled(w, webhooks, about(w, last.data))
        await until(settled(w, *["failed"] * 5))
        receiver.answers = [204]
        async with w.router.transaction() as tx:
            await store.enable(tx, id_)
            assert await store.replay(tx, id_, None, w.clock.at - timedelta(days=1), None) == 5
        webhooks.hint()
        await until(settled(w, *["delivered"] * 5))
    assert len(receiver.got) == before + 5
    assert len(set(receiver.ids)) == 5


async def test_after_five_days_without_success_it_is_disabled(w: World, receiving: Receiving) -> None:
    receiver = await receiving(503)
    await wanted(w, "operations", receiver.url)
    webhooks = hooks(w, receiver)
    async with webhooks.running():
        await missed(w)
        await handled(w, webhooks, *await alerts(w))
        await until(lambda: told(w, derived_id("webhook", "operations"), "it answered 503"))
        assert await w.value("SELECT enabled FROM config.webhook")
        w.clock.at += DISABLED_AFTER
        webhooks.hint()
        await until(settled(w, "failed"))
    (row,) = await w.fetch("SELECT enabled, reason FROM config.webhook")
    assert tuple(row) == (False, "nothing got through for 5 days")


async def test_one_success_is_enough_to_be_taken_for_healthy(w: World, receiving: Receiving) -> None:
    receiver = await receiving(503, 204)
    await wanted(w, "operations", receiver.url)
    webhooks = hooks(w, receiver)
    async with webhooks.running():
        await missed(w)
        await handled(w, webhooks, *await alerts(w))
        await until(lambda: told(w, derived_id("webhook", "operations"), "it answered 503"))
        assert await w.value("SELECT failing_since FROM config.webhook") is not None
        w.clock.at += WAITS[0] * 1.1
        webhooks.hint()
        await until(settled(w, "delivered"))
    assert await w.value("SELECT failing_since FROM config.webhook") is None


async def test_two_routers_send_each_alert_once(w: World, receiving: Receiving) -> None:
    receiver = await receiving()
    await wanted(w, "operations", receiver.url)
    await missed(w, 40)
    one, other = hooks(w, receiver), hooks(w, receiver)
    async with one.running(), other.running():
        for webhooks in (one, other):
            await handled(w, webhooks, *await alerts(w))
        await until(settled(w, *["delivered"] * 40))
    assert len(receiver.got) == 40
    assert len(set(receiver.ids)) == 40


async def test_two_routers_tell_each_deadline_once(w: World) -> None:
    await w.receive(*(w.message(sender=f"s{n}") for n in range(60)))
    for minutes in (31, 30):
        w.clock.forward(minutes=minutes)
        await asyncio.gather(*(sweep(w, tell_deadlines) for _ in range(6)))
        while await sweep(w, tell_deadlines):
            pass
    told = [(type(alert.data).__name__, alert.data.clock_id) for alert in await alerts(w)]  # type: ignore[attr-defined]
    assert len(told) == len(set(told)) == 120


async def test_whoever_was_away_too_long_settles_nothing(w: World) -> None:
    await wanted(w, "operations", "https://alerts.example")
    await missed(w)
    await handled(w, hooks(w), *await alerts(w))
    claims = []
    for _ in range(2):
        async with w.router.transaction() as tx:
            claims += await store.claim(tx, [], 3, 10, LEASE)
        w.clock.at += LEASE
    async with w.router.transaction() as tx:
        assert await settle(tx, claims[0], Outcome(status=204)) == "lost"
        assert await settle(tx, claims[1], Outcome(status=204)) == "delivered"


@pytest.mark.parametrize("size", [1, 100])
async def test_a_batch_of_alerts_takes_a_fixed_number_of_statements(w: World, size: int) -> None:
    await wanted(w, "operations", "https://alerts.example")
    await missed(w, size)
    told = await alerts(w)
    async with w.router.transaction() as tx:
        await hooks(w).handle(tx, told)
        assert tx.statements == 3


@pytest.mark.parametrize(
    "text",
    ["", "whsec_", "whsec_c2hvcnQ=", "whsec_" + base64.b64encode(b"x" * 65).decode(), "no prefix", "whsec_%%%",
     base64.b64encode(b"x" * 32).decode()],
)  # fmt: skip
def test_what_is_no_secret_is_told(text: str) -> None:
    assert not signing.is_secret(text)
    assert signing.is_secret(SECRET)
