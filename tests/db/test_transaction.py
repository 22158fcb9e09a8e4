"""Looking: one statement by itself, on a connection that is kept for it."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.db.transaction import Database
from shared.errors import Unavailable
from tests.servers import opened

ME = "SELECT pg_backend_pid() AS pid"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, "dragoman_ingest", size=1) as made:
        yield made


async def pid(database: Database) -> int:
    ((found,),) = await database.look(ME)
    return int(found)


async def test_every_look_is_at_the_same_connection_and_many_at_once_take_turns(database: Database) -> None:
    assert len(set(await asyncio.gather(*(pid(database) for _ in range(20))))) == 1


async def test_a_look_takes_no_connection_from_the_transactions(database: Database) -> None:
    looker = await pid(database)
    async with database.transaction() as tx:
        assert await tx.fetchval(ME) != looker
        assert await pid(database) == looker


async def test_a_connection_that_died_is_unavailable_once_and_the_next_look_has_another(
    database: Database, database_url: str
) -> None:
    looker = await pid(database)
    owner = await asyncpg.connect(database_url)
    await owner.execute("SELECT pg_terminate_backend($1)", looker)
    await owner.close()
    with pytest.raises(Unavailable):
        await pid(database)
    assert await pid(database) != looker


async def test_a_server_that_says_good_bye_just_before_the_next_statement_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def good_bye(*_: object, **__: object) -> None:
        raise asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress")

    looker = await pid(database)
    with monkeypatch.context() as patched:
        patched.setattr(asyncpg.Connection, "_execute", good_bye)
        with pytest.raises(Unavailable):
            await pid(database)
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass
    assert await pid(database) != looker


async def test_a_refused_statement_and_a_look_that_was_called_off_leave_it_usable(database: Database) -> None:
    with pytest.raises(asyncpg.UndefinedTableError):
        await database.look("SELECT * FROM nowhere")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await database.look("SELECT pg_sleep(5)")
    await pid(database)


async def test_nobody_looks_at_a_database_that_was_closed(database: Database) -> None:
    await pid(database)
    await database.close()
    with pytest.raises(Unavailable):
        await pid(database)


async def test_whoever_looks_while_it_is_closed_is_told_so_or_sees(database: Database) -> None:
    looking = [asyncio.create_task(database.look("SELECT pg_sleep(0.3)")) for _ in range(3)]
    await asyncio.sleep(0.1)
    await database.close()
    ends = await asyncio.gather(*looking, return_exceptions=True)
    assert isinstance(ends[0], list)
    assert [type(end) for end in ends[1:]] == [Unavailable] * 2
