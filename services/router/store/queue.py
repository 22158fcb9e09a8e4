"""The queues: one row per waiting conversation and pool that it may now go to."""

from collections.abc import Mapping, Sequence
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
