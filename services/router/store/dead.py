"""Dead letters: the one place where people look for what could not be read or handled, and replay it from."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.bus import outbox
from shared.db.transaction import Transaction
from shared.errors import InboxMisconfigured, Rejected
from shared.events import DeadLetter, Record
from shared.ids import derived_id


def id_of(letter: DeadLetter) -> UUID:
    """The same item gives the same row, however often it dies."""
    known_by = letter.headers.get("ce_id") or hashlib.sha256(letter.value).hexdigest()
    return derived_id("dead", letter.topic, letter.key, known_by, letter.code)


async def keep(tx: Transaction, letters: Sequence[tuple[UUID | None, DeadLetter]]) -> None:
    """Writes them with their brand, where it is known."""
    rows = {id_of(letter): (brand, letter) for brand, letter in letters}
    await tx.execute(
        """
        INSERT INTO router.dead AS d (id, brand_id, topic, key, headers, value, code, error, count, first_at, last_at)
        SELECT *, 1, $9, $9 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[],
                                        $7::text[], $8::text[])
        ON CONFLICT (id) DO UPDATE SET count = d.count + 1, last_at = excluded.last_at, replayed_at = NULL
        """,
        sorted(rows),
        *[
            [value(*rows[id_]) for id_ in sorted(rows)]
            for value in (
                lambda brand, _: brand,
                lambda _, letter: letter.topic,
                lambda _, letter: letter.key,
                lambda _, letter: dict(letter.headers),
                lambda _, letter: letter.value,
                lambda _, letter: letter.code,
                lambda _, letter: letter.error,
            )
        ],
        tx.now,
    )


async def newest(tx: Transaction, limit: int, before: tuple[datetime, UUID] | None = None) -> list[dict[str, Any]]:
    """Without the values: those may hold what customers wrote. `before` is the last row of the page before."""
    rows = await tx.fetch(
        """
        SELECT id, brand_id, topic, key, code, error, count, first_at, last_at, replayed_at, length(value) AS size
        FROM router.dead
        WHERE $2::timestamptz IS NULL OR (last_at, id) < ($2, $3)
        ORDER BY last_at DESC, id DESC LIMIT $1
        """,
        limit,
        before[0] if before else None,
        before[1] if before else None,
    )
    return [dict(row) for row in rows]


async def get(tx: Transaction, id_: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow("SELECT * FROM router.dead WHERE id = $1", id_)
    return dict(row) if row else None


async def replay(tx: Transaction, id_: UUID) -> bool:
    """Publishes the item again as it was, by the outbox; its own ids make sure that twice has one effect.

    False where there is no such item. Raises InboxMisconfigured for one whose inbox is still not configured, Rejected
    for one that never became an event.
    """
    row = await tx.fetchrow("SELECT topic, key, headers, value FROM router.dead WHERE id = $1 FOR UPDATE", id_)
    if row is None:
        return False
    if not row["topic"]:
        raise Rejected("it could not be read, so there is no event to publish again", code="never_an_event")
    record = Record(row["topic"], row["key"], row["headers"], row["value"])
    if "address" in record.headers:
        record = await _housed(tx, record)
    await outbox.add(tx, "router", [record])
    await tx.execute("UPDATE router.dead SET replayed_at = $2 WHERE id = $1", id_, tx.now)
    return True


async def _housed(tx: Transaction, record: Record) -> Record:
    """The event of an inbox that was not configured when it came."""
    account, address = record.headers["account"], record.headers["address"]
    inbox = await tx.fetchrow(
        "SELECT id, brand_id FROM config.inbox WHERE account_id = $1 AND address = $2", UUID(account), address
    )
    if inbox is None:
        raise InboxMisconfigured("its inbox is still not configured", code="unknown_inbox")
    headers = {name: value for name, value in record.headers.items() if name not in ("account", "address")}
    headers |= {"ce_inboxid": str(inbox["id"]), "ce_brandid": str(inbox["brand_id"])}
    return Record(record.topic, f"{inbox['id']}:{record.key}", headers, record.value)
