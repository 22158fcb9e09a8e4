"""Conversations, their messages, history, clocks, queues and assignments: loaded under lock, saved set-based.

`save` is the one way in which a conversation changes; what derives from it (queue rows, assignments, clocks, routing
events) is written with it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from services.router.domain.conversation import (
    AnyEntry,
    Assigned,
    Change,
    Conversation,
    Entry,
    HistoryRow,
    Message,
    Offered,
    Queued,
    ReplyMoved,
    ReplyWritten,
    Resolved,
)
from services.router.domain.hours import deadline
from services.router.domain.plan import Configuration, choose_policies, sort_at, steps_for
from services.router.store import clocks
from shared.bus import outbox
from shared.db.transaction import Transaction
from shared.events import (
    ConversationAnswered,
    ConversationAssigned,
    ConversationChanged,
    ConversationEvent,
    ConversationOffered,
    ConversationQueued,
    ConversationRequeued,
    ConversationResolved,
    Event,
    encode,
)
from shared.ids import new_id

SOURCE = "router"
# The entries that take a conversation from whoever holds it.
ENDS = ("declined", "lapsed", "resolved", "queued", "assigned", "callback_scheduled")
E = TypeVar("E", bound=Entry)

COLUMNS = [field.name for field in fields(Conversation)]
_TYPES: Mapping[str, str] = {
    "id": "uuid", "brand_id": "uuid", "inbox_id": "uuid", "customer_id": "uuid", "channel": "text", "live": "boolean",
    "weight": "smallint", "opened_at": "timestamptz", "version": "integer", "state": "text", "thread": "text",
    "matter": "text", "subject": "text", "language": "text", "language_by": "text", "priority": "smallint",
    "agent_id": "uuid", "last_agent_id": "uuid", "last_agent_at": "timestamptz", "declined_by": "text",
    "plan_id": "uuid", "step": "smallint", "next_step_at": "timestamptz", "queued_at": "timestamptz",
    "unanswered_since": "timestamptz", "due_at": "timestamptz", "last_inbound_at": "timestamptz",
    "answered_at": "timestamptz", "resolved_at": "timestamptz", "reply_context": "bytea",
}  # fmt: skip
# unnest flattens arrays of arrays, so the one list column travels as its text.
_CAST = {"declined_by": "declined_by::uuid[]"}
_SELECT = ", ".join(f"c.{name}" for name in COLUMNS)
_UNNEST = ", ".join(f"${i}::{_TYPES[name]}[]" for i, name in enumerate(COLUMNS, start=1))
_VALUES = ", ".join(_CAST.get(name, name) for name in COLUMNS)
INSERT = (
    f"INSERT INTO router.conversation ({', '.join(COLUMNS)}) SELECT {_VALUES} "
    f"FROM unnest({_UNNEST}) AS r ({', '.join(COLUMNS)})"
)
_FIXED = {"id", "brand_id", "inbox_id", "customer_id", "channel", "live", "opened_at"}
UPDATE = (
    "UPDATE router.conversation AS c SET "
    + ", ".join(f"{n} = r.{_CAST.get(n, n)}" for n in COLUMNS if n not in _FIXED)
    + f" FROM unnest({_UNNEST}) AS r ({', '.join(COLUMNS)}) WHERE c.id = r.id"
)


async def lock(tx: Transaction, ids: Iterable[UUID], *, skip_locked: bool = False) -> dict[UUID, Conversation]:
    """The conversations under lock, in the order of their ids; `skip_locked` leaves out those in somebody's hands."""
    rows = await tx.fetch(
        f"SELECT {_SELECT} FROM router.conversation AS c WHERE c.id = ANY ($1::uuid[]) ORDER BY c.id "
        f"FOR UPDATE {'SKIP LOCKED' if skip_locked else ''}",
        sorted(ids),
    )
    return {row["id"]: conversation(row) for row in rows}


async def lock_of_peers(
    tx: Transaction,
    inboxes: Sequence[UUID],
    customers: Sequence[UUID],
    threads: Sequence[str | None],
    ids: Sequence[UUID] = (),
) -> list[Conversation]:
    """Under lock: what a message of these customers in these inboxes may belong to, the latest of each pair.

    And those with these ids, which events about stored messages name.
    """
    rows = await tx.fetch(
        f"""
        SELECT {_SELECT} FROM router.conversation AS c
        WHERE c.id IN (
            SELECT f.id FROM unnest($1::uuid[], $2::uuid[]) AS p (inbox_id, customer_id)
            CROSS JOIN LATERAL (
                SELECT id FROM router.conversation AS o
                WHERE o.inbox_id = p.inbox_id AND o.customer_id = p.customer_id ORDER BY o.id DESC LIMIT 20
            ) AS f
            UNION
            SELECT f.id FROM unnest($1::uuid[], $3::text[]) AS p (inbox_id, thread)
            CROSS JOIN LATERAL (
                SELECT id FROM router.conversation AS o
                WHERE o.inbox_id = p.inbox_id AND o.thread = p.thread ORDER BY o.id DESC LIMIT 3
            ) AS f
            UNION SELECT unnest($4::uuid[])
        )
        ORDER BY c.id FOR UPDATE
        """,
        list(inboxes),
        list(customers),
        list(threads),
        list(ids),
    )
    return [conversation(row) for row in rows]


def conversation(row: asyncpg.Record) -> Conversation:
    return Conversation(**{**row, "declined_by": tuple(row["declined_by"])})


async def save(tx: Transaction, changes: Sequence[Change], configuration: Configuration) -> None:
    """Writes what the changes collected; nothing is sent for a table that nothing was collected for."""
    changes = [change for change in changes if change.entries]
    if not changes:
        return
    await _write_conversations(tx, changes)
    await _write_messages(tx, changes)
    await _write_history(tx, changes)
    await clocks.write(tx, changes)
    await _write_queue(tx, changes, configuration)
    await _write_assignments(tx, changes)
    events = [event for change in changes for event in (*routing_events(change), *change.events)]
    await outbox.add(tx, SOURCE, [encode(event) for event in events])


async def _write_conversations(tx: Transaction, changes: Sequence[Change]) -> None:
    for statement, rows in (
        (INSERT, [c.after for c in changes if c.before is None]),
        (UPDATE, [c.after for c in changes if c.before is not None]),
    ):
        if rows:
            await tx.execute(statement, *[[_value(row, name) for row in rows] for name in COLUMNS])


def _value(row: Conversation, name: str) -> Any:
    value = getattr(row, name)
    return "{" + ",".join(map(str, value)) + "}" if name == "declined_by" else value


async def _write_messages(tx: Transaction, changes: Sequence[Change]) -> None:
    rows = [(change.after, message) for change in changes for message in change.messages]
    if rows:
        await tx.execute(
            """
            INSERT INTO router.message (id, brand_id, conversation_id, kind, author_kind, author_id, text, language,
                attachments, occurred_at, received_at, number, state, state_at, reason, raw, raw_ref)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::text[],
                $8::text[], $9::jsonb[], $10::timestamptz[], $11::timestamptz[], $12::integer[], $13::text[],
                $14::timestamptz[], $15::text[], $16::bytea[], $17::text[])
            """,
            [m.id for _, m in rows],
            [c.brand_id for c, _ in rows],
            [c.id for c, _ in rows],
            *[
                [_field(m, name) for _, m in rows]
                for name in (
                    "kind", "author_kind", "author_id", "text", "language", "attachments", "occurred_at",
                    "received_at", "number", "state", "state_at", "reason", "raw", "raw_ref",
                )
            ],
        )  # fmt: skip
    moved = {e.message_id: e for change in changes for e in _entries(change, ReplyMoved)}
    if moved:
        await tx.execute(
            """
            UPDATE router.message AS m SET state = r.state, state_at = r.at, reason = r.reason
            FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::text[]) AS r (id, state, at, reason)
            WHERE m.id = r.id
            """,
            list(moved),
            [e.state for e in moved.values()],
            [e.at for e in moved.values()],
            [e.reason for e in moved.values()],
        )


def _field(message: Message, name: str) -> Any:
    value = getattr(message, name)
    # In a list of documents a list would be taken for a nested array.
    return msgspec.Raw(msgspec.json.encode(value)) if name == "attachments" else value


def _entries(change: Change, kind: type[E]) -> list[E]:
    return [row.entry for row in change.entries if isinstance(row.entry, kind)]


async def _write_history(tx: Transaction, changes: Sequence[Change]) -> None:
    rows = [(change.after, row) for change in changes for row in change.entries]
    await tx.execute(
        """
        INSERT INTO router.history (conversation_id, n, brand_id, at, kind, actor, data)
        SELECT * FROM unnest($1::uuid[], $2::integer[], $3::uuid[], $4::timestamptz[], $5::text[], $6::text[],
                             $7::jsonb[])
        """,
        [c.id for c, _ in rows],
        [row.n for _, row in rows],
        [c.brand_id for c, _ in rows],
        [row.at for _, row in rows],
        [row.entry.__struct_config__.tag for _, row in rows],
        [row.actor for _, row in rows],
        [row.entry for _, row in rows],
    )
    why = [(change, e) for change in changes for e in change.explanations]
    if why:
        await tx.execute(
            """
            INSERT INTO router.decision (conversation_id, n, kind, brand_id, at, data)
            SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::uuid[], $5::timestamptz[], $6::jsonb[])
            """,
            [c.after.id for c, _ in why],
            [e.n for _, e in why],
            [e.kind for _, e in why],
            [c.after.brand_id for c, _ in why],
            [c.now for c, _ in why],
            [e.data for _, e in why],
        )


def _transpose(rows: Sequence[tuple[Any, ...]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def queue_rows(c: Conversation, configuration: Configuration) -> list[tuple[UUID, int]]:
    """The pools in whose queues a conversation stands: those of every step that its plan has reached."""
    plan = configuration.plan(c.plan_id)
    if c.state != "waiting" or plan is None:
        return []
    steps = steps_for(configuration, plan, c.brand_id, c.channel)[: c.step + 1]
    return list({step.pool_id: (step.pool_id, n) for n, step in reversed(list(enumerate(steps)))}.values())


def _standing(c: Conversation | None) -> tuple[Any, ...]:
    """What decides the queue rows."""
    if c is None or c.state != "waiting":
        return ()
    return (c.plan_id, c.step, c.queued_at, c.due_at, c.priority)


async def _write_queue(tx: Transaction, changes: Sequence[Change], configuration: Configuration) -> None:
    moved = [c for c in changes if _standing(c.before) != _standing(c.after)]
    left = [c.after.id for c in moved if _standing(c.before)]
    if left:
        await tx.execute("DELETE FROM router.queue WHERE conversation_id = ANY ($1::uuid[])", sorted(left))
    rows = [(c.after, pool, step) for c in moved for pool, step in queue_rows(c.after, configuration)]
    if rows:
        await tx.execute(
            """
            INSERT INTO router.queue (pool_id, conversation_id, brand_id, step, sort_at, queued_at)
            SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[],
                                 $6::timestamptz[])
            """,
            [pool for _, pool, _ in rows],
            [c.id for c, _, _ in rows],
            [c.brand_id for c, _, _ in rows],
            [step for _, _, step in rows],
            [order_of(c, configuration) for c, _, _ in rows],
            [c.queued_at for c, _, _ in rows],
        )


def order_of(c: Conversation, configuration: Configuration) -> datetime:
    """Where a waiting conversation stands; one without a clock counts as due when its target would be."""
    due_at = c.due_at
    if due_at is None:
        country = configuration.inboxes[c.inbox_id].country
        policies = choose_policies(configuration, c.brand_id, c.channel, country)
        due_at = min(deadline(c.queued_at or c.opened_at, p.first_response, p.hours) for p in policies)
    return sort_at(due_at, c.priority)


def _holder(c: Conversation | None) -> tuple[UUID, str] | None:
    if c is None or c.agent_id is None:
        return None
    return c.agent_id, "offered" if c.state == "offered" else "held"


async def _write_assignments(tx: Transaction, changes: Sequence[Change]) -> None:
    ended, held, fresh = [], [], []
    for change in changes:
        before, after = _holder(change.before), _holder(change.after)
        if before == after:
            continue
        if before and after and before[0] == after[0]:
            held.append(change.after.id)
            continue
        if before:
            ended.append((change.after.id, _why_ended(change)))
        if after:
            lapses = next((e.lapses_at for e in _entries(change, Offered)), None)
            fresh.append((change.after, after[1], lapses if after[1] == "offered" else None, change.now))
    if ended:
        await tx.execute(
            """
            UPDATE router.assignment AS a SET state = 'ended', ended_at = $3, reason = r.reason
            FROM unnest($1::uuid[], $2::text[]) AS r (id, reason) WHERE a.conversation_id = r.id AND a.state <> 'ended'
            """,
            *_transpose(ended),
            tx.now,
        )
    if held:
        await tx.execute(
            """
            UPDATE router.assignment SET state = 'held', since = $2, lapses_at = NULL
            WHERE conversation_id = ANY ($1::uuid[]) AND state = 'offered'
            """,
            held,
            tx.now,
        )
    if fresh:
        await tx.execute(
            """
            INSERT INTO router.assignment (id, brand_id, conversation_id, agent_id, state, weight, since, lapses_at,
                                           reason)
            SELECT *, '' FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::smallint[],
                                 $7::timestamptz[], $8::timestamptz[])
            """,
            [new_id() for _ in fresh],
            [c.brand_id for c, *_ in fresh],
            [c.id for c, *_ in fresh],
            [c.agent_id for c, *_ in fresh],
            [state for _, state, _, _ in fresh],
            [c.weight for c, *_ in fresh],
            [at for *_, at in fresh],
            [lapses for _, _, lapses, _ in fresh],
        )


def _why_ended(change: Change) -> str:
    tags = [str(row.entry.__struct_config__.tag) for row in change.entries]
    return next((tag for tag in tags if tag in ENDS), tags[0])


def routing_events(change: Change) -> list[Event]:
    """One `routing` event per entry that changes who holds a conversation; one for all the others together."""
    events: list[ConversationEvent] = []
    for row in change.entries:
        told = _told(change, row)
        if told is not None:
            events.append(told)
    if not events:
        events.append(ConversationChanged(**_common(change, change.entries[-1])))
    return [
        Event(
            data=event,
            key=str(change.after.id),
            source=SOURCE,
            time=change.now,
            brand_id=change.after.brand_id,
            inbox_id=change.after.inbox_id,
            subject=str(change.after.id),
        )
        for event in events
    ]


def _common(change: Change, row: HistoryRow) -> dict[str, Any]:
    return {
        "conversation_id": change.after.id,
        "n": row.n,
        "at": row.at,
        "language": change.after.language,
        "agent_id": getattr(row.entry, "agent_id", None) or _whose(change),
        "reason": getattr(row.entry, "because", "") or getattr(row.entry, "reason", ""),
    }


def _whose(change: Change) -> UUID | None:
    """Who holds it, or held it until now: whatever happens to it is told to them."""
    return change.after.agent_id or (change.before.agent_id if change.before else None)


def _told(change: Change, row: HistoryRow) -> ConversationEvent | None:
    common = _common(change, row)
    match row.entry:
        case Queued():
            first = change.before is None or change.before.state == "resolved"
            return (ConversationQueued if first else ConversationRequeued)(**common)
        case Offered():
            return ConversationOffered(**common)
        case Assigned():
            return ConversationAssigned(**common)
        case ReplyWritten():
            return ConversationAnswered(**common)
        case Resolved():
            return ConversationResolved(**common)
        case _:
            return None


async def history(tx: Transaction, conversation_id: UUID) -> list[HistoryRow]:
    """The whole history of a conversation, as entries."""
    rows = await tx.fetch(
        "SELECT n, at, actor, data FROM router.history WHERE conversation_id = $1 ORDER BY n", conversation_id
    )
    return [HistoryRow(r["n"], r["at"], r["actor"], msgspec.convert(r["data"], AnyEntry)) for r in rows]


async def trace_of(tx: Transaction, conversation_id: UUID) -> str:
    """The `traceparent` that the customer's latest message came by; empty where it was not traced."""
    found = await tx.fetchval(
        "SELECT data->>'traceparent' FROM router.history "
        "WHERE conversation_id = $1 AND kind = 'message_received' ORDER BY n DESC LIMIT 1",
        conversation_id,
    )
    return found or ""


async def of_peers(tx: Transaction, peers: Sequence[tuple[UUID, str]]) -> dict[tuple[UUID, str], UUID]:
    """The latest conversation of each (inbox, peer): the vendor's thread, else whoever is one with the address."""
    rows = await tx.fetch(
        """
        SELECT p.inbox_id, p.peer, f.id FROM unnest($1::uuid[], $2::text[]) AS p (inbox_id, peer)
        JOIN config.inbox AS b ON b.id = p.inbox_id
        CROSS JOIN LATERAL (
            SELECT u.id FROM (
                SELECT o.id FROM router.conversation AS o WHERE o.inbox_id = p.inbox_id AND o.thread = p.peer
                UNION ALL
                SELECT o.id FROM router.identity AS i
                JOIN router.customer AS k ON k.id = i.customer_id
                CROSS JOIN LATERAL (SELECT coalesce(k.survivor_id, k.id) AS id) AS s
                JOIN router.customer AS g ON g.id = s.id OR g.survivor_id = s.id
                JOIN router.conversation AS o ON o.inbox_id = p.inbox_id AND o.customer_id = g.id
                WHERE i.brand_id = b.brand_id AND i.value = p.peer
            ) AS u
            ORDER BY u.id DESC LIMIT 1
        ) AS f
        """,
        [inbox for inbox, _ in peers],
        [peer for _, peer in peers],
    )
    return {(row["inbox_id"], row["peer"]): row["id"] for row in rows}


async def emit(tx: Transaction, change: Change) -> None:
    """Only the commands of a change that leaves the conversation as it is."""
    await outbox.add(tx, SOURCE, [encode(event) for event in change.events])
