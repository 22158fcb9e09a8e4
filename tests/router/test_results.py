"""What the responder tells moves the reply, and meets the clock when the vendor took it."""

from typing import Any
from uuid import UUID

from services.router.domain.clocks import fold_clocks
from services.router.domain.conversation import Change, Message, Opened, ReplyWritten, fold, open_conversation
from services.router.results import Results, keep_dead
from services.router.store import conversations, dead
from shared.events import (
    DeadLetter,
    Event,
    ReplyAccepted,
    ReplyMadeElsewhere,
    ReplyProgressed,
    ReplyRefused,
)
from tests.router.world import World, id_of


async def reply(w: World) -> tuple[UUID, UUID]:
    """A message came in and somebody wrote an answer; conversation and reply."""
    await w.receive(w.message())
    async with w.router.transaction() as tx:
        id_ = await tx.fetchval("SELECT id FROM router.conversation")
        change = Change.of((await conversations.lock(tx, [id_]))[id_], tx.now)
        message = Message(kind="reply", author_kind="agent", text="Morgen!", occurred_at=tx.now, received_at=tx.now)
        change.messages.append(message)
        change.record(ReplyWritten(message_id=message.id), "anna")
        await conversations.save(tx, [change], await w.cache.current(tx))
    return id_, message.id


async def tell(w: World, *data: Any) -> None:
    events = [Event(data=d, key="k", source="responder", time=w.clock.at, brand_id=id_of("shop")) for d in data]
    async with w.router.transaction() as tx:
        await Results(w.cache)(tx, events + events)


async def test_the_clock_is_met_when_the_vendor_took_the_reply(w: World) -> None:
    conversation_id, reply_id = await reply(w)
    w.clock.forward(minutes=10)
    accepted = ReplyAccepted(reply_id=reply_id, conversation_id=conversation_id, at=w.clock.at)
    await tell(w, accepted)
    (clock,) = await w.fetch("SELECT state, ended_at FROM router.clock")
    assert tuple(clock) == ("met", w.clock.at)
    await tell(w, ReplyProgressed(reply_id=reply_id, conversation_id=conversation_id, state="read", at=w.clock.at))
    assert await w.value("SELECT state FROM router.message WHERE id = $1", reply_id) == "read"
    assert await w.value("SELECT unanswered_since FROM router.conversation") is None


async def test_a_refused_reply_leaves_the_clock_running(w: World) -> None:
    conversation_id, reply_id = await reply(w)
    await tell(
        w,
        ReplyRefused(reply_id=reply_id, conversation_id=conversation_id, at=w.clock.at, reason="rejected", code="100"),
    )
    (message,) = await w.fetch("SELECT state, reason FROM router.message WHERE id = $1", reply_id)
    assert tuple(message) == ("refused", "rejected (100)")
    assert await w.value("SELECT state FROM router.clock") == "running"


async def test_an_answer_that_came_back_waits_again_with_a_clock_from_now(w: World) -> None:
    conversation_id, reply_id = await reply(w)
    same = {"reply_id": reply_id, "conversation_id": conversation_id}
    await tell(w, ReplyAccepted(at=w.clock.at, **same))
    assert await w.value("SELECT state FROM router.conversation") == "resolved"
    w.clock.forward(minutes=30)
    await tell(w, ReplyProgressed(state="failed", at=w.clock.at, code="5.1.1", **same))
    (c,) = await w.fetch("SELECT state, unanswered_since FROM router.conversation")
    assert tuple(c) == ("waiting", w.clock.at)
    assert await w.value("SELECT count(*) FROM router.queue") == 1
    assert [r["state"] for r in await w.fetch("SELECT state FROM router.clock ORDER BY started_at")] == [
        "met",
        "running",
    ]


async def test_an_answer_made_elsewhere_stops_the_clock_once(w: World) -> None:
    await w.receive(w.message())
    await tell(
        w,
        ReplyMadeElsewhere(inbox_id=id_of("shop-chat"), channel="chat", keys=["e1"], peer="kunde", external_id="x",
                           occurred_at=w.clock.at, text="Ist unterwegs"),
    )  # fmt: skip
    assert await w.value("SELECT state FROM router.clock") == "met"
    assert await w.value("SELECT count(*) FROM router.message WHERE kind = 'elsewhere'") == 1


async def test_the_history_folds_to_the_conversation(w: World) -> None:
    conversation_id, reply_id = await reply(w)
    await tell(w, ReplyAccepted(reply_id=reply_id, conversation_id=conversation_id, at=w.clock.at))
    async with w.router.transaction() as tx:
        rows = await conversations.history(tx, conversation_id)
        stored = (await conversations.lock(tx, [conversation_id]))[conversation_id]
    opened = rows[0].entry
    assert isinstance(opened, Opened)
    folded = open_conversation(conversation_id, id_of("shop"), opened, rows[0].at)
    clocks: dict[UUID, Any] = {}
    for row in rows:
        folded = fold(folded, row.entry, row.at)
        clocks = fold_clocks(clocks, row)
    object.__setattr__(folded, "reply_context", stored.reply_context)
    assert folded == stored
    assert [clock.state for clock in clocks.values()] == ["met"]


async def test_a_dead_letter_is_one_row_that_counts_and_can_be_replayed(w: World) -> None:
    letter = DeadLetter(
        topic="inbound", key="k", value=b"{", headers={"ce_id": "1"}, code="bad_payload", error="unreadable"
    )
    event = Event(data=letter, key="k", source="ingest", time=w.clock.at)
    for _ in range(2):
        async with w.router.transaction() as tx:
            await keep_dead(tx, [event, event])
    (row,) = await w.fetch("SELECT id, count FROM router.dead")
    assert row["count"] == 2
    async with w.router.transaction() as tx:
        assert await dead.replay(tx, row["id"])
    (record,) = await w.fetch("SELECT topic, key, headers, value FROM bus.outbox")
    assert tuple(record) == ("inbound", "k", {"ce_id": "1"}, b"{")
