"""Reading for people's screens; row-level security shows each caller their brands."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from services.router.domain.clocks import Clock
from services.router.store.clocks import NAMES
from shared.db.transaction import Transaction

# Where what has no deadline stands among what has one; drivers do not agree on what an infinite instant is.
NEVER = datetime(9000, 1, 1, tzinfo=UTC)
OFFERED_UNTIL = (
    "(SELECT a.lapses_at FROM router.assignment AS a WHERE a.conversation_id = c.id AND a.state = 'offered') "
    "AS offered_until"
)


def survivor(customer: str) -> str:
    """Whoever this customer is one with. Not by coalesce: where row-level security holds, no index takes part then."""
    return f"CASE WHEN {customer}.survivor_id IS NULL THEN {customer}.id ELSE {customer}.survivor_id END"


# With `k` a customer: `n.name` is that of whoever was named first of those who are one with them.
NAMED = f"""
    LEFT JOIN LATERAL (
        SELECT g.name FROM router.customer AS g
        WHERE (g.id = {survivor("k")} OR g.survivor_id = {survivor("k")}) AND g.name <> ''
        ORDER BY g.survivor_id NULLS FIRST, g.id LIMIT 1
    ) AS n ON true
"""


async def conversation_list(
    tx: Transaction, *, brands: Iterable[UUID], state: str | None, agent_id: UUID | None, language: str | None,
    after: tuple[datetime, UUID] | None, limit: int,
) -> list[dict[str, Any]]:  # fmt: skip
    """The most urgent first, those without a deadline last; `after` is the last row of the page before.

    A page's rows of each brand are read in order from the index of the filters that are given, then the first of all.
    """
    # A key may name a brand twice.
    args: list[Any] = [list(set(brands)), limit, NEVER]
    # Columns of `w` rather than parameters: how common a value is must not talk the planner into another index.
    wanted = {"brand_id": "unnest($1::uuid[])"}
    for column, kind, value in (
        ("agent_id", "uuid", agent_id), ("state", "text", state), ("language", "text", language),
    ):  # fmt: skip
        if value is not None:
            args.append(value)
            wanted[column] = f"${len(args)}::{kind}"
    if after is None:
        stretches = ["true"]
    elif after[0] == NEVER:
        args.append(after[1])
        stretches = [f"c.due_at IS NULL AND c.id > ${len(args)}"]
    else:
        args += after
        # Asked for as one, "later or never" would be read from the index's beginning.
        stretches = [f"(c.due_at, c.id) > (${len(args) - 1}, ${len(args)})", "c.due_at IS NULL"]
    found = " UNION ALL ".join(
        f"(SELECT * FROM router.conversation AS c WHERE {' AND '.join(f'c.{n} = w.{n}' for n in wanted)} "
        f"AND {stretch} ORDER BY c.due_at, c.id LIMIT $2)"
        for stretch in stretches
    )
    rows = await tx.fetch(
        f"""
        SELECT c.*, coalesce(n.name, '') AS customer_name, coalesce(c.due_at, $3) AS sort, {OFFERED_UNTIL}
        FROM (
            SELECT f.* FROM (SELECT {", ".join(f"{value} AS {n}" for n, value in wanted.items())}) AS w
            CROSS JOIN LATERAL ({found}) AS f
            ORDER BY f.due_at, f.id LIMIT $2
        ) AS c
        JOIN router.customer AS k ON k.id = c.customer_id {NAMED}
        ORDER BY c.due_at, c.id
        """,
        *args,
    )
    return [dict(row) for row in rows]


async def conversation(tx: Transaction, conversation_id: UUID) -> dict[str, Any] | None:
    """Its columns and the customer's name."""
    row = await tx.fetchrow(
        f"SELECT c.*, coalesce(n.name, '') AS customer_name, {OFFERED_UNTIL} FROM router.conversation AS c "
        f"JOIN router.customer AS k ON k.id = c.customer_id {NAMED} WHERE c.id = $1",
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


async def group_of(tx: Transaction, customer_id: UUID) -> list[UUID]:
    """Everybody who is one with the customer, the survivor first; nobody where there is no such customer."""
    rows = await tx.fetch(
        f"""
        SELECT g.id FROM router.customer AS c
        CROSS JOIN LATERAL (SELECT {survivor("c")} AS id) AS s
        JOIN router.customer AS g ON g.id = s.id OR g.survivor_id = s.id
        WHERE c.id = $1 ORDER BY g.survivor_id NULLS FIRST, g.id
        """,
        customer_id,
    )
    return [row["id"] for row in rows]


async def timeline(
    tx: Transaction, group: Sequence[UUID], after: tuple[datetime, datetime, UUID] | None, limit: int
) -> list[dict[str, Any]]:
    """Everything with these customers over all inboxes, newest first in the vendor's order."""
    rows = await tx.fetch(
        f"""
        SELECT m.*, c.channel, c.inbox_id FROM router.conversation AS c
        CROSS JOIN LATERAL (
            SELECT {MESSAGE} FROM router.message AS m
            WHERE m.conversation_id = c.id
              AND ($2::timestamptz IS NULL OR (m.occurred_at, m.received_at, m.id) < ($2, $3, $4))
            ORDER BY m.occurred_at DESC, m.received_at DESC, m.id DESC LIMIT $5
        ) AS m
        WHERE c.customer_id = ANY ($1::uuid[])
        ORDER BY m.occurred_at DESC, m.received_at DESC, m.id DESC LIMIT $5
        """,
        list(group),
        *(after or (None, None, None)),
        limit,
    )
    return [dict(row) for row in rows]


async def customer(tx: Transaction, group: Sequence[UUID]) -> dict[str, Any]:
    """The survivor of a group, the languages of all, and every address with the customer whom it brought."""
    rows = await tx.fetch(
        "SELECT id, brand_id, name, country, languages FROM router.customer WHERE id = ANY ($1::uuid[]) "
        "ORDER BY survivor_id NULLS FIRST, id",
        list(group),
    )
    languages: Counter[str] = Counter()
    for row in rows:
        languages.update(row["languages"])
    addresses = await tx.fetch(
        "SELECT kind, value, name, verified_by, customer_id FROM router.identity "
        "WHERE customer_id = ANY ($1::uuid[]) ORDER BY id",
        list(group),
    )
    return {
        "id": rows[0]["id"],
        "brand_id": rows[0]["brand_id"],
        "name": next((row["name"] for row in rows if row["name"]), ""),
        "country": next((row["country"] for row in rows if row["country"]), None),
        "languages": dict(languages),
        "addresses": [dict(row) for row in addresses],
    }


async def customer_names(tx: Transaction, ids: Sequence[UUID]) -> dict[UUID, str]:
    """Of these survivors."""
    rows = await tx.fetch(
        f"SELECT k.id, coalesce(n.name, '') AS name FROM router.customer AS k {NAMED} WHERE k.id = ANY ($1::uuid[])",
        list(ids),
    )
    return {row["id"]: row["name"] for row in rows}


async def customer_audit(
    tx: Transaction, group: Sequence[UUID], after: tuple[datetime, UUID] | None, limit: int
) -> list[dict[str, Any]]:
    """Who merged, split or kept apart these customers, newest first."""
    rows = await tx.fetch(
        """
        SELECT id, at, actor, action, data FROM router.audit
        WHERE data ? 'customers' AND data -> 'customers' ?| $1::text[]
          AND ($2::timestamptz IS NULL OR (at, id) < ($2, $3))
        ORDER BY at DESC, id DESC LIMIT $4
        """,
        [str(id_) for id_ in group],
        *(after or (None, None)),
        limit,
    )
    return [dict(row) for row in rows]


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
