"""Agents on the floor: presence as a lease, and their load, derived under the lock of the presence row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from shared.db.transaction import Transaction

PRESENCE_LEASE = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Presence:
    """`available` takes new work until `until`; `away` does not."""

    agent_id: UUID
    status: str
    until: datetime
    idle_since: datetime
    lapses: int

    def is_there(self, now: datetime) -> bool:
        return self.status == "available" and self.until > now


async def set_presence(tx: Transaction, agent_id: UUID, status: str) -> Presence:
    """Renews the lease; coming back starts the idle time and forgets lapsed offers."""
    row = await tx.fetchrow(
        """
        INSERT INTO router.presence AS p (agent_id, status, until, idle_since, lapses) VALUES ($1, $2, $3, $4, 0)
        ON CONFLICT (agent_id) DO UPDATE SET
            status = excluded.status, until = excluded.until,
            idle_since = CASE WHEN p.status = excluded.status AND p.until > $4 THEN p.idle_since ELSE $4 END,
            lapses = CASE WHEN p.status = excluded.status AND p.until > $4 THEN p.lapses ELSE 0 END
        RETURNING agent_id, status, until, idle_since, lapses
        """,
        agent_id,
        status,
        tx.now + PRESENCE_LEASE,
        tx.now,
    )
    assert row is not None
    return Presence(**row)


async def keep_present(tx: Transaction, agent_ids: Sequence[UUID]) -> None:
    """Renews the leases that have not run out; who is away stays away."""
    await tx.execute(
        """
        WITH mine AS (
            SELECT agent_id FROM router.presence WHERE agent_id = ANY ($1::uuid[]) AND until > $2
            ORDER BY agent_id FOR NO KEY UPDATE
        )
        UPDATE router.presence AS p SET until = $3 FROM mine WHERE p.agent_id = mine.agent_id
        """,
        list(agent_ids),
        tx.now,
        tx.now + PRESENCE_LEASE,
    )


async def presences(tx: Transaction, agent_ids: Sequence[UUID] | None = None) -> dict[UUID, Presence]:
    """Without a lock, for looking; of all agents where none are named."""
    rows = await tx.fetch(
        "SELECT agent_id, status, until, idle_since, lapses FROM router.presence "
        "WHERE $1::uuid[] IS NULL OR agent_id = ANY ($1::uuid[])",
        agent_ids,
    )
    return {row["agent_id"]: Presence(**row) for row in rows}


async def available(tx: Transaction) -> list[UUID]:
    """Who is there, without a lock."""
    rows = await tx.fetch(
        "SELECT agent_id FROM router.presence WHERE status = 'available' AND until > $1 ORDER BY agent_id", tx.now
    )
    return [row["agent_id"] for row in rows]


async def loads(tx: Transaction, agent_ids: Sequence[UUID]) -> dict[UUID, int]:
    """The units that each agent's open assignments and offers take, in all brands whoever asks."""
    rows = await tx.fetch("SELECT agent_id, load FROM router.loads($1::uuid[])", list(agent_ids))
    return dict.fromkeys(agent_ids, 0) | {row["agent_id"]: row["load"] for row in rows}


async def lock_with_loads(tx: Transaction, agent_ids: Sequence[UUID]) -> dict[UUID, tuple[Presence, int]]:
    """Presence and load under lock.

    Two statements: a sum in the locking statement would see the snapshot from before it waited for the lock.
    """
    rows = await tx.fetch(
        "SELECT agent_id, status, until, idle_since, lapses FROM router.presence "
        "WHERE agent_id = ANY ($1::uuid[]) ORDER BY agent_id FOR NO KEY UPDATE",
        sorted(agent_ids),
    )
    load = await loads(tx, [row["agent_id"] for row in rows])
    return {row["agent_id"]: (Presence(**row), load[row["agent_id"]]) for row in rows}


async def busy(tx: Transaction, agent_ids: Sequence[UUID]) -> None:
    """Their idle time begins anew: they were just given something."""
    await tx.execute(
        "UPDATE router.presence SET idle_since = $2 WHERE agent_id = ANY ($1::uuid[])", sorted(agent_ids), tx.now
    )


async def count_lapse(tx: Transaction, agent_ids: Sequence[UUID], away_after: int) -> list[UUID]:
    """One more lapsed offer for each; whoever let `away_after` lapse in a row is set away. Those are returned."""
    rows = await tx.fetch(
        """
        UPDATE router.presence SET lapses = lapses + 1,
               status = CASE WHEN lapses + 1 >= $2 THEN 'away' ELSE status END
        WHERE agent_id = ANY ($1::uuid[]) RETURNING agent_id, status
        """,
        sorted(agent_ids),
        away_after,
    )
    return [row["agent_id"] for row in rows if row["status"] == "away"]
