"""Reading for people's screens; row-level security shows each caller their brands."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.router.domain.clocks import Clock
from services.router.store.clocks import NAMES
from shared.db.transaction import Transaction

# Where what has no deadline stands among what has one; drivers do not agree on what an infinite instant is.
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


async def conversation_list(
    tx: Transaction, *, state: str | None, agent_id: UUID | None, language: str | None,
    after: tuple[datetime, UUID] | None, limit: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The most urgent first, those without a deadline last; `after` is the last row of the page before."""
    rows = await tx.fetch(
        """
        SELECT c.*, k.name AS customer_name, coalesce(c.due_at, $7) AS sort FROM router.conversation AS c
        JOIN router.customer AS k ON k.id = c.customer_id
        WHERE ($1::text IS NULL OR c.state = $1) AND ($2::uuid IS NULL OR c.agent_id = $2)
          AND ($3::text IS NULL OR c.language = $3)
          AND ($4::timestamptz IS NULL OR (coalesce(c.due_at, $7), c.id) > ($4, $5))
        ORDER BY coalesce(c.due_at, $7), c.id LIMIT $6
        """,
        state,
        agent_id,
        language,
        after[0] if after else None,
        after[1] if after else None,
        limit,
        NEVER,
    )
    return [dict(row) for row in rows]


async def conversation(tx: Transaction, conversation_id: UUID) -> dict[str, Any] | None:
    """Its columns and the customer's name."""
    row = await tx.fetchrow(
        "SELECT c.*, k.name AS customer_name FROM router.conversation AS c "
        "JOIN router.customer AS k ON k.id = c.customer_id WHERE c.id = $1",
        conversation_id,
    )
    return dict(row) if row else None


MESSAGE = (
    "m.id, m.conversation_id, m.kind, m.author_kind, m.author_id, m.text, m.language, m.attachments, m.occurred_at, "
    "m.received_at, m.state, m.state_at, m.reason"
)


async def messages(tx: Transaction, conversation_id: UUID) -> list[dict[str, Any]]:
    """In the vendor's order."""
    rows = await tx.fetch(
        f"SELECT {MESSAGE} FROM router.message AS m WHERE m.conversation_id = $1 "
        "ORDER BY m.occurred_at, m.received_at, m.id",
        conversation_id,
    )
    return [dict(row) for row in rows]


async def timeline(
    tx: Transaction, customer_id: UUID, after: tuple[datetime, UUID] | None, limit: int
) -> list[dict[str, Any]] | None:
    """Everything with this customer over all inboxes, newest first; None where there is no such customer."""
    survivor = await tx.fetchval("SELECT coalesce(survivor_id, id) FROM router.customer WHERE id = $1", customer_id)
    if survivor is None:
        return None
    rows = await tx.fetch(
        f"""
        SELECT {MESSAGE}, c.channel, c.inbox_id FROM router.message AS m
        JOIN router.conversation AS c ON c.id = m.conversation_id
        WHERE c.customer_id IN (SELECT id FROM router.customer WHERE id = $1 OR survivor_id = $1)
          AND ($2::timestamptz IS NULL OR (m.occurred_at, m.id) < ($2, $3))
        ORDER BY m.occurred_at DESC, m.id DESC LIMIT $4
        """,
        survivor,
        after[0] if after else None,
        after[1] if after else None,
        limit,
    )
    return [dict(row) for row in rows]


async def customer(tx: Transaction, customer_id: UUID) -> dict[str, Any] | None:
    row = await tx.fetchrow(
        "SELECT id, brand_id, name, country, languages FROM router.customer WHERE id = $1", customer_id
    )
    if row is None:
        return None
    addresses = await tx.fetch(
        "SELECT kind, value, name, verified_by FROM router.identity WHERE customer_id = $1 ORDER BY id", customer_id
    )
    return dict(row) | {"addresses": [dict(a) for a in addresses]}


async def decisions(tx: Transaction, conversation_id: UUID) -> dict[str, dict[str, Any]]:
    """The newest decision of each kind."""
    rows = await tx.fetch(
        "SELECT DISTINCT ON (kind) kind, n, at, data FROM router.decision WHERE conversation_id = $1 "
        "ORDER BY kind, n DESC",
        conversation_id,
    )
    return {row["kind"]: {"n": row["n"], "at": row["at"], **row["data"]} for row in rows}


async def clocks(tx: Transaction, conversation_id: UUID, limit: int) -> list[Clock]:
    """Those that run, the first due first; then the newest of those that ended."""
    rows = await tx.fetch(
        f"SELECT {', '.join(NAMES)} FROM router.clock WHERE conversation_id = $1 "
        "ORDER BY ended_at DESC NULLS FIRST, due_at, id LIMIT $2",
        conversation_id,
        limit,
    )
    return [Clock(**row) for row in rows]


async def queues(tx: Transaction, pool_ids: Sequence[UUID]) -> dict[UUID, dict[str, Any]]:
    rows = await tx.fetch(
        "SELECT pool_id, count(*)::int AS waiting, min(queued_at) AS oldest_at, min(sort_at) AS first_due_at "
        "FROM router.queue WHERE pool_id = ANY ($1::uuid[]) GROUP BY pool_id",
        list(pool_ids),
    )
    return {row["pool_id"]: dict(row) for row in rows}


async def reply(tx: Transaction, reply_id: UUID) -> dict[str, Any] | None:
    """What decides who may stop or repeat a reply: its conversation, author and state."""
    row = await tx.fetchrow(
        "SELECT id, conversation_id, author_id, state FROM router.message WHERE id = $1 AND kind = 'reply'", reply_id
    )
    return dict(row) if row else None


async def has_reply_on_its_way(tx: Transaction, conversation_id: UUID) -> bool:
    return bool(
        await tx.fetchval(
            "SELECT EXISTS (SELECT FROM router.message WHERE conversation_id = $1 AND kind = 'reply' "
            "AND state = 'queued')",
            conversation_id,
        )
    )


async def api_key(tx: Transaction, digest: bytes) -> dict[str, Any] | None:
    """The key; without its agent where that one is gone."""
    row = await tx.fetchrow(
        "SELECT k.id, k.name, k.role, a.id AS agent_id, k.brands, k.expires_at FROM config.api_key AS k "
        "LEFT JOIN config.agent AS a ON a.id = k.agent_id WHERE k.digest = $1",
        digest,
    )
    return dict(row) if row else None
