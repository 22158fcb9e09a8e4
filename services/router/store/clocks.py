"""What time brings: clocks that near their end, steps, lapsed offers, agents who vanished."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction


async def passing(tx: Transaction, limit: int) -> list[asyncpg.Record]:
    """Running clocks whose warning or end has come and was not told yet: conversation, id, what, due_at, target."""
    return await tx.fetch(
        """
        (SELECT conversation_id, id, target, due_at, 'missed' AS what FROM router.clock
         WHERE state = 'running' AND missed_at IS NULL AND due_at <= $1 ORDER BY due_at LIMIT $2)
        UNION ALL
        (SELECT conversation_id, id, target, due_at, 'near' AS what FROM router.clock
         WHERE state = 'running' AND near_at IS NULL AND missed_at IS NULL AND warn_at <= $1 AND due_at > $1
         ORDER BY warn_at LIMIT $2)
        """,
        tx.now,
        limit,
    )


async def still_passing(tx: Transaction, clock_ids: Sequence[UUID]) -> set[UUID]:
    """Those of the clocks that still run, looked at under the locks of their conversations."""
    rows = await tx.fetch(
        "SELECT id FROM router.clock WHERE id = ANY ($1::uuid[]) AND state = 'running'", list(clock_ids)
    )
    return {row["id"] for row in rows}


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
          -- On the telephone nobody tells us that they are there; the end of the call does.
          AND NOT EXISTS (SELECT FROM router.callback AS b
                          WHERE b.conversation_id = a.conversation_id AND b.state = 'calling')
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
