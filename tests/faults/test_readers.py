"""Routers are killed while hundreds read the live stream: each reader ends up with what the API says."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from shared.db.transaction import Database
from tests.e2e.processes import Cell, cell
from tests.e2e.running import until
from tests.faults.load import Load
from tests.faults.readers import Reader

pytestmark = [pytest.mark.faults, pytest.mark.kafka, pytest.mark.timeout(300)]

READERS = 500
# A supervisor of every brand, and agents who work for some of them.
TOKENS = ("sam", "anna", "claire", "ewa", "emily")


async def test_five_hundred_readers_end_up_with_what_the_api_says(
    database_url: str, kafka: str, tmp_path: Path
) -> None:
    chance = random.Random(20261125)
    database = Database(database_url, role=None, size=2)
    await database.open()
    async with cell(database_url, kafka, tmp_path, each=2) as running:
        routers = [service.url for service in running.services["router"]]
        readers = [Reader(routers, f"dev-{TOKENS[n % len(TOKENS)]}", random.Random(n)) for n in range(READERS)]
        reading = [asyncio.create_task(reader.run()) for reader in readers]
        await until(lambda: _all_began(readers), 60)
        load = Load(running, database, senders=8)
        loading = asyncio.create_task(load.run())
        for _ in range(3):
            await asyncio.sleep(chance.uniform(2, 4))
            router = running.services["router"][chance.randrange(2)]
            router.kill()
            await asyncio.sleep(1)
            router.start()
            await router.ready(running.http)
        load.stop()
        await loading
        assert await _differences(running, readers) == []
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
        assert load.ledger.replies, "nothing was answered"
        assert sum(reader.connections for reader in readers) > 2 * READERS, "hardly anybody was disconnected"
        # A router that dies while it numbers uses numbers up; if these are the first ones, 0 is before what is kept.
        assert {seq for reader in readers for seq in reader.resyncs} <= {0}
        async with database.transaction() as tx:
            rows = await tx.fetch("SELECT seq FROM bus.outbox WHERE topic = 'routing' AND seq IS NOT NULL ORDER BY seq")
        # Every change once and in order, for those who may see all of them.
        seen = {tuple(reader.seqs) for reader in readers if reader.token == "dev-sam"}
        assert seen == {tuple(r["seq"] for r in rows)}
    await database.close()


async def _all_began(readers: list[Reader]) -> bool:
    return all(reader.seq is not None for reader in readers)


async def _differences(running: Cell, readers: list[Reader]) -> list[str]:
    """Readers who believe something else than a fresh look shows, once none is left or they had a minute.

    Offers lapse and agents leave meanwhile, so what is compared with is as fresh as what they know.
    """
    different: list[str] = []
    for _ in range(40):
        told = {f"dev-{handle}": await _shown(running, handle) for handle in TOKENS}
        different = [
            f"{reader.token} at {reader.seq} after {reader.connections} connections: "
            f"{dict(reader.known.items() - told[reader.token].items())}"
            for reader in readers
            if reader.known != told[reader.token]
        ]
        if not different:
            break
        await asyncio.sleep(1.5)
    return different


async def _shown(running: Cell, handle: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    path: str | None = "/v1/conversations?limit=100"
    while path is not None:
        answer = await running.http.get(f"{running.api}{path}", headers={"Authorization": f"Bearer dev-{handle}"})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found |= {item["id"]: (item["version"], item["agent_id"]) for item in page["items"]}
        path = page["next"] and f"/v1/conversations?limit=100&cursor={page['next']}"
    return found
