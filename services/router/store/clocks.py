"""What time brings: clocks that near their end, steps, lapsed offers, agents who vanished."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

import asyncpg

from services.router.domain.clocks import Clock
from shared.db.transaction import Transaction

NAMES = [field.name for field in fields(Clock)]
_SELECT = ", ".join(NAMES)


@dataclass(frozen=True, slots=True)
class Passing:
    """A running clock whose warning (`near`) or end (`missed`) has come."""

    conversation_id: UUID
    what: str
    clock: Clock

    @property
    def since(self) -> datetime:
        """When it came."""
        return self.clock.warn_at if self.what == "near" else self.clock.due_at


async def passing(tx: Transaction, limit: int) -> list[Passing]:
    """Those that were not told yet, the oldest first."""
    rows = await tx.fetch(
        f"""
        (SELECT conversation_id, 'missed' AS what, {_SELECT} FROM router.clock
         WHERE state = 'running' AND missed_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2)
        UNION ALL
        (SELECT conversation_id, 'near' AS what, {_SELECT} FROM router.clock
         WHERE state = 'running' AND near_at IS NULL AND missed_at IS NULL AND warn_at <= $1 AND due_at > $1
         ORDER BY warn_at LIMIT $2)
        """,
        tx.now,
        limit,
    )
    return [Passing(r["conversation_id"], r["what"], Clock(**{name: r[name] for name in NAMES})) for r in rows]


async def still_passing(tx: Transaction, found: Sequence[Passing]) -> list[Passing]:
    """Those that still run and that nobody told meanwhile, looked at under the locks of their conversations."""
    rows = await tx.fetch(
        "SELECT id, near_at, missed_at FROM router.clock WHERE id = ANY ($1::uuid[]) AND state = 'running'",
        [passed.clock.id for passed in found],
    )
    untold = {(row["id"], "missed") for row in rows if row["missed_at"] is None}
    untold |= {(row["id"], "near") for row in rows if row["missed_at"] is None and row["near_at"] is None}
    return [passed for passed in found if (passed.clock.id, passed.what) in untold]


async def steps_due(tx: Transaction, limit: int) -> list[UUID]:
    """Waiting conversations whose plan's next step is reached."""
    rows = await tx.fetch(
        "SELECT id FROM router.conversation WHERE next_step_at IS NOT NULL AND next_step_at <= $1 "
        "ORDER BY next_step_at LIMIT $2",
        tx.now,
        limit,
    )
    return [row["id"] for row in rows]


async def offers_lapsed(tx: Transaction, limit: int) -> list[UUID]:
    rows = await tx.fetch(
        "SELECT conversation_id FROM router.assignment WHERE state = 'offered' AND lapses_at <= $1 "
        "ORDER BY lapses_at LIMIT $2",
        tx.now,
        limit,
    )
    return [row["conversation_id"] for row in rows]


async def abandoned(tx: Transaction, limit: int) -> list[UUID]:
    """Offered or unanswered conversations of agents whose presence ran out."""
    rows = await tx.fetch(
        """
        SELECT a.conversation_id FROM router.assignment AS a
        JOIN router.conversation AS c ON c.id = a.conversation_id
        LEFT JOIN router.presence AS p ON p.agent_id = a.agent_id
        WHERE a.state <> 'ended' AND (a.state = 'offered' OR c.unanswered_since IS NOT NULL)
          AND (p.agent_id IS NULL OR p.until <= $1)
        ORDER BY a.conversation_id LIMIT $2
        """,
        tx.now,
        limit,
    )
    return [row["conversation_id"] for row in rows]


async def stalled(tx: Transaction) -> list[asyncpg.Record]:
    """Conversations none of whose pools has anybody there, by the pool of their first step."""
    return await tx.fetch(
        """
        SELECT pool_id, count(*)::int AS waiting, min(queued_at) AS oldest_at FROM router.queue AS q
        WHERE NOT EXISTS (
            SELECT FROM router.queue AS o
            JOIN config.pool_member AS m ON m.pool_id = o.pool_id
            JOIN router.presence AS p ON p.agent_id = m.agent_id AND p.status = 'available' AND p.until > $1
            WHERE o.conversation_id = q.conversation_id)
        GROUP BY pool_id
        """,
        tx.now,
    )
