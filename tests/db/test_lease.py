"""Leases: one holder at a time, taken over after their end, and every late write of the old holder refused."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from shared.db import lease as leases
from shared.db.transaction import Database
from shared.errors import Fenced
from tests.servers import opened

LONG = timedelta(minutes=5)
ENDED = timedelta(seconds=-1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, "dragoman_ingest") as made:
        yield made


async def test_a_lease_has_one_holder(database: Database) -> None:
    mine = await leases.acquire(database, "poll", "me", LONG)
    assert mine == leases.Lease("poll", "me", 1)
    assert await leases.acquire(database, "poll", "you", LONG) is None
    assert await leases.acquire(database, "another", "you", LONG) is not None


async def test_of_many_who_ask_at_once_one_gets_it(database: Database) -> None:
    asked = [leases.acquire(database, "poll", f"process-{n}", LONG) for n in range(12)]
    assert len([got for got in await asyncio.gather(*asked) if got is not None]) == 1


async def test_its_holder_prolongs_it_within_the_same_epoch(database: Database) -> None:
    first = await leases.acquire(database, "poll", "me", LONG)
    assert await leases.acquire(database, "poll", "me", LONG) == first


async def test_after_its_end_another_takes_it_over_with_a_higher_epoch(database: Database) -> None:
    await leases.acquire(database, "poll", "me", ENDED)
    assert await leases.acquire(database, "poll", "you", LONG) == leases.Lease("poll", "you", 2)


async def test_a_holder_who_let_it_end_comes_back_with_a_higher_epoch(database: Database) -> None:
    await leases.acquire(database, "poll", "me", ENDED)
    again = await leases.acquire(database, "poll", "me", LONG)
    assert again is not None
    assert again.epoch == 2


async def test_a_lease_that_was_given_back_is_free_at_once(database: Database) -> None:
    mine = await leases.acquire(database, "poll", "me", LONG)
    assert mine is not None
    await leases.release(database, mine)
    assert await leases.acquire(database, "poll", "you", LONG) == leases.Lease("poll", "you", 2)


async def test_giving_back_what_was_taken_over_takes_it_from_nobody(database: Database) -> None:
    mine = await leases.acquire(database, "poll", "me", ENDED)
    assert mine is not None
    await leases.acquire(database, "poll", "you", LONG)
    await leases.release(database, mine)
    assert await leases.acquire(database, "poll", "me", LONG) is None


async def test_a_late_write_of_the_old_holder_is_fenced(database: Database) -> None:
    mine = await leases.acquire(database, "poll", "me", ENDED)
    assert mine is not None
    yours = await leases.acquire(database, "poll", "you", LONG)
    assert yours is not None
    async with database.transaction() as tx:
        await leases.hold(tx, yours)
    with pytest.raises(Fenced):
        async with database.transaction() as tx:
            await leases.hold(tx, mine)


async def test_nobody_takes_it_over_in_the_middle_of_a_fenced_write(database: Database) -> None:
    mine = await leases.acquire(database, "poll", "me", ENDED)
    assert mine is not None
    async with asyncio.TaskGroup() as group, database.transaction() as tx:
        await leases.hold(tx, mine)
        yours = group.create_task(leases.acquire(database, "poll", "you", LONG))
        await asyncio.sleep(0.1)
        assert not yours.done()
    assert yours.result() == leases.Lease("poll", "you", 2)
