"""Clocks as stories: opening hours, two families, thanks, late arrivals, policies that change; and each explained."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.router.check import check
from services.router.domain import sentences
from services.router.domain.clocks import Clock
from services.router.domain.conversation import (
    Assigned,
    Change,
    Conversation,
    Entry,
    Message,
    ReplyWritten,
    Resolved,
)
from services.router.domain.plan import Configuration, Policy, choose_policies
from services.router.queueing import dismiss
from services.router.results import Results
from services.router.store import clocks as stored
from services.router.store import conversations
from services.router.timers import tell_deadlines
from shared.events import Event, ReplyAccepted, ReplyMadeElsewhere, ReplyRefused
from shared.ids import new_id
from tests.router.test_dispatch import sweep
from tests.router.world import MONDAY, World, id_of

FRIDAY_LATE = datetime(2026, 11, 27, 15, 30, tzinfo=UTC)


async def policy(w: World, handle: str, *, calendar: bool = False, **columns: Any) -> None:
    """A policy for the shop's chat, in office hours of Berlin where it has the calendar."""
    async with w.router.transaction() as tx:
        if calendar:
            await tx.execute(
                "INSERT INTO config.calendar VALUES ($1, 'office', $2, 'Europe/Berlin', $3, 'DE', '{}') "
                "ON CONFLICT DO NOTHING",
                id_of("office"), "Alpenlicht's hours", [[[540, 1020]]] * 5 + [[], []],
            )  # fmt: skip
        values = {
            "id": id_of(handle), "handle": handle, "brand_id": id_of("shop"), "channel": "chat",
            "first_response": 3600, "warn_before": 600, "calendar_id": id_of("office") if calendar else None, **columns,
        }  # fmt: skip
        await tx.execute("DELETE FROM config.policy WHERE id = $1", id_of(handle))
        places = ", ".join(f"${n}" for n in range(1, len(values) + 1))
        await tx.execute(f"INSERT INTO config.policy ({', '.join(values)}) VALUES ({places})", *values.values())
        await tx.execute("UPDATE config.revision SET n = n + 1")


async def only(w: World) -> Conversation:
    async with w.router.transaction() as tx:
        id_ = await tx.fetchval("SELECT id FROM router.conversation")
        return (await conversations.lock(tx, [id_]))[id_]


async def clocks(w: World) -> list[Clock]:
    """In the order in which they began."""
    async with w.router.transaction() as tx:
        found = await stored.of_conversation(tx, await tx.fetchval("SELECT id FROM router.conversation"))
    return sorted(found.values(), key=lambda clock: clock.id)


async def record(w: World, entry: Entry, *messages: Message, of: UUID | None = None) -> Conversation:
    async with w.router.transaction() as tx:
        id_ = of or await tx.fetchval("SELECT id FROM router.conversation")
        change = Change.of((await conversations.lock(tx, [id_]))[id_], tx.now)
        change.messages += messages
        change.record(entry, "anna")
        await conversations.save(tx, [change], await w.cache.current(tx))
        return change.after


async def dismissed(w: World, of: UUID | None = None) -> None:
    """Somebody said that it needs no reply, where something was unanswered."""
    async with w.router.transaction() as tx:
        id_ = of or await tx.fetchval("SELECT id FROM router.conversation")
        change = Change.of((await conversations.lock(tx, [id_]))[id_], tx.now)
        if change.after.unanswered_since is not None:
            dismiss(change, "thanks", "anna")
        await conversations.save(tx, [change], await w.cache.current(tx))


async def written(w: World, of: UUID | None = None) -> UUID:
    """An agent wrote a reply, which is on its way."""
    async with w.router.transaction() as tx:
        n = await tx.fetchval("SELECT version + 1 FROM router.conversation WHERE $1::uuid IS NULL OR id = $1", of)
    message = Message(
        kind="reply", author_kind="agent", text="Morgen!", occurred_at=w.clock.at, received_at=w.clock.at, number=n,
        state="queued",
    )  # fmt: skip
    await record(w, ReplyWritten(message_id=message.id), message, of=of)
    return message.id


async def tell(w: World, data: Any) -> None:
    async with w.router.transaction() as tx:
        event = Event(data=data, key="k", source="responder", time=w.clock.at, brand_id=id_of("shop"))
        await Results(w.cache)(tx, [event])


async def accepted(w: World, reply_id: UUID, of: UUID | None = None) -> None:
    conversation_id = of or (await only(w)).id
    await tell(w, ReplyAccepted(reply_id=reply_id, conversation_id=conversation_id, at=w.clock.at))


async def elsewhere(w: World, at: datetime, sender: str = "kunde") -> None:
    await tell(
        w,
        ReplyMadeElsewhere(
            inbox_id=id_of("shop-chat"), channel="chat", keys=[str(new_id())], peer=sender, external_id="x",
            occurred_at=at, text="Ist unterwegs",
        ),
    )  # fmt: skip


async def consistent(w: World) -> None:
    looked_at, wrong = await check(w.router)
    assert looked_at > 0
    assert wrong == []


async def test_eight_hours_from_friday_afternoon_are_due_on_monday(w: World) -> None:
    await policy(w, "hours", calendar=True, first_response=8 * 3600, warn_before=3600)
    w.clock.at = FRIDAY_LATE
    await w.receive(w.message())
    (clock,) = await clocks(w)
    monday = datetime(2026, 11, 30, tzinfo=UTC)
    assert (clock.warn_at, clock.due_at) == (monday.replace(hour=14, minute=30), monday.replace(hour=15, minute=30))
    assert (clock.allowed, clock.calendar_id, clock.policy) == (8 * 3600, id_of("office"), "hours")
    assert sentences.of_clock(clock) == "8 h of Alpenlicht's hours, Mon-Fri 9-17 Berlin; due Mon 16:30"
    assert (await only(w)).due_at == clock.due_at
    await consistent(w)


async def test_a_place_that_the_library_forgot_stops_nobody_and_is_told(
    w: World, caplog: pytest.LogCaptureFixture
) -> None:
    await policy(w, "hours", calendar=True)
    await w.fetch("UPDATE config.calendar SET place = 'DE-XX'")
    w.clock.at = datetime(2026, 12, 25, 9, tzinfo=UTC)
    await w.receive(w.message())
    (clock,) = await clocks(w)
    assert clock.due_at == w.clock.at + timedelta(hours=1)
    assert "calendar office goes without holidays" in caplog.text


async def test_the_marketplaces_rule_and_the_brands_contract_run_side_by_side(w: World) -> None:
    await policy(w, "contract", calendar=True, first_response=4 * 3600)
    await policy(w, "rule", family="marketplace", first_response=24 * 3600)
    w.clock.at = FRIDAY_LATE
    await w.receive(w.message())
    contract, rule = sorted(await clocks(w), key=lambda clock: clock.family)
    assert (contract.family, rule.family) == ("contract", "marketplace")
    # On a Friday the rule that counts the weekend is due first.
    assert (await only(w)).due_at == rule.due_at == FRIDAY_LATE + timedelta(hours=24)
    assert contract.due_at == datetime(2026, 11, 30, 11, 30, tzinfo=UTC)
    assert await w.value("SELECT sort_at FROM router.queue") == rule.due_at
    w.clock.at = contract.due_at
    assert await sweep(w, tell_deadlines) == 2
    assert {clock.missed_at for clock in await clocks(w)} == {w.clock.at}
    assert sentences.of_clock(rule).startswith("24 h around the clock by the marketplace's rule; due Sat 15:30 UTC")
    await accepted(w, await written(w))
    assert [clock.state for clock in await clocks(w)] == ["met", "met"]
    await consistent(w)


async def test_what_comes_after_an_answer_has_the_next_response_to_wait_for(w: World) -> None:
    await policy(w, "hours", first_response=3600, next_response=1800)
    await w.receive(w.message())
    w.clock.forward(minutes=10)
    await accepted(w, await written(w))
    assert (await only(w)).due_at is None
    w.clock.forward(minutes=5)
    await w.receive(w.message("Und wann genau?"), w.message("Ich brauche es bis Freitag."))
    first, following = await clocks(w)
    assert (first.target, first.state) == ("first_response", "met")
    assert (following.target, following.state) == ("next_response", "running")
    assert (following.started_at, following.due_at) == (w.clock.at, w.clock.at + timedelta(minutes=30))
    await consistent(w)


async def test_what_they_wrote_while_the_answer_was_on_its_way_is_unanswered_still(w: World) -> None:
    await w.receive(w.message())
    w.clock.forward(minutes=10)
    reply_id = await written(w)
    w.clock.forward(minutes=1)
    wrote_again = w.clock.at
    await w.receive(w.message("Die Adresse hat sich geändert!"))
    w.clock.forward(minutes=1)
    await accepted(w, reply_id)
    first, following = await clocks(w)
    assert (first.state, first.ended_at) == ("met", w.clock.at)
    assert (following.target, following.state, following.started_at) == ("next_response", "running", wrote_again)
    c = await only(w)
    # It waits on, in its place.
    assert (c.state, c.unanswered_since) == ("waiting", wrote_again)
    assert await w.value("SELECT count(*) FROM router.queue") == 1
    await accepted(w, await written(w))
    assert [clock.state for clock in await clocks(w)] == ["met", "met"]
    assert (await only(w)).state == "resolved"
    await consistent(w)


async def test_an_answer_elsewhere_meets_only_what_was_written_before_it(w: World) -> None:
    earlier = w.clock.at - timedelta(minutes=30)
    await w.receive(w.message())
    await elsewhere(w, earlier)
    (clock,) = await clocks(w)
    assert clock.state == "running"
    assert (await only(w)).unanswered_since == MONDAY
    w.clock.forward(minutes=3)
    await w.receive(w.message("Noch etwas"))
    await elsewhere(w, w.clock.at - timedelta(minutes=1))
    first, following = await clocks(w)
    assert (first.state, following.state, following.started_at) == ("met", "running", w.clock.at)
    await elsewhere(w, w.clock.at)
    assert [clock.state for clock in await clocks(w)] == ["met", "met"]
    await consistent(w)


async def test_thanks_need_no_reply_and_what_comes_late_starts_nothing_again(w: World) -> None:
    await w.receive(w.message())
    await record(w, Assigned(agent_id=id_of("anna"), because="claimed"))
    w.clock.forward(minutes=10)
    await accepted(w, await written(w))
    answered_at = w.clock.at
    w.clock.forward(minutes=5)
    await w.receive(w.message("Danke!"))
    await dismissed(w)
    c = await only(w)
    assert (c.state, c.unanswered_since, c.due_at) == ("assigned", None, None)
    w.clock.forward(minutes=1)
    # Written between the answer and the thanks, and held up on its way.
    await w.receive(w.message("Ach so", at=answered_at + timedelta(minutes=1)))
    assert [(clock.target, clock.state) for clock in await clocks(w)] == [
        ("first_response", "met"), ("next_response", "stopped"),
    ]  # fmt: skip
    w.clock.forward(hours=100)
    assert await sweep(w, tell_deadlines) == 0
    await w.receive(w.message("Es ist kaputt angekommen."))
    assert (await clocks(w))[-1].started_at == w.clock.at
    await consistent(w)


async def test_a_machines_notice_starts_no_clock_and_opens_nothing_again(w: World) -> None:
    await w.receive(w.message())
    await record(w, Resolved())
    heard_at = w.clock.at
    w.clock.forward(minutes=10)
    await w.receive(w.message("Ich bin bis Montag nicht da.", automatic=True))
    c = await only(w)
    assert (c.state, c.unanswered_since, c.last_inbound_at) == ("resolved", None, heard_at)
    assert len(await clocks(w)) == 1
    await consistent(w)


async def test_what_runs_keeps_what_it_began_with(w: World) -> None:
    await policy(w, "hours", first_response=3600)
    await w.receive(w.message())
    await policy(w, "hours", calendar=True, first_response=600, warn_before=60)
    (clock,) = await clocks(w)
    assert (clock.due_at, clock.allowed, clock.hours) == (MONDAY + timedelta(hours=1), 3600, "")
    w.clock.forward(minutes=30)
    await w.receive(w.message("Hallo?"))
    assert len(await clocks(w)) == 1
    assert await sweep(w, tell_deadlines) == 0
    await w.receive(w.message(sender="other"))
    assert await w.value("SELECT due_at - started_at FROM router.clock ORDER BY id DESC LIMIT 1") == timedelta(
        minutes=10
    )
    await consistent(w)


async def test_a_refused_answer_leaves_its_clock_as_it_was(w: World) -> None:
    await w.receive(w.message())
    reply_id = await written(w)
    await record(w, Resolved(answered=True))
    w.clock.forward(minutes=5)
    await tell(w, ReplyRefused(reply_id=reply_id, conversation_id=(await only(w)).id, at=w.clock.at, reason="rejected"))
    (clock,) = await clocks(w)
    assert (clock.state, clock.due_at, (await only(w)).state) == ("running", MONDAY + timedelta(hours=1), "waiting")
    await consistent(w)


IS_OPEN = "SELECT state <> 'resolved' FROM router.conversation WHERE id = $1"
STEPS = ("message", "late", "machine", "write", "accept", "elsewhere", "thanks", "resolve", "time")


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_a_clock_runs_exactly_while_something_is_unanswered(w: World, seed: int) -> None:
    await policy(w, "contract", calendar=True, first_response=7200, next_response=3600)
    await policy(w, "rule", family="marketplace", first_response=5400)
    chance = random.Random(seed)
    senders = [f"s{n}" for n in range(8)]
    await w.receive(*(w.message(sender=sender) for sender in senders))
    ids = {
        row["value"]: row["id"]
        for row in await w.fetch(
            "SELECT i.value, c.id FROM router.conversation c JOIN router.identity i ON i.customer_id = c.customer_id"
        )
    }
    pending: dict[str, list[UUID]] = {sender: [] for sender in senders}
    for _ in range(120):
        await step(w, chance, chance.choice(senders), ids, pending)
    rows = await w.fetch(
        """
        SELECT c.unanswered_since, c.due_at, c.state, min(k.due_at) AS first_due, min(k.started_at) AS began,
               count(k.id) AS running, count(DISTINCT k.family) AS families
        FROM router.conversation c LEFT JOIN router.clock k ON k.conversation_id = c.id AND k.state = 'running'
        GROUP BY c.id
        """
    )
    assert len(rows) == len(senders)
    for row in rows:
        assert (row["unanswered_since"], row["due_at"]) == (row["began"], row["first_due"])
        assert row["running"] == row["families"] == (0 if row["began"] is None else 2)
        assert row["began"] is None or row["state"] != "resolved" or row["due_at"] is not None
    await consistent(w)


async def step(
    w: World, chance: random.Random, sender: str, ids: dict[str, UUID], pending: dict[str, list[UUID]]
) -> None:
    w.clock.forward(seconds=chance.randint(1, 300))
    match chance.choice(STEPS):
        case "message":
            await w.receive(w.message(sender=sender))
        case "late":
            await w.receive(w.message(sender=sender, at=w.clock.at - timedelta(minutes=chance.randint(1, 60))))
        case "machine":
            await w.receive(w.message(sender=sender, automatic=True))
        case "write":
            pending[sender].append(await written(w, ids[sender]))
        case "accept" if pending[sender]:
            await accepted(w, pending[sender].pop(0), ids[sender])
        case "elsewhere":
            await elsewhere(w, w.clock.at - timedelta(minutes=chance.randint(0, 30)), sender)
        case "thanks":
            await dismissed(w, ids[sender])
        case "resolve" if await w.value(IS_OPEN, ids[sender]):
            await record(w, Resolved(answered=bool(pending[sender])), of=ids[sender])
        case _:
            w.clock.forward(minutes=chance.randint(1, 90))
            await sweep(w, tell_deadlines)


def a_policy(handle: str, **more: Any) -> Policy:
    hour = timedelta(hours=1)
    return Policy(id=new_id(), handle=handle, first_response=hour, warn_before=hour / 2, **more)


BRAND = id_of("shop")


@pytest.mark.parametrize(
    ("policies", "chosen"),
    [
        ([], [""]),
        ([a_policy("default")], ["default"]),
        ([a_policy("default"), a_policy("social", channel="chat")], ["social"]),
        # What holds for everybody gives way to any other, of the other family too.
        ([a_policy("default"), a_policy("rule", channel="chat", family="marketplace")], ["rule"]),
        ([a_policy("ours", brand_id=BRAND), a_policy("rule", channel="chat", family="marketplace")], ["ours", "rule"]),
        ([a_policy("chat", channel="chat"), a_policy("chat-de", channel="chat", country="DE")], ["chat-de"]),
        ([a_policy("brand", brand_id=BRAND), a_policy("chat-de", channel="chat", country="DE")], ["brand"]),
        ([a_policy("others", brand_id=id_of("other")), a_policy("mail", channel="email")], [""]),
    ],
)  # fmt: skip
def test_of_each_family_the_most_specific_policy_holds(policies: list[Policy], chosen: list[str]) -> None:
    found = choose_policies(Configuration(policies=policies), BRAND, "chat", "DE")
    assert [p.handle for p in found] == chosen


@pytest.mark.parametrize(
    ("length", "words"),
    [(45, "45 s"), (60, "1 min"), (3600, "1 h"), (5400, "1 h 30 min"), (86400, "24 h"), (3661, "1 h 1 min")],
)
def test_a_length_of_time_is_told_in_words(length: int, words: str) -> None:
    assert sentences.span(timedelta(seconds=length)) == words


def test_what_is_far_away_has_its_date() -> None:
    clock = Clock(
        id=new_id(), target="first_response", started_at=MONDAY, warn_at=MONDAY, due_at=MONDAY + timedelta(days=7),
        allowed=7 * 86400, state="stopped", ended_at=MONDAY + timedelta(hours=1),
    )  # fmt: skip
    assert sentences.of_clock(clock) == "168 h around the clock; due Mon 2026-11-30 09:00 UTC; stopped Mon 10:00 UTC"
