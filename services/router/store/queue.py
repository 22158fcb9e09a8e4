"""The queues: one row per waiting conversation and pool that it may now go to."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from shared.db.transaction import Transaction


async def win_the_round(tx: Transaction) -> bool:
    """Whether this transaction may dispatch: one round at a time per database."""
    return bool(await tx.fetchval("SELECT pg_try_advisory_xact_lock(7236042)"))


async def most_urgent(tx: Transaction, per_pool: Mapping[UUID, int]) -> list[UUID]:
    """The conversations that stand first in each pool's queue, so many of each."""
    rows = await tx.fetch(
        """
        SELECT DISTINCT q.conversation_id FROM unnest($1::uuid[], $2::integer[]) AS p (pool_id, most)
        CROSS JOIN LATERAL (
            SELECT conversation_id FROM router.queue AS w WHERE w.pool_id = p.pool_id
            ORDER BY w.sort_at, w.queued_at, w.conversation_id LIMIT p.most
        ) AS q
        """,
        list(per_pool),
        list(per_pool.values()),
    )
    return [row["conversation_id"] for row in rows]


async def last_agents(tx: Transaction, conversation_ids: Sequence[UUID]) -> dict[UUID, tuple[UUID, datetime]]:
    """By conversation, who held one of the customer's last and since when: over everybody who is one with them."""
    rows = await tx.fetch(
        """
        WITH waiting AS (
            SELECT w.id, coalesce(k.survivor_id, k.id) AS survivor_id FROM router.conversation AS w
            JOIN router.customer AS k ON k.id = w.customer_id WHERE w.id = ANY ($1::uuid[])
        ), last AS MATERIALIZED (
            -- Once a customer: a firm may have thousands of conversations, and many of them wait.
            SELECT s.survivor_id, l.* FROM (SELECT DISTINCT survivor_id FROM waiting) AS s
            CROSS JOIN LATERAL (
                SELECT c.last_agent_id, c.last_agent_at FROM router.customer AS g
                JOIN router.conversation AS c ON c.brand_id = g.brand_id AND c.customer_id = g.id
                WHERE (g.id = s.survivor_id OR g.survivor_id = s.survivor_id) AND c.last_agent_at IS NOT NULL
                ORDER BY c.last_agent_at DESC, c.id DESC LIMIT 1
            ) AS l
        )
        SELECT waiting.id, last.last_agent_id, last.last_agent_at FROM waiting JOIN last USING (survivor_id)
        """,
        list(conversation_ids),
    )
    return {row["id"]: (row["last_agent_id"], row["last_agent_at"]) for row in rows}


async def standings(tx: Transaction, conversation_ids: Sequence[UUID]) -> dict[UUID, list[tuple[UUID, int]]]:
    """The (pool, step) of each conversation's rows."""
    rows = await tx.fetch(
        "SELECT conversation_id, pool_id, step FROM router.queue WHERE conversation_id = ANY ($1::uuid[])",
        list(conversation_ids),
    )
    found: dict[UUID, list[tuple[UUID, int]]] = {}
    for row in rows:
        found.setdefault(row["conversation_id"], []).append((row["pool_id"], row["step"]))
    return found
