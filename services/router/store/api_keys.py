"""Keys of programs, known by their SHA-256 alone."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shared.db.transaction import Transaction

Row = Mapping[str, Any]
SHOWN = "id, name, role, scopes, brands, agent_id, expires_at, created_at, created_by, revoked_at"


async def valid(tx: Transaction, digests: Sequence[bytes]) -> list[Row]:
    """Those of the keys that hold now."""
    rows = await tx.fetch(
        "SELECT id, name, digest, role, agent_id, brands, scopes FROM config.api_key WHERE digest = ANY ($1::bytea[]) "
        "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $2)",
        list(digests),
        tx.now,
    )
    return [dict(row) for row in rows]


async def within(tx: Transaction, brands: Sequence[UUID], key_id: UUID | None = None) -> list[Row]:
    """Every key that is good for none but these brands, or that one of them; never what opens anything."""
    rows = await tx.fetch(
        f"SELECT {SHOWN} FROM config.api_key WHERE brands <@ $1::uuid[] AND ($2::uuid IS NULL OR id = $2) "
        "ORDER BY name, id",
        list(brands),
        key_id,
    )
    return [dict(row) for row in rows]


async def create(tx: Transaction, row: Row) -> None:
    """Keeps a key that the API made."""
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await tx.execute(f"INSERT INTO config.api_key ({', '.join(row)}) VALUES ({places})", *row.values())


async def revoke(tx: Transaction, key_id: UUID) -> datetime:
    """From when on it does not hold; the first time counts."""
    at: datetime = await tx.fetchval(
        "UPDATE config.api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING revoked_at",
        key_id,
        tx.now,
    )
    return at
