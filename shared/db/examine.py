"""Whether the database is as this build needs it: there, with its tables, roles, grants and walls, and at our time."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime, timedelta
from functools import partial

import asyncpg
from sqlalchemy.exc import SQLAlchemyError

from shared.checks import Check, Finding, Line, answered, answered_in_turn, warning, well, wrong
from shared.clock import utc_now
from shared.db.grants import API, ROLES, WRITE, granted
from shared.db.migrate import current, is_later
from shared.db.tables import metadata
from shared.db.transaction import Database
from shared.errors import Unavailable

TESTED_VERSION = 18
# Receivers of signed requests allow minutes at most; below a second nothing notices.
UNNOTICED, TOLERATED = timedelta(seconds=1), timedelta(seconds=10)
MIGRATE = "run `dragoman migrate` of this build, before its services"
# So many of the things that are wrong are named.
NAMED = 4


async def examine(database: Database, url: str, *, now: Callable[[], datetime] = utc_now) -> list[Line]:
    """Opens the database and asks it; where it does not open, that is all. `now` is this machine's clock."""
    opened = await answered(Check("database", partial(_opens, database)))
    if opened.finding.verdict == "wrong":
        return [opened]
    looks: dict[str, Callable[[], Awaitable[Finding]]] = {
        "database: migrations": partial(_migrated, url),
        "database: roles": partial(_roles, database),
        "database: grants": partial(_grants, database),
        "database: row-level security": partial(_walls, database),
        "database: clock": partial(_clock, database, now),
    }
    return [opened, *await answered_in_turn(Check(name, look) for name, look in looks.items())]


def is_usable(lines: Sequence[Line]) -> bool:
    """Whether it answers and has the tables that this build reads."""
    needed = ("database", "database: migrations")
    return all(line.finding.verdict != "wrong" for line in lines if line.check in needed)


async def _opens(database: Database) -> Finding:
    try:
        await database.open()
        async with database.transaction() as tx:
            version = await tx.fetchval("SELECT current_setting('server_version_num')::int / 10000")
    except (Unavailable, asyncpg.PostgresError, ValueError) as error:
        name = type(error.__cause__ or error).__name__
        return wrong(f"it cannot be used: {name}", "start it, or mend DRAGOMAN_DATABASE_URL")
    if version < TESTED_VERSION:
        return warning(f"PostgreSQL {version}", f"use {TESTED_VERSION} or newer: older ones are not tested")
    return well(f"PostgreSQL {version}")


async def _migrated(url: str) -> Finding:
    try:
        found, wanted = await current(url)
    except (SQLAlchemyError, OSError) as error:
        return wrong(f"its revision cannot be read: {type(error).__name__}", MIGRATE)
    if is_later(found):
        return warning(f"the database is at {found}, a later build's; this one needs {wanted}", "use that build")
    if found != wanted:
        return wrong(f"the database is at {found or 'nothing'}, this build needs {wanted}", MIGRATE)
    return well(f"at {found}")


async def _roles(database: Database) -> Finding:
    async with database.transaction() as tx:
        rows = await tx.fetch(
            "SELECT rolname, rolsuper OR rolbypassrls AS passes_walls, pg_has_role(oid, 'MEMBER') AS is_ours "
            "FROM pg_roles WHERE rolname = ANY ($1)",
            ROLES,
        )
    known = {row["rolname"]: row for row in rows}
    if missing := [role for role in ROLES if role not in known]:
        return wrong(f"there is no role {_some(missing)}", MIGRATE)
    if foreign := [role for role in ROLES if not known[role]["is_ours"]]:
        return wrong(f"the user of DRAGOMAN_DATABASE_URL may not act as {_some(foreign)}", "GRANT it these roles")
    if known[API]["passes_walls"]:
        return wrong(f"{API} passes over row-level security", f"ALTER ROLE {API} NOSUPERUSER NOBYPASSRLS")
    return well(f"{len(ROLES)} roles")


async def _grants(database: Database) -> Finding:
    """Both ways: what a service lacks stops it, what it has too much of takes the wall between services down."""
    tables = sorted(f"{table.schema}.{table.name}" for table in metadata.tables.values())
    async with database.transaction() as tx:
        rows = await tx.fetch(
            """
            SELECT r.rolname AS role, n.nspname || '.' || c.relname AS table,
                   ARRAY (SELECT p FROM unnest($3::text[]) AS p WHERE has_table_privilege(r.oid, c.oid, p)) AS found,
                   has_schema_privilege(r.oid, n.oid, 'USAGE') AS reaches
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace CROSS JOIN pg_roles AS r
            WHERE r.rolname = ANY ($1) AND n.nspname || '.' || c.relname = ANY ($2) ORDER BY 1, 2
            """,
            ROLES, tables, sorted(WRITE),
        )  # fmt: skip
    if absent := sorted(set(tables) - {row["table"] for row in rows}):
        return wrong(f"there is no table {_some(absent)}", MIGRATE)
    lacking, beyond = [], []
    for row in rows:
        wanted, found = granted(row["role"], row["table"]), set(row["found"])
        lacking += [f"{p} ON {row['table']} TO {row['role']}" for p in sorted(wanted - found)]
        beyond += [f"{p} ON {row['table']} FROM {row['role']}" for p in sorted(found - wanted)]
        if wanted and not row["reaches"]:
            lacking.append(f"USAGE ON SCHEMA {row['table'].partition('.')[0]} TO {row['role']}")
    if lacking:
        return wrong(f"{len(set(lacking))} grants are missing", f"GRANT {_some(lacking)}")
    if beyond:
        return wrong(f"{len(beyond)} grants are too many", f"REVOKE {_some(beyond)}")
    return well(f"those of {len(tables)} tables")


async def _walls(database: Database) -> Finding:
    """Of every table that belongs to brands and that the API's role may read."""
    walled = [t.name for t in metadata.tables.values() if t.schema == "router" and "brand_id" in t.columns]
    walled = [name for name in walled if granted(API, f"router.{name}")]
    async with database.transaction() as tx:
        rows = await tx.fetch(
            """
            SELECT c.relname AS table, c.relrowsecurity AS is_on,
                   ARRAY (SELECT coalesce(pg_get_expr(p.polqual, p.polrelid), '') FROM pg_policy AS p
                          WHERE p.polrelid = c.oid AND p.polpermissive
                            AND p.polroles && ARRAY [0, (SELECT oid FROM pg_roles WHERE rolname = $2)]) AS rules
            FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE n.nspname = 'router' AND c.relname = ANY ($1) ORDER BY 1
            """,
            walled, API,
        )  # fmt: skip
    if open_ := [*_without_a_wall(rows)]:
        to_do = "ALTER TABLE … ENABLE ROW LEVEL SECURITY, with the policy `brands` alone for dragoman_api"
        return wrong(f"the API's role sees every brand in {_some(open_)}", to_do)
    return well(f"on for {len(walled)} tables")


def _without_a_wall(rows: Sequence[asyncpg.Record]) -> Iterator[str]:
    for row in rows:
        if not row["is_on"] or not all("dragoman.brands" in rule for rule in row["rules"]):
            yield f"router.{row['table']}"


async def _clock(database: Database, now: Callable[[], datetime]) -> Finding:
    before = now()
    async with database.transaction() as tx:
        after = now()
    ahead = (tx.now - (before + (after - before) / 2)).total_seconds()
    says = f"the database's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} this machine's"
    if abs(ahead) > TOLERATED.total_seconds():
        return wrong(says, "let both keep time by NTP")
    if abs(ahead) > UNNOTICED.total_seconds():
        return warning(says, "let both keep time by NTP")
    return well("the database's clock is this machine's")


def _some(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    more = len(distinct) - NAMED
    return ", ".join(distinct[:NAMED]) + (f" and {more} more" if more > 0 else "")
