"""What came from outside and has had its effect: the one place that decides whether something is new."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction

# inbox, kind, key
Mark = tuple[UUID, str, str]


async def known(tx: Transaction, marks: Sequence[Mark]) -> set[Mark]:
    """Those of the marks that have been seen."""
    inboxes, kinds, keys = zip(*marks, strict=True) if marks else ((), (), ())
    rows = await tx.fetch(
        """
        SELECT s.inbox_id, s.kind, s.key FROM unnest($1::uuid[], $2::text[], $3::text[]) AS m (inbox_id, kind, key)
        JOIN router.seen AS s USING (inbox_id, kind, key)
        """,
        list(inboxes),
        list(kinds),
        list(keys),
    )
    return {(row["inbox_id"], row["kind"], row["key"]) for row in rows}


async def mark(tx: Transaction, rows: Sequence[tuple[Mark, UUID, UUID | None]]) -> None:
    """Remembers marks with their brand and message.

    Raises asyncpg.SerializationError where another transaction was first: the batch is decided again.
    """
    if not rows:
        return
    ordered = sorted({row[0]: row for row in rows}.values(), key=lambda row: row[0])
    done = await tx.execute(
        """
        INSERT INTO router.seen (inbox_id, kind, key, brand_id, message_id, at)
        SELECT *, $6 FROM unnest($1::uuid[], $2::text[], $3::text[], $4::uuid[], $5::uuid[])
        ON CONFLICT (inbox_id, kind, key) DO NOTHING
        """,
        [m[0] for m, _, _ in ordered],
        [m[1] for m, _, _ in ordered],
        [m[2] for m, _, _ in ordered],
        [brand for _, brand, _ in ordered],
        [message for _, _, message in ordered],
        tx.now,
    )
    if done < len(ordered):
        raise asyncpg.SerializationError("somebody else handled one of these events meanwhile")


async def forget(tx: Transaction, seen_before: datetime, answered_before: datetime) -> None:
    """Old marks, and answers that nobody may ask for again."""
    await tx.execute("DELETE FROM router.seen WHERE at < $1", seen_before)
    await tx.execute("DELETE FROM router.idempotency WHERE at < $1", answered_before)
