"""The changes of conversations in the order of their commits, read from the outbox's `routing` rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec

from shared.db.transaction import Database, Transaction
from shared.events import ConversationEvent

# One at a time numbers; whoever comes meanwhile need not wait, for the other does it.
NUMBERING = 7_236_043
CHUNK = 1000
_decode = msgspec.json.Decoder(ConversationEvent).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeRow:
    """`kind` is what became of the conversation (`queued`, `assigned`, ...), `n` its version after it."""

    seq: int
    kind: str
    brand_id: UUID
    conversation_id: UUID
    n: int
    at: datetime
    agent_id: UUID | None
    language: str | None


async def wait(database: Database, seq: int) -> bool:
    """Whether anything has no `seq` yet, or one beyond this one."""
    (row,) = await database.look(
        "SELECT EXISTS (SELECT FROM bus.outbox WHERE topic = 'routing' AND seq IS NULL) "
        "OR (SELECT is_called AND last_value > $1 FROM bus.change_seq) AS found",
        seq,
    )
    return bool(row["found"])


async def number(tx: Transaction) -> bool:
    """Gives what was committed since the last time its `seq`; whether there may be more.

    The lock is held until this transaction's own commit, so nobody ever sees a `seq` whose predecessors come later.
    """
    if not await tx.fetchval("SELECT pg_try_advisory_xact_lock($1)", NUMBERING):
        return False
    rows = await tx.fetch(
        "SELECT id FROM bus.outbox WHERE topic = 'routing' AND seq IS NULL ORDER BY id LIMIT $1", CHUNK
    )
    if not rows:
        return False
    # By hand, for nextval would be called in whatever order the update finds its rows.
    last = await tx.fetchval(
        "SELECT setval('bus.change_seq', CASE WHEN is_called THEN last_value ELSE 0 END + $1) FROM bus.change_seq",
        len(rows),
    )
    await tx.execute(
        "UPDATE bus.outbox AS o SET seq = $2 + r.place FROM unnest($1::bigint[]) WITH ORDINALITY AS r (id, place) "
        "WHERE o.id = r.id",
        [row["id"] for row in rows],
        last - len(rows),
    )
    return len(rows) == CHUNK


async def bounds(tx: Transaction) -> tuple[int, int]:
    """The oldest `seq` that can be asked for (what came after it is still here), and the newest."""
    row = await tx.fetchrow(
        "SELECT (SELECT min(seq) - 1 FROM bus.outbox WHERE seq IS NOT NULL) AS oldest, "
        "CASE WHEN is_called THEN last_value ELSE 0 END AS newest FROM bus.change_seq"
    )
    assert row is not None
    newest: int = row["newest"]
    return (newest if row["oldest"] is None else row["oldest"]), newest


async def since(
    tx: Transaction, seq: int, limit: int, brands: Sequence[UUID] | None = None, agent_id: UUID | None = None
) -> list[ChangeRow]:
    """What came after `seq`, in order: of all brands where none are named, of one agent where one is."""
    rows = await tx.fetch(
        """
        SELECT seq, headers->>'ce_type' AS type, brand_id, value FROM bus.outbox
        WHERE seq > $1 AND ($3::uuid[] IS NULL OR brand_id = ANY ($3::uuid[]))
          AND ($4::text IS NULL OR convert_from(value, 'UTF8')::jsonb->>'agent_id' = $4)
        ORDER BY seq LIMIT $2
        """,
        seq,
        limit,
        None if brands is None else list(brands),
        None if agent_id is None else str(agent_id),
    )
    return [_change(row["seq"], row["type"], row["brand_id"], _decode(row["value"])) for row in rows]


def _change(seq: int, type_: str, brand_id: UUID, event: ConversationEvent) -> ChangeRow:
    return ChangeRow(
        seq=seq,
        kind=type_.split(".")[2],
        brand_id=brand_id,
        conversation_id=event.conversation_id,
        n=event.n,
        at=event.at,
        agent_id=event.agent_id,
        language=event.language,
    )
