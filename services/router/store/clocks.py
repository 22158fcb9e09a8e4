"""Clocks as they are written, and what time brings: deadlines, steps, lapsed offers, agents who vanished."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

import asyncpg

from services.router import metrics
from services.router.domain.clocks import Clock, Ending, ending, fold_clocks
from services.router.domain.conversation import Change, Conversation, DeadlinePassed
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


async def write(tx: Transaction, changes: Sequence[Change]) -> None:
    """New clocks are folded through the rest of their change; older ones are ended or marked in place."""
    fresh: list[tuple[Conversation, Clock]] = []
    ended: list[tuple[Conversation, Ending]] = []
    marks: list[tuple[UUID, str, datetime]] = []
    for change in changes:
        found: dict[UUID, Clock] = {}
        for row in change.entries:
            found = fold_clocks(found, row)
            if (end := ending(row)) is not None:
                ended.append((change.after, end))
            if isinstance(row.entry, DeadlinePassed):
                marks.append((row.entry.clock_id, row.entry.what, row.at))
        fresh += [(change.after, clock) for clock in found.values()]
    if ended:
        await _end(tx, ended)
    if fresh:
        await _insert(tx, fresh)
    if marks:
        await tx.execute(
            """
            UPDATE router.clock AS c
            SET near_at = CASE WHEN r.what = 'near' THEN r.at ELSE c.near_at END,
                missed_at = CASE WHEN r.what = 'missed' THEN r.at ELSE c.missed_at END
            FROM unnest($1::uuid[], $2::text[], $3::timestamptz[]) AS r (id, what, at) WHERE c.id = r.id
            """,
            [id_ for id_, _, _ in marks],
            [what for _, what, _ in marks],
            [at for _, _, at in marks],
        )


async def _end(tx: Transaction, ended: Sequence[tuple[Conversation, Ending]]) -> None:
    """Each clock by the first ending that it has; how late it was is measured once that is committed."""
    rows = await tx.fetch(
        """
        UPDATE router.clock AS c SET state = r.state, ended_at = r.at
        FROM (SELECT DISTINCT ON (k.id) k.id, u.state, u.at
              FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[])
              WITH ORDINALITY AS u (conversation_id, state, at, since, position)
              JOIN router.clock AS k ON k.conversation_id = u.conversation_id AND k.state = 'running'
               AND (u.since IS NULL OR k.started_at <= u.since)
              ORDER BY k.id, u.position) AS r
        WHERE c.id = r.id RETURNING c.conversation_id, c.target, c.state, c.due_at, c.ended_at
        """,
        [c.id for c, _ in ended],
        [end.state for _, end in ended],
        [end.at for _, end in ended],
        [end.since for _, end in ended],
    )
    channels = {c.id: c.channel for c, _ in ended}

    def measure() -> None:
        for row in rows:
            if row["state"] == "met":
                late = max(0.0, (row["ended_at"] - row["due_at"]).total_seconds())
                metrics.LATENESS.labels(channels[row["conversation_id"]], row["target"]).observe(late)

    tx.after_commit(measure)


async def _insert(tx: Transaction, fresh: Sequence[tuple[Conversation, Clock]]) -> None:
    await tx.execute(
        f"""
        INSERT INTO router.clock (conversation_id, brand_id, {_SELECT})
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::timestamptz[], $6::timestamptz[],
            $7::timestamptz[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::text[],
            $13::text[], $14::integer[], $15::uuid[], $16::text[], $17::text[])
        """,
        [c.id for c, _ in fresh],
        [c.brand_id for c, _ in fresh],
        *[[getattr(clock, name) for _, clock in fresh] for name in NAMES],
    )


async def of_conversation(tx: Transaction, conversation_id: UUID) -> dict[UUID, Clock]:
    """As they are stored."""
    rows = await tx.fetch(f"SELECT {_SELECT} FROM router.clock WHERE conversation_id = $1", conversation_id)
    return {row["id"]: Clock(**row) for row in rows}
