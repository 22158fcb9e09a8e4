"""Webhook to durable ack: the hooks app against a bare ASGI app and an empty FastAPI route, all with the same ack."""

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4

import psutil
import uvicorn
import uvloop
from fastapi import FastAPI

from bench.figures import Figure
from bench.load import request
from bench.vendors import PUBLIC_URL, directory, target
from services.ingest.hooks import Hooks
from services.ingest.outlet import Outlet
from services.ingest.seal import seal
from services.ingest.spool import Spool
from services.serving import settle
from shared.bus.brokers import create_topics
from shared.bus.kafka import bus_of
from shared.channels import messenger, twilio, whatsapp
from shared.channels.contract import Hook
from shared.channels.messenger.inbound import receive
from shared.channels.twilio import phone
from shared.events import Record
from shared.objects import FolderStore
from shared.settings import Settings
from tests import servers

SECONDS = 0.3
STARTS, ROUNDS = 6, 8
CONNECTIONS = (4, 32)
# Messenger's path is what everything is compared with.
CHANNELS = {
    "hooks": messenger.channel, "whatsapp": whatsapp.channel, "twilio_whatsapp": twilio.whatsapp,
    "twilio_sms": twilio.sms, "phone": phone.channel,
}  # fmt: skip
YARDSTICKS = ("bare_asgi_same_ack", "empty_fastapi_route", "send_and_wait")
APPS = (*CHANNELS, *YARDSTICKS)
BODY = b"EVENT_RECEIVED"
Run = dict[str, float]
Found = Mapping[tuple[str, int], Sequence[Run]]


async def measure(_postgres: servers.Postgres, kafka: str | None) -> list[Figure]:
    """Needs a broker: the ack is Kafka's. All apps stand; many short loads go round them, to and fro.

    A machine that is shared drifts by more than the apps differ, but little from one load to the next. One and the
    same app differs from start to start too, by where its memory happens to lie: all are started several times.
    """
    if kafka is None:
        return []
    prefix = f"bench-{uuid4().hex[:8]}."
    await create_topics(Settings(kafka_bootstrap=kafka, kafka_prefix=prefix))
    found: dict[tuple[str, int], list[Run]] = {}
    for _ in range(STARTS):
        async with AsyncExitStack() as stack:
            standing = [await stack.enter_async_context(_standing(app, kafka, prefix)) for app in APPS]
            for each in standing:
                # The first is slow for reasons of its own: codecs, connections to brokers, caches.
                await each.load(max(CONNECTIONS), 2 * SECONDS)
            for turn in range(ROUNDS):
                for connections in CONNECTIONS:
                    for each in standing[:: 1 if turn % 2 else -1]:
                        found.setdefault((each.app, connections), []).append(await each.load(connections, SECONDS))
    return [figure for connections in CONNECTIONS for figure in _figures(found, connections)] + [
        Figure("hook_ack_at_32", _median(found["hooks", 32], "rate"), "requests/s", "hook_ack at 4 connections",
               _ratio(found["hooks", 32], found["hooks", 4]))
    ]  # fmt: skip


def _figures(found: Found, connections: int) -> Iterator[Figure]:
    ours = found["hooks", connections]
    for app in YARDSTICKS:
        yield Figure("hook_ack", _median(ours, "rate"), "requests/s", app, _ratio(ours, found[app, connections]),
                     f"{connections} connections, Kafka ack, 1 core a process")  # fmt: skip
    for name in CHANNELS:
        runs = found[name, connections]
        if name != "hooks":
            yield Figure(f"hook_ack_of_{name}", _median(runs, "rate"), "requests/s", "hook_ack of messenger",
                         _ratio(runs, ours), f"{connections} connections")  # fmt: skip
        yield Figure(f"hook_ack_cpu_of_{name}", _cpu(runs), "µs of CPU a message", "bare_asgi_same_ack",
                     _cpu(runs) / _cpu(found["bare_asgi_same_ack", connections]),
                     f"{connections} connections")  # fmt: skip
    for name in ("p50", "p99"):
        yield Figure(f"hook_ack_{name}", _median(ours, name), "ms", conditions=f"{connections} connections")


def _median(runs: Sequence[Run], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def _ratio(ours: Sequence[Run], others: Sequence[Run]) -> float:
    """Of each round its own, since a round's loads were seconds apart; then the median."""
    return statistics.median(a["rate"] / b["rate"] for a, b in zip(ours, others, strict=True))


def _cpu(runs: Sequence[Run]) -> float:
    """Of all together: the system counts in steps that are long for one load."""
    return sum(run["cpu"] for run in runs) / sum(run["count"] for run in runs)


@dataclass(frozen=True, slots=True)
class _Standing:
    """A server with a load of its own; all servers have the one core, the loads and the broker the other."""

    app: str
    server: psutil.Process
    input: asyncio.StreamWriter
    output: asyncio.StreamReader

    async def load(self, connections: int, seconds: float) -> Run:
        before = self.server.cpu_times()
        self.input.write(f"{connections} {seconds}\n".encode())
        run: Run = json.loads(await self.output.readline())
        after = self.server.cpu_times()
        run["cpu"] = (after.user + after.system - before.user - before.system) * 1e6
        return run


@asynccontextmanager
async def _standing(app: str, kafka: str, prefix: str) -> AsyncIterator[_Standing]:
    async with _process("bench.hook_ack", app, kafka, prefix) as server:
        assert server.stdout is not None
        url = (await server.stdout.readline()).decode().strip()
        async with _process("bench.load", url) as load:
            assert load.stdin is not None
            assert load.stdout is not None
            yield _Standing(app, psutil.Process(server.pid), load.stdin, load.stdout)


@asynccontextmanager
async def _process(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


# the servers


async def _bare_body(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


async def serve(app: str, kafka: str, prefix: str) -> None:
    bus = bus_of(Settings(kafka_bootstrap=kafka, kafka_prefix=prefix))
    await bus.start()
    chosen: Any
    channel = CHANNELS.get(app, messenger.channel)
    if app in CHANNELS:
        folder = Path(mkdtemp(prefix="dragoman-bench-"))
        spool = Spool(folder / "spool", 10**9)
        spool.open()
        known = directory(channel.name)
        chosen = Hooks(
            (channel,),
            lambda: known,
            Outlet(bus, spool, FolderStore(folder / "media")),
            stopping=asyncio.Event(),
            in_flight=512,
            bytes_in_flight=10**9,
            public_url=PUBLIC_URL,
        )
    elif app == "empty_fastapi_route":
        chosen = FastAPI()

        @chosen.post("/hooks/messenger/token")
        async def empty() -> str:
            return "EVENT_RECEIVED"
    else:
        chosen = _bare(bus, alone=app == "send_and_wait")
    config = uvicorn.Config(
        chosen, port=0, loop="none", http="httptools", lifespan="off", access_log=False, log_config=None
    )
    server = uvicorn.Server(config)
    settle()
    task = asyncio.create_task(server._serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    sys.stdout.write(f"http://127.0.0.1:{port}{target(channel.name)}\n")
    sys.stdout.flush()
    await task


def _sample() -> Record:
    """The record that ingest makes of one message of the load."""
    (account,) = directory(messenger.channel.name).accounts.values()
    body = request("http://bench/hooks/messenger/token", 1).partition(b"\r\n\r\n")[2]
    hook = Hook(method="POST", path="/", body=body, received_at=datetime.now(UTC))
    (record,) = seal(receive(hook, account).items, account, hook.received_at)
    return record


def _bare(bus: Any, *, alone: bool) -> Any:
    """The least that gives the same ack: the same record without its making; `alone` sends one at a time."""
    lock = asyncio.Lock()
    sample = _sample()

    async def publish(records: Sequence[Record]) -> None:
        if not alone:
            return await bus.publish(records)
        async with lock:
            return await bus.publish(records)

    async def bare(_scope: Any, incoming: Any, send: Any) -> None:
        body = await _bare_body(incoming)
        # As large as ours and as different from each other, or the codec would have nothing to do.
        value = body + sample.value[len(body) :]
        await publish([replace(sample, key=f"{time.perf_counter_ns() % 500}", value=value)])
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(BODY))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})

    return bare


if __name__ == "__main__":
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {0})
    uvloop.run(serve(*sys.argv[1:]))
