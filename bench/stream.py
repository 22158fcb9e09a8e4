"""The live stream with 2 000 agents' streams on one router: what they cost while idle, how soon a change is there."""

import asyncio
import json
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil

from bench.figures import Figure, percentile
from services.router.configuration import Wanted
from shared.settings import Settings
from tests import servers
from tests.e2e.processes import Cell, Service, cell
from tests.e2e.running import until

STREAMS, WORKING, CAPACITY = 2_000, 50, 4
RATE, SECONDS = 200, 10
SETTLE, IDLE = 10.0, 20.0
# Tests have shorter sessions, whose heartbeats an idle process would pay for.
AS_SHIPPED = {"DRAGOMAN_KAFKA_SESSION": str(Settings().kafka_session)}


def agents(wanted: Wanted) -> None:
    """2 000 more agents, all of them native speakers of German."""
    handles = [f"a{n}" for n in range(STREAMS)]
    model = wanted.agents["anna"]
    for handle in handles:
        wanted.agents[handle] = model.model_copy(update={"name": handle, "subject": None, "capacity": CAPACITY})
    pool = wanted.pools["de"]
    wanted.pools["de"] = pool.model_copy(update={"native": tuple(handles)})


async def streams(postgres: servers.Postgres, kafka: str | None) -> list[Figure]:
    """Changes are made as they are in life: customers write to agents who hold their conversations."""
    if kafka is None:
        return []
    with TemporaryDirectory(prefix="dragoman-bench-") as folder:
        async with (
            postgres.database() as url,
            cell(url, kafka, Path(folder), environment=AS_SHIPPED, enlarge=agents) as running,
        ):
            router = running.services["router"][0]
            customers = await _held(running)
            before, by_itself = _memory(router), await _idle(router)
            # Their leases end soon after: what they hold would go to others before their streams renew them.
            await _present(running)
            listeners = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.listeners", router.url, str(STREAMS),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
            )  # fmt: skip
            assert listeners.stdin is not None
            assert listeners.stdout is not None
            assert await listeners.stdout.readline() == b"open\n"
            memory = _memory(router) - before
            idle = await _idle(router)
            listeners.stdin.write(b"begin\n")
            await _write_at_rate(running, customers)
            await asyncio.sleep(2)
            listeners.stdin.write(b"end\n")
            waits: list[float] = json.loads(await listeners.stdout.readline())
            await listeners.wait()
    assert len(waits) >= RATE * SECONDS, f"{len(waits)} changes came"
    p50, p99 = percentile(waits, 0.5) * 1000, percentile(waits, 0.99) * 1000
    conditions = f"{STREAMS} streams on one router, {len(waits) / SECONDS:.0f} changes/s, Kafka, three processes"
    still = f"{STREAMS} streams, nothing happens; the router by itself {by_itself:.1f} %"
    return [
        Figure("change_to_stream_p50", p50, "ms", "60 ms", p50 / 60, conditions),
        Figure("change_to_stream_p99", p99, "ms", "250 ms", p99 / 250, conditions),
        Figure("idle_streams_memory", memory, "MB", "120 MB", memory / 120, still),
        Figure("idle_streams_cpu", idle, "% of a core", "4 %", idle / 4, still),
        Figure("idle_streams_cpu_added", idle - by_itself, "% of a core", conditions=still),
    ]


async def _present(running: Cell) -> None:
    for n in range(WORKING):
        headers = {"Authorization": f"Bearer dev-a{n}"}
        answer = await running.http.put(f"{running.api}/v1/presence", json={"status": "available"}, headers=headers)
        assert answer.status_code == 200, answer.text


async def _held(running: Cell) -> list[str]:
    """Customers whose conversations somebody holds, four of each agent who works."""
    customers = [f"s{n}" for n in range(WORKING * CAPACITY)]
    await _present(running)
    for n, customer in enumerate(customers):
        await _write(running, customer, f"first-{n}")
    held: set[str] = set()

    async def all_held() -> bool:
        for n in range(WORKING):
            agent = {"Authorization": f"Bearer dev-a{n}", "If-Match": "*"}
            shown = await running.http.get(f"{running.api}/v1/conversations?agent=me&state=offered", headers=agent)
            for item in shown.json()["items"]:
                path = f"{running.api}/v1/conversations/{item['id']}/accept"
                key = {"Idempotency-Key": f"accept-{item['id']}"}
                if (await running.http.post(path, headers=agent | key)).status_code == 200:
                    held.add(item["id"])
        return len(held) == len(customers)

    await until(all_held, 120)
    return customers


async def _write_at_rate(running: Cell, customers: list[str]) -> None:
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(RATE * SECONDS):
            await asyncio.sleep(max(0.0, started + n / RATE - time.perf_counter()))
            group.create_task(_write(running, customers[n % len(customers)], f"more-{n}"))


async def _write(running: Cell, customer: str, mid: str) -> None:
    graph: Any = running.sandbox.graph
    item = graph.customer_writes("100", customer, "Wo bleibt meine Bestellung denn nun?", mid=mid)
    body, headers = graph.signed([graph.entry("100", [item])])
    answer = await running.http.post(running.hook_url(), content=body, headers=headers)
    assert answer.status_code == 200


def _process(service: Service) -> psutil.Process:
    assert service.process is not None
    return psutil.Process(service.process.pid)


async def _idle(service: Service) -> float:
    """Percent of a core while nothing happens."""
    await asyncio.sleep(SETTLE)
    spent, began = _cpu(service), time.perf_counter()
    await asyncio.sleep(IDLE)
    return (_cpu(service) - spent) / (time.perf_counter() - began) * 100


def _memory(service: Service) -> float:
    return float(_process(service).memory_full_info().uss) / 1e6


def _cpu(service: Service) -> float:
    times = _process(service).cpu_times()
    return float(times.user + times.system)
