"""Replies on their way: order, retries, doubt and its resolution, with a vendor that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet

from services.responder.app import serve
from shared.bus.contract import Consumer
from shared.channels.contract import Channel, Part, Permission
from shared.db.transaction import Database, Transaction
from shared.errors import AccountBroken, InboxBroken, OutcomeUnknown, Rejected, Throttled, Unavailable
from shared.events import (
    EchoReceived,
    Event,
    ReceiptReceived,
    ReplayDelivery,
    ReplyAccepted,
    ReplyMadeElsewhere,
    ReplyProgressed,
    ReplyRefused,
    ReplyUnknown,
    SendReply,
    WithdrawReply,
    encode,
)  # fmt: skip
from shared.ids import new_id
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.topics import Topic
from tests.bus.implementations import a_bus
from tests.router.world import configure, id_of


@dataclass
class Vendor:
    """What a vendor took, and how it answers the next calls."""

    took: list[tuple[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    answers: dict[str, list[Exception]] = field(default_factory=dict)
    allowed: bool = True
    delay: float = 0.0

    async def send(self, _http: Any, attempt: Any, _account: Any, inbox: Any) -> str:
        text = attempt.part.payload["text"]
        self.calls.append(text)
        await asyncio.sleep(self.delay)
        for error in self.answers.get(text, [])[:1]:
            self.answers[text].pop(0)
            if isinstance(error, OutcomeUnknown):
                self.took.append((text, attempt.reference))
            raise error
        self.took.append((text, attempt.reference))
        return f"id-{len(self.took)}"

    def may_write(self, *_: Any) -> Permission:
        return Permission(allowed=self.allowed, reason="" if self.allowed else "window_closed")

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.took]

    def channel(self, name: str = "chat") -> Channel:
        def render(reply: SendReply) -> tuple[Part, ...]:
            if not reply.text:
                raise Rejected("nothing to send", code="empty_reply")
            return tuple(Part("text", {"text": t}, peer="kunde", text=t) for t in reply.text.split("|"))

        return Channel(
            name=name, address_kind=name, live=True, render=render, send=self.send, may_write=self.may_write,
            text_limit=1000, proof_within=timedelta(seconds=1), resend_unproven=True,
        )  # fmt: skip


class Stage:
    """A responder with its vendor, and what the router was told."""

    def __init__(self, database: Database, bus: Any, vendor: Vendor) -> None:
        self.database, self.bus, self.vendor = database, bus, vendor
        self.told: list[Any] = []
        self._number = 0

    async def send(self, *texts: str, conversation: UUID | None = None, inbox: str = "shop-chat") -> list[UUID]:
        conversation = conversation or new_id()
        replies = []
        for text in texts:
            self._number += 1
            replies.append(
                SendReply(
                    reply_id=new_id(), conversation_id=conversation, inbox_id=id_of(inbox), number=self._number,
                    channel="chat", reply_context=b"", text=text, expires_at=datetime.now(UTC) + timedelta(hours=1),
                )
            )  # fmt: skip
        await self.publish(*replies)
        return [reply.reply_id for reply in replies]

    async def publish(self, *data: Any) -> None:
        events = [
            Event(data=d, key="k", source="test", time=datetime.now(UTC), brand_id=id_of("shop"),
                  inbox_id=id_of("shop-chat"))
            for d in data
        ]  # fmt: skip
        await self.bus.publish([encode(event) for event in events])

    def of(self, kind: type) -> list[Any]:
        return list({repr(data): data for data in self.told if isinstance(data, kind)}.values())

    async def until(self, condition: Callable[[], Any], seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    async def value(self, query: str, *args: object) -> Any:
        async with self.database.transaction() as tx:
            return await tx.fetchval(query, *args)

    def receipt(self, state: str, **more: Any) -> ReceiptReceived:
        return ReceiptReceived(channel="chat", keys=[str(new_id())], state=state, at=datetime.now(UTC), **more)

    def echo(self, text: str, external_id: str, **more: Any) -> EchoReceived:
        return EchoReceived(
            channel="chat", keys=[f"echo:{external_id}"], external_id=external_id, peer="kunde", text=text,
            occurred_at=datetime.now(UTC), **more,
        )  # fmt: skip


@asynccontextmanager
async def stage(url: str, vendor: Vendor, responders: int = 1) -> AsyncIterator[Stage]:
    database = Database(url, role=None, size=4)
    await database.open()
    await configure(database)
    bus = a_bus(7)
    parts = Parts(
        settings=Settings(), database_url=url, bus=bus, vault=Vault([Fernet.generate_key().decode()]), alone=True
    )
    made = Stage(database, bus, vendor)

    async def keep(_tx: Transaction, batch: Any) -> None:
        made.told += [event.data for event in batch]

    results = Consumer(group="test", topic=Topic.RESULTS, handler=keep, database=database)
    alerts = Consumer(group="test", topic=Topic.ALERTS, handler=keep, database=database)
    async with bus.consuming(results), bus.consuming(alerts), serve(parts, channels=(vendor.channel(),)):
        if responders == 1:
            yield made
        else:
            # A second worker on the same database, with a bus of its own.
            other = replace(parts, bus=a_bus(8))
            async with serve(other, channels=(vendor.channel(),)):
                yield made
    await database.close()


async def test_a_reply_leaves_once_though_its_command_comes_twice(database_url: str) -> None:
    async with stage(database_url, vendor := Vendor()) as s:
        (reply,) = await s.send("Morgen!")
        await s.until(lambda: s.of(ReplyAccepted))
        assert (vendor.texts, s.of(ReplyAccepted)[0].reply_id) == (["Morgen!"], reply)


async def test_parts_and_replies_of_a_conversation_leave_in_order(database_url: str) -> None:
    vendor = Vendor(answers={"2": [Unavailable()], "4": [Throttled(retry_after=timedelta(seconds=0))]})
    async with stage(database_url, vendor) as s:
        await s.send("1|2|3", "4", "5")
        await s.until(lambda: len(s.of(ReplyAccepted)) == 3)
        assert vendor.texts == ["1", "2", "3", "4", "5"]


async def test_a_sick_conversation_does_not_hold_back_others(database_url: str) -> None:
    vendor = Vendor(answers={"sick": [Unavailable()] * 9})
    async with stage(database_url, vendor) as s:
        await s.send("sick")
        await s.send("well")
        await s.until(lambda: vendor.texts == ["well"])


async def test_a_refusal_is_final_and_stops_the_parts_behind_it(database_url: str) -> None:
    vendor = Vendor(answers={"a": [Rejected("no", code="person_unavailable")]})
    async with stage(database_url, vendor) as s:
        (reply,) = await s.send("a|b")
        await s.until(lambda: s.of(ReplyRefused))
        assert (s.of(ReplyRefused)[0].reason, vendor.texts) == ("person_unavailable", [])
        await s.publish(ReplayDelivery(reply_id=reply, conversation_id=new_id()))
        await s.until(lambda: s.of(ReplyAccepted))
        assert vendor.texts == ["a", "b"]


async def test_what_cannot_be_rendered_is_refused_at_once(database_url: str) -> None:
    async with stage(database_url, Vendor()) as s:
        await s.send("")
        await s.until(lambda: s.of(ReplyRefused))
        assert s.of(ReplyRefused)[0].reason == "empty_reply"


async def test_a_window_that_closed_while_the_reply_waited(database_url: str) -> None:
    vendor = Vendor(answers={"late": [Unavailable()]})
    async with stage(database_url, vendor) as s:
        await s.send("late")
        await s.until(lambda: vendor.calls == ["late"])
        vendor.allowed = False
        await s.until(lambda: s.of(ReplyRefused))
        assert (s.of(ReplyRefused)[0].reason, vendor.texts) == ("window_closed", [])


async def test_a_withdrawn_reply_does_not_leave(database_url: str) -> None:
    vendor = Vendor(answers={"x": [Unavailable()] * 5})
    async with stage(database_url, vendor) as s:
        (reply,) = await s.send("x")
        await s.until(lambda: vendor.calls)
        await asyncio.sleep(0.1)
        await s.publish(WithdrawReply(reply_id=reply, conversation_id=new_id()))
        await s.until(lambda: s.of(ReplyRefused))
        assert s.of(ReplyRefused)[0].reason == "withdrawn"


async def test_a_lost_answer_is_proven_by_its_echo(database_url: str) -> None:
    vendor = Vendor(answers={"x": [OutcomeUnknown()]})
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: vendor.took)
        await s.publish(s.echo("x", "id-e", reference=vendor.took[0][1]))
        await s.until(lambda: s.of(ReplyAccepted))
        await asyncio.sleep(1.5)
        assert (vendor.texts, s.of(ReplyMadeElsewhere)) == (["x"], [])


async def test_a_lost_answer_is_proven_by_a_receipt_that_writes_the_peer_in_another_way(database_url: str) -> None:
    vendor = Vendor(answers={"x": [OutcomeUnknown()]})
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: vendor.took)
        reference = vendor.took[0][1]
        stranger = s.receipt("sent", external_ids=["id-s"], peer="0001", reference="of another tool")
        await s.publish(stranger, s.receipt("sent", external_ids=["id-r"], peer="0002", reference=reference))
        await s.until(lambda: s.of(ReplyAccepted))
        await asyncio.sleep(1.5)
        assert vendor.texts == ["x"]
        assert await s.value("SELECT external_id FROM responder.part") == "id-r"


async def test_without_proof_a_chat_sends_again_and_the_record_says_so(database_url: str) -> None:
    vendor = Vendor(answers={"x": [OutcomeUnknown()]})
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: s.of(ReplyAccepted), 15)
        assert vendor.texts == ["x", "x"]
        assert await s.value("SELECT count(*) FROM responder.attempt WHERE outcome = 'resent'") == 1


async def test_an_expired_attempt_is_unknown_and_never_silently_waiting(database_url: str) -> None:
    vendor = Vendor(delay=30)
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: vendor.calls)
        await s.value("UPDATE responder.part SET lease_until = lease_until - interval '2 minutes' RETURNING 1")
        # Unknown first; then, without proof, sent again on the record.
        await s.until(lambda: len(vendor.calls) == 2)
        assert await s.value("SELECT outcome FROM responder.attempt WHERE n = 1") == "resent"


async def test_receipts_before_the_answer_count_when_it_is_known(database_url: str) -> None:
    vendor = Vendor(delay=0.3)
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: vendor.calls)
        await s.publish(s.receipt("delivered", external_ids=["id-1"]))
        await s.until(lambda: s.of(ReplyProgressed))
        assert (len(s.of(ReplyAccepted)), s.of(ReplyProgressed)[0].state) == (1, "delivered")
        await s.publish(s.receipt("read", peer="kunde", watermark=datetime.now(UTC)), s.receipt("sent"))
        await s.until(lambda: [p.state for p in s.of(ReplyProgressed)] == ["delivered", "read"])


async def test_a_late_failure_says_why_and_what_arrived_all_the_same_does_not(database_url: str) -> None:
    vendor = Vendor()
    async with stage(database_url, vendor) as s:
        await s.send("x|y")
        await s.until(lambda: s.of(ReplyAccepted))
        await s.publish(s.receipt("delivered", external_ids=["id-1"]))
        await s.publish(s.receipt("failed", external_ids=["id-2"], code="window_closed"))
        await s.until(lambda: s.of(ReplyProgressed))
        await s.publish(s.receipt("delivered", external_ids=["id-2"]))
        await s.until(lambda: len(s.of(ReplyProgressed)) == 2)
        told = [(p.state, p.code) for p in s.of(ReplyProgressed)]
        assert told == [("failed", "window_closed"), ("delivered", "")]


async def test_an_echo_that_nothing_explains_was_made_elsewhere_once(database_url: str) -> None:
    async with stage(database_url, Vendor()) as s:
        await s.publish(s.echo("von Hand", "foreign"))
        await s.until(lambda: s.of(ReplyMadeElsewhere))
        await s.publish(s.echo("von Hand", "foreign"), s.echo("we ourselves, long ago", "old", ours=True))
        await asyncio.sleep(1.3)
        assert [e.text for e in s.of(ReplyMadeElsewhere)] == ["von Hand"]


async def test_a_broken_account_burns_no_attempt_and_is_told_once(database_url: str) -> None:
    vendor = Vendor(answers={"x": [AccountBroken(code="token_invalid")] * 3})
    async with stage(database_url, vendor) as s:
        await s.send("x")
        await s.until(lambda: vendor.calls)
        async with asyncio.timeout(5):
            while await s.value("SELECT reason FROM responder.part") != "account_broken":
                await asyncio.sleep(0.05)
        assert await s.value("SELECT attempts FROM responder.part") == 0
        assert await s.value("SELECT count(*) FROM bus.outbox WHERE topic = 'alerts'") == 1


async def test_a_broken_inbox_holds_only_itself_back(database_url: str) -> None:
    vendor = Vendor(answers={"x": [InboxBroken(code="token_invalid")]})
    async with stage(database_url, vendor) as s:
        await s.send("x")
        async with asyncio.timeout(5):
            while await s.value("SELECT reason FROM responder.part") != "inbox_broken":
                await asyncio.sleep(0.05)
        await s.send("the same inbox waits")
        await s.send("another of the account goes", inbox="other-chat")
        await s.until(lambda: vendor.took)
        await asyncio.sleep(0.3)
        assert vendor.texts == ["another of the account goes"]
        assert await s.value("SELECT count(*) FROM bus.outbox WHERE topic = 'alerts'") == 1


@pytest.mark.parametrize("replies", [200])
async def test_two_workers_never_send_a_part_twice(database_url: str, replies: int) -> None:
    async with stage(database_url, vendor := Vendor(delay=0.001), responders=2) as s:
        for n in range(0, replies, 2):
            await s.send(f"{n}", f"{n + 1}")
        # Six at once and twenty a second is what an account is given.
        await s.until(lambda: len(s.of(ReplyAccepted)) == replies, 60)
        assert sorted(vendor.texts, key=int) == [str(n) for n in range(replies)]
        assert s.of(ReplyUnknown) == []
