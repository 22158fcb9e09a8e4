"""Fixtures of every test."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import pytest

from tests import kafka_cluster, servers

# They run alone, never in a worker, each of which would spend five seconds on collecting them.
collect_ignore = ["router/api/test_properties.py"] if "PYTEST_XDIST_WORKER" in os.environ else []


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        asyncio.run(server.prepare())
        yield server


@pytest.fixture
async def database_url(postgres: servers.Postgres) -> AsyncIterator[str]:
    async with postgres.database() as url:
        yield url


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real broker: the one that DRAGOMAN_TEST_KAFKA names, else one of our own."""
    running = os.environ.get("DRAGOMAN_TEST_KAFKA")
    if running:
        yield running
        return
    lacking = kafka_cluster.missing()
    if lacking:
        if os.environ.get("KAFKA_REQUIRED"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    cluster = kafka_cluster.Cluster(tmp_path_factory.mktemp("kafka"))
    try:
        cluster.start()
        yield cluster.bootstrap
    finally:
        cluster.close()
