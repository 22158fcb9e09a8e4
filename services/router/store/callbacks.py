"""Wishes to be called back; a row is written under the lock of its conversation."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction

DAY = timedelta(hours=24)
# How many of a customer's other conversations are looked through for one to write in.
MOST_OTHERS = 5


@dataclass(slots=True, kw_only=True)
class Callback:
    """The columns of `router.callback`.

    `scheduled` until `next_at`; `queued` (also while it is held out) until `next_at`, the end of the customer's hours;
    `calling`; then `done` (talked), `written` (a written conversation goes on instead), `unreached`, `failed` or
    `withdrawn`.
    """

    id: UUID
    brand_id: UUID
    conversation_id: UUID
    phone: str
    zone: str
    created_at: datetime
    state: str = "queued"
    preferred_at: datetime | None = None
    attempts: int = 0
    next_at: datetime | None = None
    call_id: UUID | None = None
    outcome: str = ""
    changed: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in ("scheduled", "queued", "calling")

    def start_anew(self) -> None:
        """An open one whose conversation was closed without it: what was begun of it does not count any more."""
        if self.is_open:
            self.state, self.attempts, self.call_id = "scheduled", 0, None


COLUMNS = [field.name for field in fields(Callback) if field.name != "changed"]
_TYPES = {
    "id": "uuid", "brand_id": "uuid", "conversation_id": "uuid", "phone": "text", "zone": "text",
    "created_at": "timestamptz", "state": "text", "preferred_at": "timestamptz", "attempts": "smallint",
    "next_at": "timestamptz", "call_id": "uuid", "outcome": "text",
}  # fmt: skip
_CHANGING = ("phone", "zone", "state", "preferred_at", "attempts", "next_at", "call_id", "outcome")
_SELECT = ", ".join(f"b.{name}" for name in COLUMNS)


async def latest(tx: Transaction, conversation_ids: Sequence[UUID]) -> dict[UUID, Callback]:
    """The newest callback of each conversation, which is the only one that may still be open."""
    rows = await tx.fetch(
        f"SELECT DISTINCT ON (b.conversation_id) {_SELECT} FROM router.callback AS b "
        "WHERE b.conversation_id = ANY ($1::uuid[]) ORDER BY b.conversation_id, b.created_at DESC, b.id DESC",
        list(conversation_ids),
    )
    return {row["conversation_id"]: Callback(**row) for row in rows}


async def get(tx: Transaction, callback_id: UUID) -> Callback | None:
    row = await tx.fetchrow(f"SELECT {_SELECT} FROM router.callback AS b WHERE b.id = $1", callback_id)
    return Callback(**row) if row else None


async def due(tx: Transaction, limit: int) -> list[UUID]:
    """The conversations of callbacks whose time has come, or whose hours are over."""
    rows = await tx.fetch(
        "SELECT conversation_id FROM router.callback WHERE state IN ('scheduled', 'queued') AND next_at <= $1 "
        "ORDER BY next_at LIMIT $2",
        tx.now,
        limit,
    )
    return sorted({row["conversation_id"] for row in rows})


async def save(tx: Transaction, callbacks: Iterable[Callback]) -> None:
    """Writes those that are new or changed."""
    rows = [callback for callback in callbacks if callback.changed]
    if not rows:
        return
    values = ", ".join(f"${n}::{_TYPES[name]}[]" for n, name in enumerate(COLUMNS, start=1))
    changes = ", ".join(f"{name} = excluded.{name}" for name in _CHANGING)
    await tx.execute(
        f"INSERT INTO router.callback ({', '.join(COLUMNS)}) SELECT * FROM unnest({values}) "
        f"ON CONFLICT (id) DO UPDATE SET {changes}",
        *[[getattr(row, name) for row in rows] for name in COLUMNS],
    )


async def asked(tx: Transaction, numbers: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], tuple[int, int]]:
    """Of each brand's number, how often it was asked for in the last 24 hours, and for how many callbacks the brand.

    Whoever asks again while a call is open gets no second one, but is counted: each request is a message there.
    """
    rows = await tx.fetch(
        """
        SELECT w.brand_id, w.phone,
               (SELECT count(*)::int FROM router.message AS m
                WHERE m.kind = 'inbound' AND m.received_at > $3 AND m.conversation_id IN (
                    SELECT c.conversation_id FROM router.callback AS c
                    WHERE c.brand_id = w.brand_id AND c.phone = w.phone)) AS of_number,
               (SELECT count(*)::int FROM router.callback AS c
                WHERE c.brand_id = w.brand_id AND c.created_at > $3) AS of_brand
        FROM unnest($1::uuid[], $2::text[]) AS w (brand_id, phone)
        """,
        [brand_id for brand_id, _ in numbers],
        [phone for _, phone in numbers],
        tx.now - DAY,
    )
    return {(row["brand_id"], row["phone"]): (row["of_number"], row["of_brand"]) for row in rows}


async def count_alone(tx: Transaction, brand_id: UUID) -> None:
    """Until the end of the transaction nobody else counts this brand's requests, so that no two are the last one.

    Raises asyncpg.SerializationError where somebody does: the request is handled again.
    """
    if not await tx.fetchval("SELECT pg_try_advisory_xact_lock(7236044, hashtext($1))", str(brand_id)):
        raise asyncpg.SerializationError("somebody else asks for a call from this brand just now")


async def others(tx: Transaction, conversation_ids: Sequence[UUID]) -> list[asyncpg.Record]:
    """Of each conversation's customer the latest conversations in other inboxes whose messages they take.

    Rows of (of, id): the conversation that is named, and another one of the same person.
    """
    return await tx.fetch(
        """
        SELECT n.id AS of, o.id FROM router.conversation AS n
        JOIN router.customer AS k ON k.id = n.customer_id
        CROSS JOIN LATERAL (
            SELECT w.id FROM router.conversation AS w
            WHERE w.brand_id = n.brand_id AND w.inbox_id <> n.inbox_id
              AND w.customer_id IN (
                  SELECT p.id FROM router.customer AS p WHERE p.brand_id = n.brand_id
                    AND coalesce(k.survivor_id, k.id) IN (p.id, p.survivor_id))
              AND NOT EXISTS (
                  SELECT FROM router.opt_out AS x JOIN router.identity AS i USING (brand_id, kind, value)
                  WHERE x.inbox_id = w.inbox_id AND i.customer_id = w.customer_id
                    AND x.opted_out AND NOT x.marketing_only)
            ORDER BY w.last_inbound_at DESC NULLS LAST, w.id DESC LIMIT $2
        ) AS o
        WHERE n.id = ANY ($1::uuid[])
        """,
        list(conversation_ids),
        MOST_OTHERS,
    )
