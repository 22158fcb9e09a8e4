"""Kill, restart, rebalance under load: nothing acknowledged is lost, nothing doubled, order kept.

And the checker works: each broken build turns it red.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from shared.db.transaction import Database
from tests import kafka_cluster, servers
from tests.e2e.processes import Cell, cell
from tests.faults.checker import violations
from tests.faults.load import Load

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(300)]
# `make faults-long` repeats the sound build's run.
ROUNDS = int(os.environ.get("DRAGOMAN_FAULT_ROUNDS", "1"))

Script = Callable[[Cell, kafka_cluster.Cluster], Awaitable[None]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_cluster.Cluster]:
    """A broker of our own, for it is killed."""
    lacking = kafka_cluster.missing()
    if lacking:
        (pytest.fail if os.environ.get("KAFKA_REQUIRED") else pytest.skip)(lacking)
    own = kafka_cluster.Cluster(tmp_path_factory.mktemp("faults-kafka"))
    try:
        own.start()
        yield own
    finally:
        own.close()


async def nothing(_cell: Cell, _cluster: kafka_cluster.Cluster) -> None:
    await asyncio.sleep(8)


async def kill_each_in_turn(running: Cell, _cluster: kafka_cluster.Cluster) -> None:
    """kill -9 of each process under load, SIGTERM of one for a rebalance; each comes back."""
    await asyncio.sleep(3)
    for kind, n, which in (
        ("ingest", 1, signal.SIGKILL),
        ("router", 0, signal.SIGKILL),
        ("responder", 0, signal.SIGKILL),
        ("router", 1, signal.SIGTERM),
        ("ingest", 0, signal.SIGKILL),
        ("responder", 1, signal.SIGKILL),
    ):
        service = running.services[kind][n]
        service.kill(which)
        await asyncio.sleep(1)
        service.start()
        await service.ready(running.http)
        await asyncio.sleep(2)


async def kill_the_broker(_running: Cell, cluster: kafka_cluster.Cluster) -> None:
    await asyncio.sleep(3)
    cluster.signal(1, signal.SIGKILL)
    await asyncio.sleep(2)
    cluster.start_node(1)
    await asyncio.sleep(12)


async def kill_ingest(running: Cell, _cluster: kafka_cluster.Cluster) -> None:
    for n in (0, 1, 0, 1):
        await asyncio.sleep(1.5)
        running.services["ingest"][n].kill()
        running.services["ingest"][n].start()
        await running.services["ingest"][n].ready(running.http)


async def kill_router(running: Cell, _cluster: kafka_cluster.Cluster) -> None:
    for n in (0, 1, 0):
        await asyncio.sleep(3)
        running.services["router"][n].kill()
        running.services["router"][n].start()
        await running.services["router"][n].ready(running.http)


async def rebalance(running: Cell, _cluster: kafka_cluster.Cluster) -> None:
    """Members leave and join in the middle of batches."""
    for n in (0, 1, 0, 1):
        await asyncio.sleep(2)
        running.services["router"][n].kill(signal.SIGTERM)
        running.services["router"][n].start()
        await running.services["router"][n].ready(running.http)
    # Long enough for a batch that was caught in the middle to come to its end.
    await asyncio.sleep(6)


async def run(
    breakage: str, script: Script, database_url: str, cluster: kafka_cluster.Cluster, folder: Path
) -> list[str]:
    command = (sys.executable, "-m", "tests.faults.build", breakage)
    database = Database(database_url, role=None, size=2)
    await database.open()
    async with cell(database_url, cluster.bootstrap, folder, each=2, partitions=4, command=command) as running:
        load = Load(running, database)
        loading = asyncio.create_task(load.run())
        await script(running, cluster)
        load.stop()
        await loading
        found = await violations(running, database, load.ledger)
        assert load.ledger.posted, "nothing was posted"
        if breakage == "sound":
            assert load.ledger.replies, "nothing was answered"
    await database.close()
    return found


@pytest.mark.parametrize("script", [nothing, kill_each_in_turn, kill_the_broker], ids=lambda s: s.__name__)
async def test_whatever_is_killed_the_promises_hold(
    script: Script, postgres: servers.Postgres, cluster: kafka_cluster.Cluster, tmp_path: Path
) -> None:
    for n in range(ROUNDS):
        folder = tmp_path / str(n)
        folder.mkdir()
        # The vendor of each round is another, and knows nothing of what the one before was sent.
        async with postgres.database() as url:
            assert await run("sound", script, url, cluster, folder) == []


BROKEN: dict[str, Script] = {
    "ack_before_produce": kill_ingest,
    "commit_before_effect": kill_router,
    "claim_without_lock": nothing,
    "ignore_revoke": rebalance,
}


@pytest.mark.parametrize("breakage", BROKEN)
async def test_a_broken_build_is_found_out(
    breakage: str, database_url: str, cluster: kafka_cluster.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is lost stays lost: there is no need to wait long for it.
    monkeypatch.setattr("tests.faults.checker.HEAL_WITHIN", 15.0)
    found = await run(breakage, BROKEN[breakage], database_url, cluster, tmp_path)
    assert found, f"the checker missed {breakage}"
