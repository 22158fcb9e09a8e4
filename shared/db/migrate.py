"""`dragoman migrate`: its own step, before the services of a release start."""

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from shared.db.tables import SCHEMAS
from shared.errors import InboxMisconfigured

FOLDER = Path(__file__).parent / "migrations"


def engine(url: str) -> AsyncEngine:
    """SQLAlchemy's engine for configuration and migrations; hot paths use asyncpg itself."""
    return create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), pool_size=2, max_overflow=0)


def configuration(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


async def migrate(url: str) -> tuple[str | None, str]:
    """Brings the database to this build's revision; the revisions before and after.

    Raises InboxMisconfigured where a later build made the tables: there is no way back.
    """
    database = engine(url)
    try:
        async with database.begin() as connection:
            return await connection.run_sync(_upgrade)
    finally:
        await database.dispose()


async def current(url: str) -> tuple[str | None, str]:
    """The database's revision and this build's."""
    database = engine(url)
    try:
        async with database.connect() as connection:
            return await connection.run_sync(_revision), _head()
    finally:
        await database.dispose()


def _upgrade(connection: Connection) -> tuple[str | None, str]:
    # Two processes that start at once must not both migrate.
    connection.execute(text("SELECT pg_advisory_xact_lock(7236041)"))
    for schema in SCHEMAS:
        connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
    before = _revision(connection)
    if is_later(before):
        raise InboxMisconfigured(
            f"the database is at {before}, which a later build made: use that build", code="database_is_later"
        )
    command.upgrade(configuration(connection), "head")
    return before, _head()


def _revision(connection: Connection) -> str | None:
    options: dict[str, Any] = {"version_table_schema": "bus"}
    return MigrationContext.configure(connection, opts=options).get_current_revision()


def is_later(revision: str | None) -> bool:
    """Whether a later build made it: its tables have all that this build needs, for migrations only expand."""
    return revision is not None and revision not in {known.revision for known in _scripts().walk_revisions()}


def _scripts() -> ScriptDirectory:
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    return ScriptDirectory.from_config(config)


def _head() -> str:
    head = _scripts().get_current_head()
    if head is None:
        raise RuntimeError("this build has no migrations")
    return head
