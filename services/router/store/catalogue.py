"""The only writes to `config.*`: the whole configuration read at once, and row by row what changes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.accounts import HOOK_TOKEN as HOOK_TOKEN
from shared.db.transaction import Transaction
from shared.ids import new_id

Row = Mapping[str, Any]
TABLES = ("client", "brand", "account", "inbox", "agent", "pool", "plan", "calendar", "policy", "webhook", "api_key")
# Nothing else keeps their ids; pools too, unless a conversation waits in one.
REPLACED = frozenset({"pool", "plan", "calendar", "policy", "api_key"})


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The configuration as it stands; `sealed` newest first."""

    rows: Mapping[str, Mapping[UUID, Row]]
    members: Mapping[UUID, Mapping[UUID, str]]
    sealed: Mapping[UUID, Mapping[str, Sequence[bytes]]]
    pools_in_use: frozenset[UUID]


async def lock(tx: Transaction) -> None:
    """Nobody else applies until this transaction ends."""
    await tx.execute("SELECT n FROM config.revision WHERE id = 1 FOR UPDATE")


async def load(tx: Transaction) -> Catalogue:
    """Everything that a file can want."""
    rows = {
        table: {row["id"]: dict(row) for row in await tx.fetch(f"SELECT * FROM config.{table} ORDER BY id")}
        for table in TABLES
    }
    # Those of the API are no matter of the file's.
    rows["api_key"] = {id_: row for id_, row in rows["api_key"].items() if row["created_by"] is None}
    members: dict[UUID, dict[UUID, str]] = {}
    for row in await tx.fetch("SELECT pool_id, agent_id, level FROM config.pool_member"):
        members.setdefault(row["pool_id"], {})[row["agent_id"]] = row["level"]
    sealed: dict[UUID, dict[str, list[bytes]]] = {}
    for row in await tx.fetch("SELECT account_id, name, sealed FROM config.secret ORDER BY id DESC"):
        sealed.setdefault(row["account_id"], {}).setdefault(row["name"], []).append(row["sealed"])
    in_use = await tx.fetch("SELECT DISTINCT pool_id FROM router.queue")
    return Catalogue(rows, members, sealed, frozenset(row["pool_id"] for row in in_use))


async def insert(tx: Transaction, *, table: str, row: Row) -> None:
    """A new row of one of TABLES."""
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    await tx.execute(f"INSERT INTO config.{table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def update(tx: Transaction, *, table: str, row: Row) -> None:
    """The row of this id as it is wanted."""
    values = {column: value for column, value in row.items() if column != "id"}
    settings = ", ".join(f"{column} = ${n}" for n, column in enumerate(values, start=2))
    await tx.execute(f"UPDATE config.{table} SET {settings} WHERE id = $1", row["id"], *values.values())


async def remove(tx: Transaction, *, table: str, row_id: UUID) -> None:
    """The row, and a pool's members with it."""
    if table == "pool":
        await tx.execute("DELETE FROM config.pool_member WHERE pool_id = $1", row_id)
    await tx.execute(f"DELETE FROM config.{table} WHERE id = $1", row_id)


async def replace_members(tx: Transaction, *, pool_id: UUID, members: Mapping[UUID, str]) -> None:
    """The pool has these members and no others."""
    await tx.execute("DELETE FROM config.pool_member WHERE pool_id = $1", pool_id)
    await tx.execute(
        "INSERT INTO config.pool_member (pool_id, agent_id, level) "
        "SELECT $1, agent_id, level FROM unnest($2::uuid[], $3::text[]) AS m (agent_id, level)",
        pool_id,
        list(members),
        list(members.values()),
    )


async def replace_secret(tx: Transaction, *, account_id: UUID, name: str, sealed: Sequence[bytes]) -> None:
    """The secret has these values, newest first, and no others."""
    await tx.execute("DELETE FROM config.secret WHERE account_id = $1 AND name = $2", account_id, name)
    ids = sorted((new_id() for _ in sealed), reverse=True)
    await tx.execute(
        "INSERT INTO config.secret (id, account_id, name, sealed) "
        "SELECT id, $1, $2, sealed FROM unnest($3::uuid[], $4::bytea[]) AS s (id, sealed)",
        account_id,
        name,
        ids,
        list(sealed),
    )


async def revise(tx: Transaction, actor: str, lines: Sequence[str]) -> None:
    """Every cache reads again, and the audit says who changed what."""
    await tx.execute("UPDATE config.revision SET n = n + 1 WHERE id = 1")
    await tx.execute(
        "INSERT INTO router.audit (id, brand_id, at, actor, action, data) "
        "VALUES ($1, NULL, $2, $3, 'configuration.applied', $4)",
        new_id(),
        tx.now,
        actor,
        {"changes": list(lines)},
    )
