"""The SQL on `responder.call`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction

OPEN = "('waiting', 'placing', 'unknown', 'placed')"


async def add(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    """New calls; those that were known already stay as they are."""
    names = (
        "id", "brand_id", "conversation_id", "inbox_id", "account_id", "channel", "command", "expires_at",
        "traceparent",
    )  # fmt: skip
    await tx.execute(
        """
        INSERT INTO responder.call (id, brand_id, conversation_id, inbox_id, account_id, channel, command, expires_at,
            traceparent, state, next_at, holder, legs, outcome, seconds, code, created_at)
        SELECT *, 'waiting', $10, '', '{}', '', 0, '', $10 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[],
            $5::uuid[], $6::text[], $7::bytea[], $8::timestamptz[], $9::text[])
        ON CONFLICT (id) DO NOTHING
        """,
        *[[row[name] for row in rows] for name in names],
        tx.now,
    )


async def lock(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, asyncpg.Record]:
    rows = await tx.fetch(
        "SELECT * FROM responder.call WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE", sorted(set(ids))
    )
    return {row["id"]: row for row in rows}


async def claim(tx: Transaction, holder: str, lease: timedelta, most: int) -> list[asyncpg.Record]:
    """Calls that may be placed now, written as `placing`: whoever does not come back leaves them unknown."""
    return await tx.fetch(
        """
        UPDATE responder.call SET state = 'placing', holder = $1, next_at = $2, started_at = $3
        WHERE id IN (SELECT id FROM responder.call WHERE state = 'waiting' AND next_at <= $3 AND expires_at > $3
                     ORDER BY next_at LIMIT $4 FOR UPDATE SKIP LOCKED)
        RETURNING *
        """,
        holder,
        tx.now + lease,
        tx.now,
        most,
    )


async def expired(tx: Transaction, most: int) -> list[asyncpg.Record]:
    """Calls that could not be placed while the agent was waiting for them."""
    return await tx.fetch(
        "SELECT * FROM responder.call WHERE state = 'waiting' AND expires_at <= $1 "
        "ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED",
        tx.now,
        most,
    )


async def to_ask_about(tx: Transaction, again_after: timedelta, most: int) -> list[asyncpg.Record]:
    """Calls whose vendor is to be asked now; nobody else asks meanwhile. A lost process's are unknown from now on."""
    return await tx.fetch(
        """
        UPDATE responder.call SET next_at = $2, state = CASE WHEN state = 'placing' THEN 'unknown' ELSE state END
        WHERE id IN (SELECT id FROM responder.call
                     WHERE state IN ('placing', 'unknown', 'placed') AND next_at <= $1
                     ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED)
        RETURNING *
        """,
        tx.now,
        tx.now + again_after,
        most,
    )


async def settle(
    tx: Transaction, call_id: UUID, holder: str, state: str, next_at: datetime, external_id: str | None = None,
    code: str = "",
) -> None:  # fmt: skip
    """What became of placing it, where that is still to be said: the vendor's webhooks may have been faster."""
    await tx.execute(
        """
        UPDATE responder.call SET external_id = coalesce(external_id, $5), code = $6,
            state = CASE WHEN state = 'placing' AND holder = $2 THEN $3 ELSE state END,
            next_at = CASE WHEN state = 'placing' AND holder = $2 AND outcome = '' THEN $4 ELSE next_at END
        WHERE id = $1 AND state <> 'ended'
        """,
        call_id,
        holder,
        state,
        next_at,
        external_id,
        code,
    )


async def move(
    tx: Transaction, call_id: UUID, *, state: str, legs: dict[str, Any], external_id: str | None, next_at: datetime
) -> None:
    """What was told of it, and when its vendor is asked next."""
    await tx.execute(
        "UPDATE responder.call SET state = $2, legs = $3, external_id = coalesce(external_id, $4), next_at = $5 "
        "WHERE id = $1",
        call_id,
        state,
        legs,
        external_id,
        next_at,
    )


async def wish_withdrawn(tx: Transaction, call_id: UUID) -> None:
    """To be hung up at the next look, which is now."""
    await tx.execute("UPDATE responder.call SET outcome = 'withdrawn', next_at = $2 WHERE id = $1", call_id, tx.now)


async def end(tx: Transaction, call_id: UUID, outcome: str, seconds: int, code: str) -> None:
    await tx.execute(
        "UPDATE responder.call SET state = 'ended', next_at = NULL, outcome = $2, seconds = $3, code = $4, "
        "ended_at = $5 WHERE id = $1",
        call_id,
        outcome,
        seconds,
        code,
        tx.now,
    )
