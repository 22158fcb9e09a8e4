"""The tables in code and in the database are the same, and each service can touch only its own."""

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

from shared.db.migrate import current, engine, is_later, migrate
from shared.db.tables import SCHEMAS, metadata
from shared.db.transaction import Database
from shared.errors import InboxMisconfigured, Unavailable
from shared.ids import new_id


async def test_the_migrations_make_exactly_the_tables_of_the_code(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        options = {
            "include_schemas": True,
            "version_table_schema": "bus",
            "include_name": lambda name, kind, _: kind != "schema" or name in SCHEMAS,
            "compare_type": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    database = engine(database_url)
    async with database.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.dispose()


async def test_migrating_again_changes_nothing(database_url: str) -> None:
    before, after = await migrate(database_url)
    assert before == after
    assert await current(database_url) == (after, after)


async def test_tables_of_a_later_build_are_known_as_such_and_never_migrated(database_url: str) -> None:
    _, ours = await current(database_url)
    assert not any(map(is_later, (None, ours, "0001")))
    owner = await asyncpg.connect(database_url)
    await owner.execute("UPDATE bus.alembic_version SET version_num = '9999'")
    assert is_later((await current(database_url))[0])
    with pytest.raises(InboxMisconfigured, match="later build"):
        await migrate(database_url)
    assert await owner.fetchval("SELECT version_num FROM bus.alembic_version") == "9999"
    await owner.close()


WRITES = {
    "dragoman_ingest": {"ingest.poll_cursor", "ingest.media_job", "bus.outbox", "bus.lease", "bus.consumer_offset"},
    "dragoman_router": {
        "router.message", "router.queue", "router.callback", "config.inbox", "bus.outbox", "bus.lease",
        "bus.consumer_offset",
    },
    "dragoman_api": {"router.message", "router.queue", "router.callback"},
    "dragoman_responder": {"responder.part", "responder.call", "bus.outbox", "bus.lease", "bus.consumer_offset"},
}  # fmt: skip


@pytest.mark.parametrize("role", WRITES)
async def test_a_service_that_touches_the_table_of_another_fails(database_url: str, role: str) -> None:
    database = Database(database_url, role=role)
    await database.open()
    for table in sorted(set.union(*WRITES.values())):
        try:
            async with database.transaction() as tx:
                await tx.execute(f"DELETE FROM {table}")
            allowed = True
        except asyncpg.InsufficientPrivilegeError:
            allowed = False
        assert allowed == (table in WRITES[role]), table
    await database.close()


async def test_the_api_sees_only_the_brands_that_it_names(database_url: str) -> None:
    router = Database(database_url, role="dragoman_router")
    api = Database(database_url, role="dragoman_api")
    await router.open()
    await api.open()
    client, brands = new_id(), [new_id(), new_id()]
    async with router.transaction() as tx:
        await tx.execute("INSERT INTO config.client VALUES ($1, 'c', 'C')", client)
        for brand in brands:
            await tx.execute("INSERT INTO config.brand VALUES ($1, $2, $3, 'B')", brand, client, str(brand))
            await tx.execute(
                "INSERT INTO router.customer (id, brand_id, name, languages, created_at) VALUES ($1, $2, '', $3, $4)",
                new_id(), brand, {}, tx.now,
            )  # fmt: skip
    count = "SELECT count(*) FROM router.customer"
    async with router.transaction() as tx:
        assert await tx.fetchval(count) == 2
    for shown, expected in ((None, 0), ([], 0), (brands[:1], 1), (brands, 2), (None, 0)):
        async with api.transaction(brands=shown) as tx:
            assert await tx.fetchval(count) == expected
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with api.transaction(brands=brands[:1]) as tx:
            await tx.execute(
                "INSERT INTO router.customer (id, brand_id, name, languages, created_at) VALUES ($1, $2, '', $3, $4)",
                new_id(), brands[1], {}, tx.now,
            )  # fmt: skip
    await router.close()
    await api.close()


async def test_a_database_that_is_away_is_unavailable() -> None:
    database = Database("postgresql://127.0.0.1:1/none", role=None)
    with pytest.raises(Unavailable):
        await database.open()
