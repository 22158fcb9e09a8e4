"""Who does not want messages from an inbox: the newest word of each address there."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from shared.db.transaction import Transaction


@dataclass(frozen=True, slots=True)
class Word:
    """What a person said of messages from an inbox, and when."""

    brand_id: UUID
    inbox_id: UUID
    kind: str
    value: str
    marketing_only: bool
    opted_out: bool
    at: datetime

    @property
    def place(self) -> tuple[UUID, str, str, bool]:
        return self.inbox_id, self.kind, self.value, self.marketing_only


async def save(tx: Transaction, words: Sequence[Word]) -> None:
    """Keeps the newest word, whatever the order of arrival; of two at the same instant the no."""
    rows = sorted(words, key=lambda word: word.place)
    if not rows:
        return
    await tx.execute(
        """
        INSERT INTO router.opt_out AS o (inbox_id, kind, value, marketing_only, brand_id, opted_out, at)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::boolean[], $5::uuid[], $6::boolean[],
                             $7::timestamptz[])
        ON CONFLICT (inbox_id, kind, value, marketing_only) DO UPDATE
        SET opted_out = excluded.opted_out, at = excluded.at
        WHERE (excluded.at, excluded.opted_out) > (o.at, o.opted_out)
        """,
        [word.inbox_id for word in rows],
        [word.kind for word in rows],
        [word.value for word in rows],
        [word.marketing_only for word in rows],
        [word.brand_id for word in rows],
        [word.opted_out for word in rows],
        [word.at for word in rows],
    )


async def queued_replies(tx: Transaction, words: Sequence[Word]) -> list[asyncpg.Record]:
    """Reply, conversation, brand and inbox of what waits to be sent to whoever said no just now, marketing aside."""
    if not words:
        return []
    return await tx.fetch(
        """
        SELECT m.id, m.conversation_id, c.brand_id, c.inbox_id
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS w (inbox_id, kind, value, at)
        JOIN router.opt_out AS o USING (inbox_id, kind, value, at)
        JOIN router.identity AS i ON i.brand_id = o.brand_id AND i.kind = o.kind AND i.value = o.value
        JOIN router.conversation AS c ON c.inbox_id = o.inbox_id AND c.customer_id = i.customer_id
        JOIN router.message AS m ON m.conversation_id = c.id AND m.kind = 'reply' AND m.state = 'queued'
        WHERE o.opted_out AND NOT o.marketing_only ORDER BY m.id
        """,
        [word.inbox_id for word in words],
        [word.kind for word in words],
        [word.value for word in words],
        [word.at for word in words],
    )


async def opted_out_at(tx: Transaction, conversation_id: UUID) -> datetime | None:
    """Since when whoever a reply would go to wants none; None where they may be written to.

    That is whoever wrote last, else whoever the conversation was opened for.
    """
    at: datetime | None = await tx.fetchval(
        """
        SELECT o.at FROM router.conversation AS c
        LEFT JOIN LATERAL (
            SELECT (h.data->>'customer_id')::uuid AS customer_id FROM router.history AS h
            WHERE h.conversation_id = c.id AND h.kind = 'message_received' AND h.data ? 'customer_id'
              AND NOT coalesce((h.data->>'late')::boolean, false)
            ORDER BY h.n DESC LIMIT 1
        ) AS w ON true
        -- Not by coalesce: where row-level security holds, no index takes part then.
        JOIN router.identity AS i ON i.brand_id = c.brand_id
         AND i.customer_id = CASE WHEN w.customer_id IS NULL THEN c.customer_id ELSE w.customer_id END
        JOIN router.opt_out AS o ON o.inbox_id = c.inbox_id AND o.kind = i.kind AND o.value = i.value
        WHERE c.id = $1 AND o.opted_out AND NOT o.marketing_only
        """,
        conversation_id,
    )
    return at
