"""How long it takes: webhook until the agent can see it, reply until the vendor was called; over three processes."""

import asyncio
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, percentile
from shared.db.transaction import Database
from tests import servers
from tests.e2e.processes import Cell, cell
from tests.e2e.running import until

RATE, SECONDS = 100, 20
REPLIES = 60


async def webhook_to_agent(postgres: servers.Postgres, kafka: str | None) -> list[Figure]:
    """From the webhook's first byte until the message's transaction is committed, at 100 a second."""
    if kafka is None:
        return []
    with TemporaryDirectory(prefix="dragoman-bench-") as folder:
        async with postgres.database() as url, cell(url, kafka, Path(folder)) as running:
            database = Database(url, role=None, size=2)
            await database.open()
            sent: dict[str, float] = {}
            seen: dict[str, float] = {}
            watching = asyncio.create_task(_watch(database, sent, seen))
            await _post_at_rate(running, sent)
            await until(lambda: _all(sent, seen), 30)
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await database.close()
    waits = [seen[mid] - sent[mid] for mid in sent][RATE:]
    p50, p99 = percentile(waits, 0.5) * 1000, percentile(waits, 0.99) * 1000
    conditions = f"{RATE}/s for {SECONDS} s, Kafka, three processes"
    return [
        Figure("webhook_to_agent_p50", p50, "ms", "60 ms", p50 / 60, conditions),
        Figure("webhook_to_agent_p99", p99, "ms", "300 ms", p99 / 300, conditions),
    ]


async def _all(sent: dict[str, float], seen: dict[str, float]) -> bool:
    return len(seen) >= len(sent) > 0


async def _watch(database: Database, sent: dict[str, float], seen: dict[str, float]) -> None:
    """Looks for committed messages every few milliseconds, which is part of what is measured."""
    count = 0
    while True:
        async with database.transaction() as tx:
            rows = await tx.fetch("SELECT key FROM router.seen WHERE kind = 'message' ORDER BY at OFFSET $1", count)
        now = time.perf_counter()
        for row in rows:
            seen.setdefault(row["key"].removeprefix("message:"), now)
        count = len([mid for mid in seen if mid in sent])
        await asyncio.sleep(0.005)


async def _post_at_rate(running: Cell, sent: dict[str, float]) -> None:
    graph = running.sandbox.graph
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, started + n / RATE - time.perf_counter()))
            mid = f"b{n}"
            text = f"Wo bleibt meine Bestellung Nummer {n}?"
            body, headers = graph.signed(
                [graph.entry("100", [graph.customer_writes("100", f"p{n % 200}", text, mid=mid)])]
            )
            sent[mid] = time.perf_counter()
            group.create_task(_post(running, body, headers))


async def _post(running: Cell, body: bytes, headers: dict[str, str]) -> None:
    answer = await running.http.post(running.hook_url(), content=body, headers=headers)
    assert answer.status_code == 200


async def reply_to_vendor(postgres: servers.Postgres, kafka: str | None) -> list[Figure]:
    """From the API's 202 until the vendor has the call."""
    if kafka is None:
        return []
    waits: list[float] = []
    with TemporaryDirectory(prefix="dragoman-bench-") as folder:
        async with postgres.database() as url, cell(url, kafka, Path(folder)) as running:
            agent = {"Authorization": "Bearer dev-anna", "If-Match": "*"}
            await running.http.put(f"{running.api}/v1/presence", json={"status": "available"}, headers=agent)
            graph = running.sandbox.graph
            item = graph.customer_writes("100", "p1", "Wo bleibt meine Bestellung?")
            await graph.deliver(running.http, [graph.entry("100", [item])])

            async def held() -> object:
                answer = await running.http.get(f"{running.api}/v1/conversations?agent=me", headers=agent)
                return answer.json()["items"]

            items = await until(held)
            path = f"{running.api}/v1/conversations/{items[0]['id']}"  # type: ignore[index]
            await running.http.post(f"{path}/accept", headers=agent | {"Idempotency-Key": "accept"})
            for n in range(REPLIES):
                before = len(running.sandbox.state.sent["messenger"])
                body = {"text": f"Antwort {n}"}
                await running.http.post(f"{path}/reply", json=body, headers=agent | {"Idempotency-Key": f"r{n}"})
                started = time.perf_counter()
                while len(running.sandbox.state.sent["messenger"]) == before:
                    await asyncio.sleep(0.001)
                waits.append(time.perf_counter() - started)
    median = statistics.median(waits) * 1000
    p99 = percentile(waits, 0.99) * 1000
    conditions = "one at a time, Kafka, three processes"
    return [
        Figure("reply_to_vendor_p50", median, "ms", "100 ms", median / 100, conditions),
        Figure("reply_to_vendor_p99", p99, "ms", "300 ms", p99 / 300, conditions),
    ]
