"""Webhooks and what is delivered to them. A claim is an attempt's lease; whoever settles it names the claim."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction

COLUMNS = "id, handle, url, events, brands, enabled, reason, failing_since"
DELIVERY = "event_id, event, brand_id, at, state, attempts, next_at, status, reason, settled_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A row to come: the very bytes that will be signed."""

    webhook_id: UUID
    event_id: UUID
    brand_id: UUID | None
    event: str
    at: datetime
    body: bytes
    # Kept for a replay alone, where the webhook is disabled.
    waits: bool = True


async def webhooks(tx: Transaction) -> list[asyncpg.Record]:
    """All of them, without their secrets."""
    return await tx.fetch(f"SELECT {COLUMNS} FROM config.webhook ORDER BY handle")


async def webhook(tx: Transaction, webhook_id: UUID, *, lock: bool = False) -> dict[str, Any] | None:
    """One, with its sealed secrets."""
    row = await tx.fetchrow(
        f"SELECT {COLUMNS}, sealed FROM config.webhook WHERE id = $1 {'FOR UPDATE' if lock else ''}", webhook_id
    )
    return dict(row) if row else None


async def lock(tx: Transaction, webhook_id: UUID) -> None:
    """Before its deliveries, so that two who settle do not wait for each other."""
    await tx.execute("SELECT FROM config.webhook WHERE id = $1 FOR UPDATE", webhook_id)


async def figures(tx: Transaction, webhook_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, int]]:
    """How many alerts wait for each, and how many failed."""
    rows = await tx.fetch(
        """
        SELECT webhook_id, count(*) FILTER (WHERE state = 'waiting')::int AS waiting,
               count(*) FILTER (WHERE state = 'failed')::int AS failed
        FROM router.webhook_delivery WHERE webhook_id = ANY ($1::uuid[]) GROUP BY webhook_id
        """,
        list(webhook_ids),
    )
    return {row["webhook_id"]: {"waiting": row["waiting"], "failed": row["failed"]} for row in rows}


async def insert(
    tx: Transaction, *, webhook_id: UUID, handle: str, url: str, events: Sequence[str], brands: Sequence[UUID],
    sealed: Sequence[bytes],
) -> bool:  # fmt: skip
    """A new one, enabled; False where there is one of this handle."""
    done = await tx.execute(
        "INSERT INTO config.webhook (id, handle, url, events, brands, sealed, enabled, reason) "
        "VALUES ($1, $2, $3, $4, $5, $6, true, '') ON CONFLICT DO NOTHING",
        webhook_id,
        handle,
        url,
        list(events),
        list(brands),
        list(sealed),
    )
    return done == 1


async def delete(tx: Transaction, webhook_id: UUID) -> None:
    """With everything that was delivered to it, or was to be."""
    await tx.execute("DELETE FROM config.webhook WHERE id = $1", webhook_id)


async def set_secrets(tx: Transaction, webhook_id: UUID, sealed: Sequence[bytes]) -> None:
    await tx.execute("UPDATE config.webhook SET sealed = $2 WHERE id = $1", webhook_id, list(sealed))


async def enable(tx: Transaction, webhook_id: UUID) -> None:
    """From now on; what it missed meanwhile is there to be replayed."""
    await tx.execute(
        "UPDATE config.webhook SET enabled = true, reason = '', failing_since = NULL WHERE id = $1", webhook_id
    )


async def disable(tx: Transaction, webhook_id: UUID, reason: str) -> bool:
    """What waits is kept for a replay. False where it was disabled already."""
    done = await tx.execute(
        "UPDATE config.webhook SET enabled = false, reason = $2 WHERE id = $1 AND enabled", webhook_id, reason
    )
    await tx.execute(
        "UPDATE router.webhook_delivery SET state = 'failed', reason = 'disabled', settled_at = $2 "
        "WHERE webhook_id = $1 AND state = 'waiting'",
        webhook_id,
        tx.now,
    )
    return done == 1


async def add(tx: Transaction, alerts: Sequence[Alert]) -> None:
    """Due now; an alert that is known already stays as it is."""
    if not alerts:
        return
    await tx.execute(
        """
        INSERT INTO router.webhook_delivery (webhook_id, event_id, brand_id, event, at, body, state, reason, settled_at,
                                             attempts, claims, next_at)
        SELECT webhook_id, event_id, brand_id, event, at, body, CASE WHEN waits THEN 'waiting' ELSE 'failed' END,
               CASE WHEN waits THEN '' ELSE 'disabled' END, CASE WHEN waits THEN NULL ELSE $8::timestamptz END, 0, 0, $8
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::bytea[], $7::boolean[])
             AS a (webhook_id, event_id, brand_id, event, at, body, waits)
        -- One that was deleted meanwhile wants nothing any more.
        JOIN config.webhook AS w ON w.id = a.webhook_id
        ON CONFLICT (webhook_id, event_id) DO NOTHING
        """,
        *[
            [getattr(alert, name) for alert in alerts]
            for name in ("webhook_id", "event_id", "brand_id", "event", "at", "body", "waits")
        ],
        tx.now,
    )


async def claim(
    tx: Transaction, full: Sequence[UUID], of_each: int, most: int, lease: timedelta
) -> list[dict[str, Any]]:
    """Due deliveries, ours until the lease is over: at most so many of each webhook, none of those that are `full`."""
    rows = await tx.fetch(
        """
        WITH due AS (
            SELECT d.webhook_id, d.event_id FROM config.webhook AS w
            CROSS JOIN LATERAL (
                SELECT q.webhook_id, q.event_id, q.next_at FROM router.webhook_delivery AS q
                WHERE q.webhook_id = w.id AND q.state = 'waiting' AND q.next_at <= $1
                ORDER BY q.next_at, q.event_id LIMIT $3 FOR UPDATE SKIP LOCKED
            ) AS d
            WHERE w.enabled AND w.id <> ALL ($2::uuid[]) ORDER BY d.next_at LIMIT $4
        )
        UPDATE router.webhook_delivery AS d
        SET attempts = d.attempts + 1, claims = d.claims + 1, next_at = $5
        FROM due JOIN config.webhook AS w ON w.id = due.webhook_id
        WHERE d.webhook_id = due.webhook_id AND d.event_id = due.event_id
        RETURNING d.webhook_id, d.event_id, d.body, d.attempts, d.claims, w.url, w.sealed, w.handle,
                  $1::timestamptz AS now
        """,
        tx.now,
        list(full),
        of_each,
        most,
        tx.now + lease,
    )
    return [dict(row) for row in rows]


async def settle(
    tx: Transaction, row: Mapping[str, Any], state: str, next_at: datetime, status: int | None, reason: str
) -> bool:
    """Writes what became of a claimed attempt; False where another claim was made, or somebody disabled it."""
    done = await tx.execute(
        """
        UPDATE router.webhook_delivery
        SET state = $4, next_at = $5, status = $6, reason = $7,
            settled_at = CASE WHEN $4 = 'waiting' THEN NULL ELSE $8::timestamptz END
        WHERE webhook_id = $1 AND event_id = $2 AND claims = $3 AND state = 'waiting'
        """,
        row["webhook_id"],
        row["event_id"],
        row["claims"],
        state,
        next_at,
        status,
        reason,
        tx.now,
    )
    return done == 1


async def works(tx: Transaction, webhook_id: UUID) -> None:
    """Something got through."""
    await tx.execute(
        "UPDATE config.webhook SET failing_since = NULL WHERE id = $1 AND failing_since IS NOT NULL", webhook_id
    )


async def fails(tx: Transaction, webhook_id: UUID) -> datetime:
    """Since when nothing gets through."""
    since: datetime | None = await tx.fetchval(
        "UPDATE config.webhook SET failing_since = coalesce(failing_since, $2) WHERE id = $1 RETURNING failing_since",
        webhook_id,
        tx.now,
    )
    return since or tx.now


async def deliveries(
    tx: Transaction, webhook_id: UUID, state: str | None, after: tuple[datetime, UUID] | None, limit: int
) -> list[dict[str, Any]]:
    """A page, the newest first."""
    rows = await tx.fetch(
        f"""
        SELECT {DELIVERY}, event_id AS id FROM router.webhook_delivery
        WHERE webhook_id = $1 AND ($2::text IS NULL OR state = $2)
          AND ($3::timestamptz IS NULL OR (at, event_id) < ($3, $4))
        ORDER BY at DESC, event_id DESC LIMIT $5
        """,
        webhook_id,
        state,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [dict(row) for row in rows]


async def replay(
    tx: Transaction, webhook_id: UUID, event_id: UUID | None, since: datetime | None, until: datetime | None
) -> int:
    """One alert, whatever became of it; or those of a span of time that did not get through. How many."""
    return await tx.execute(
        """
        UPDATE router.webhook_delivery
        SET state = 'waiting', attempts = 0, claims = claims + 1, next_at = $5, reason = '', settled_at = NULL
        WHERE webhook_id = $1
          AND (event_id = $2 OR ($2::uuid IS NULL AND state = 'failed' AND at >= $3 AND at < $4))
        """,
        webhook_id,
        event_id,
        since,
        until or tx.now + timedelta(days=1),
        tx.now,
    )


async def forget(tx: Transaction, before: datetime) -> None:
    """What is over for long."""
    await tx.execute("DELETE FROM router.webhook_delivery WHERE state <> 'waiting' AND settled_at < $1", before)
