"""Real servers for tests: an embedded PostgreSQL whose migrated template is copied for each test."""

import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import asyncpg
import psutil

from shared.db import embedded
from shared.db.migrate import migrate
from shared.db.transaction import Database

TEMPLATE = "dragoman_template"
# Bytes; each worker's server takes a few hundred million.
ROOM = 3_000_000_000


@asynccontextmanager
async def opened(url: str, role: str, size: int = 6) -> AsyncIterator[Database]:
    """A database as one of the roles, until left."""
    database = Database(url, role=role, size=size)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


class Postgres:
    """One server for the whole run."""

    def __init__(self, url: str, directory: Path) -> None:
        self.url = url
        self._directory = directory

    def crash(self) -> None:
        """Ends at once, as by a power cut of its processes; `start` recovers."""
        pid = int((self._directory / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGQUIT)
        psutil.wait_procs([psutil.Process(pid)], timeout=20)

    def start(self) -> None:
        embedded.start_again(self._directory)

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{database}"))

    async def prepare(self) -> None:
        await self._administer(f"CREATE DATABASE {TEMPLATE}")
        await migrate(self.url_of(TEMPLATE))

    @asynccontextmanager
    async def database(self) -> AsyncIterator[str]:
        """The address of a fresh, migrated database; real commits, full isolation."""
        name = f"test_{uuid4().hex[:12]}"
        # Copying the template's files takes a quarter of the time of logging its pages.
        await self._administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
        try:
            yield self.url_of(name)
        finally:
            await self._administer(f"DROP DATABASE {name} WITH (FORCE)")

    async def _administer(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@contextmanager
def postgres(*, fsync: bool = False) -> Iterator[Postgres]:
    """Files in a folder that is gone afterwards; no fsync in tests, whose crashes are of processes, not of power."""
    with tempfile.TemporaryDirectory(prefix="dragoman-", dir=None if fsync else _in_memory()) as folder:
        Path(folder).chmod(0o755)
        settings = f"fsync = {'on' if fsync else 'off'}\nmax_connections = 200\n"
        with embedded.server(Path(folder) / "pg", extra_settings=settings) as url:
            yield Postgres(url, Path(folder) / "pg")


def _in_memory() -> Path | None:
    """Where files cost least, if this machine has room there: a database is copied in a twentieth of the time."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None
