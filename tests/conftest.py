"""Fixtures of every test."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import servers


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        asyncio.run(server.prepare())
        yield server


@pytest.fixture
async def database_url(postgres: servers.Postgres) -> AsyncIterator[str]:
    async with postgres.database() as url:
        yield url
