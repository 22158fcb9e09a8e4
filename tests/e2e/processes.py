"""The three services as processes of their own, on a real Kafka and a real PostgreSQL; the sandbox in this one."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import uvicorn
from cryptography.fernet import Fernet

from services.router import configuration
from services.sandbox.app import Sandbox, serve
from services.serving import listen
from services.together import MailPorts, connections, free_port, sample, stand_ins
from shared.bus.brokers import create_topics
from shared.db.transaction import Database
from shared.secrets import Vault
from shared.settings import Settings
from shared.trust import trust
from tests.e2e.running import until
from tests.kafka_cluster import reserve_port


@dataclass
class Service:
    """One process; `kill` and `start` again keep its port and its spool."""

    name: str
    port: int
    environment: dict[str, str]
    log: Path
    command: Sequence[str] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with self.log.open("ab") as file:
            command = self.command or (sys.executable, "-m", "services.main")
            self.process = subprocess.Popen([*command, self.name], env=self.environment, stdout=file, stderr=file)

    def kill(self, which: signal.Signals = signal.SIGKILL) -> None:
        assert self.process is not None
        self.process.send_signal(which)
        self.process.wait(20)

    async def ready(self, http: httpx.AsyncClient, seconds: float = 60) -> None:
        async def answers() -> bool:
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"{self.name} ended: {self.log.read_text()[-3000:]}")
            with suppress(httpx.HTTPError):
                return (await http.get(f"{self.url}/health/ready")).status_code == 200
            return False

        await until(answers, seconds)


@dataclass
class Cell:
    """A deployment: services by kind, and the sandbox that their accounts point to."""

    sandbox: Sandbox
    sandbox_url: str
    http: httpx.AsyncClient
    services: dict[str, list[Service]]
    prefix: str
    settings: Settings
    reserved: list[object] = field(default_factory=list)

    def hook_url(self, n: int = 0) -> str:
        return f"{self.services['ingest'][n].url}/hooks/messenger/sandbox-hook"

    @property
    def api(self) -> str:
        return self.services["router"][0].url


@asynccontextmanager
async def cell(
    database_url: str,
    kafka: str,
    folder: Path,
    *,
    each: int = 1,
    partitions: int = 4,
    command: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    enlarge: Callable[[configuration.Wanted], None] | None = None,
) -> AsyncIterator[Cell]:
    """`each` processes per service, ready; killed at the end. The sample's configuration, with what `enlarge` adds."""
    prefix = f"t{uuid4().hex[:8]}."
    key = Fernet.generate_key().decode()
    ports: list[object] = []

    def a_port() -> int:
        reserved = reserve_port()
        ports.append(reserved)
        return int(reserved.getsockname()[1])

    kinds = ("ingest", "router", "responder")
    services: dict[str, list[Service]] = {kind: [] for kind in kinds}
    listening = {(kind, n): a_port() for kind in kinds for n in range(each)}
    for kind in kinds:
        for n in range(each):
            port = listening[kind, n]
            own = {
                "DRAGOMAN_PORT": str(port),
                # Where vendors call, fetch files and hear of calls.
                "DRAGOMAN_PUBLIC_URL": f"http://127.0.0.1:{listening['ingest', 0]}",
                "DRAGOMAN_DATABASE_URL": database_url,
                "DRAGOMAN_KAFKA_BOOTSTRAP": kafka,
                "DRAGOMAN_KAFKA_PREFIX": prefix,
                "DRAGOMAN_SECRET_KEYS": f'["{key}"]',
                "DRAGOMAN_SPOOL_DIR": str(folder / f"spool-{n}"),
                "DRAGOMAN_DATA_DIR": str(folder),
                "DRAGOMAN_DEVELOPMENT_TOKENS": "true",
                "DRAGOMAN_POLL_EVERY": "0.5",
                "DRAGOMAN_KAFKA_SESSION": "3",
            }
            services[kind].append(
                Service(
                    kind,
                    port,
                    {**os.environ, **own, **(environment or {})},
                    folder / f"{kind}-{n}.log",
                    command=command,
                )
            )
    settings = Settings(kafka_bootstrap=kafka, kafka_prefix=prefix, topic_partitions=partitions)
    await create_topics(settings)
    mail = MailPorts(free_port(), free_port())
    stage = listen("127.0.0.1", 0)
    sandbox_url = f"http://127.0.0.1:{stage.getsockname()[1]}"
    wanted = sample(sandbox_url, mail)
    if enlarge is not None:
        enlarge(wanted)
    config = stand_ins(wanted, services["ingest"][0].url)
    stood_in = connections(wanted, services["ingest"][0].url)
    async with (
        serve(config, stood_in) as sandbox,
        _served(sandbox, stage),
        httpx.AsyncClient(timeout=20, verify=trust()) as http,
    ):
        await _configure(database_url, key, wanted)
        for kind in kinds:
            for service in services[kind]:
                service.start()
        try:
            for service in (s for kind in kinds for s in services[kind]):
                await service.ready(http)
            yield Cell(sandbox, sandbox_url, http, services, prefix, settings, ports)
        finally:
            for service in (s for kind in kinds for s in services[kind]):
                if service.process is not None and service.process.poll() is None:
                    service.kill()
            for reserved in ports:
                reserved.close()  # type: ignore[attr-defined]


@asynccontextmanager
async def _served(sandbox: Sandbox, listening: socket.socket) -> AsyncIterator[None]:
    config = uvicorn.Config(sandbox.app, lifespan="off", access_log=False, log_config=None)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listening]))

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield
    finally:
        server.should_exit = True
        await task


async def _configure(database_url: str, key: str, wanted: configuration.Wanted) -> None:
    database = Database(database_url, role="dragoman_router", size=1)
    await database.open()
    async with database.transaction() as tx:
        await configuration.apply(tx, wanted, Vault([key]), "test")
    await database.close()
