"""What people did beside the histories of conversations: forced states, replays, sign-ins, keys."""

from typing import Any
from uuid import UUID

from shared.db.transaction import Transaction
from shared.ids import derived_id, new_id


async def note(tx: Transaction, brand_id: UUID | None, actor: str, action: str, data: dict[str, Any]) -> None:
    """Who did what; `data` names things by their ids and never quotes a customer."""
    await tx.execute(
        "INSERT INTO router.audit (id, brand_id, at, actor, action, data) VALUES ($1, $2, $3, $4, $5, $6)",
        new_id(), brand_id, tx.now, actor, action, data,
    )  # fmt: skip


async def note_once(tx: Transaction, what: str, actor: str, action: str, data: dict[str, Any]) -> None:
    """The same of something of no brand that several processes may see; `what` tells it apart from others like it."""
    await tx.execute(
        "INSERT INTO router.audit (id, brand_id, at, actor, action, data) VALUES ($1, NULL, $2, $3, $4, $5) "
        "ON CONFLICT (id) DO NOTHING",
        derived_id("audit", action, what), tx.now, actor, action, data,
    )  # fmt: skip
