"""Fixtures of the bus: each implementation, a database, and a place where handlers leave their effects."""

from collections.abc import AsyncIterator

import pytest

from shared.bus.contract import Bus
from shared.db.transaction import Database
from tests.bus.effects import Effects, effects_table
from tests.bus.implementations import IMPLEMENTATIONS
from tests.servers import opened


@pytest.fixture(params=IMPLEMENTATIONS)
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    async with request.param(request) as made:
        yield made


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    await effects_table(database_url)
    async with opened(database_url, "dragoman_router") as made:
        yield made


@pytest.fixture
def effects(database: Database) -> Effects:
    return Effects(database)
