"""What people did beside the histories of conversations: forced states, replays."""

from typing import Any
from uuid import UUID

from shared.db.transaction import Transaction
from shared.ids import new_id


async def note(tx: Transaction, brand_id: UUID | None, actor: str, action: str, data: dict[str, Any]) -> None:
    """Who did what; `data` names things by their ids and never quotes a customer."""
    await tx.execute(
        "INSERT INTO router.audit (id, brand_id, at, actor, action, data) VALUES ($1, $2, $3, $4, $5, $6)",
        new_id(), brand_id, tx.now, actor, action, data,
    )  # fmt: skip
