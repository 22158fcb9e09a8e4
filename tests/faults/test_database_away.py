"""PostgreSQL goes away under load: every message that got a 2xx is in the history afterwards."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.db.transaction import Database
from tests import servers
from tests.e2e.running import Running, running, until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
# `make faults-long` takes it away for longer than any cache of ours lives.
AWAY = float(os.environ.get("DRAGOMAN_DATABASE_AWAY", "10"))
SENDERS = 16


@pytest.fixture
def own_postgres() -> Iterator[servers.Postgres]:
    with servers.postgres() as server:
        asyncio.run(server.prepare())
        yield server


async def _write(run: Running, n: int, over: asyncio.Event, acknowledged: list[str]) -> None:
    """One customer, who begins the next message when the last was acknowledged."""
    k = 0
    while not over.is_set():
        mid = f"m-{n}-{k}"
        body = {"page": "100", "psid": f"psid{n}", "text": f"Wo bleibt meine Bestellung? ({k})", "mid": mid}
        with suppress(httpx.HTTPError):
            answer = await run.http.post(f"{run.sandbox_url}/control/messenger/messages", json=body)
            if answer.status_code == 200 and json.loads(answer.content)["webhook_status"] == 200:
                acknowledged.append(mid)
                k += 1
        await asyncio.sleep(0.2)


async def test_what_was_acknowledged_while_the_database_was_away_is_in_the_history(
    own_postgres: servers.Postgres, tmp_path: Path
) -> None:
    acknowledged: list[str] = []
    over = asyncio.Event()
    async with own_postgres.database() as url, running(url, tmp_path) as run:
        writers = [asyncio.create_task(_write(run, n, over, acknowledged)) for n in range(SENDERS)]
        await asyncio.sleep(3)
        before = len(acknowledged)
        await asyncio.to_thread(own_postgres.crash)
        await asyncio.sleep(AWAY)
        during = len(acknowledged) - before
        await asyncio.to_thread(own_postgres.start)
        await asyncio.sleep(3)
        over.set()
        await asyncio.gather(*writers)
        database = Database(url, role=None, size=1)
        await database.open()

        async def all_there() -> bool:
            async with database.transaction() as tx:
                keys = await tx.fetch(
                    "SELECT s.key FROM router.seen AS s JOIN router.message AS m ON m.id = s.message_id"
                )
            return {f"message:{mid}" for mid in acknowledged} <= {row["key"] for row in keys}

        await until(all_there, 60)
        async with database.transaction() as tx:
            assert await tx.fetchval("SELECT count(*) FROM router.message WHERE kind = 'inbound'") == await tx.fetchval(
                "SELECT count(DISTINCT message_id) FROM router.seen WHERE kind = 'message'"
            )
        await database.close()
        ready: Any = await run.http.get(f"{run.url}/health/ready")
        assert ready.status_code == 200, ready.text
    assert before > 0
    assert during > 0, "nothing was taken in while the database was away"
