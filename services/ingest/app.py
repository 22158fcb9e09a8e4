"""Ingest: the hooks app, the pollers, the spool."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from services.ingest.hooks import Hooks
from services.ingest.outlet import Outlet
from services.ingest.polling import Polling
from services.ingest.spool import Spool
from shared.channels.contract import Channel
from shared.channels.registry import CHANNELS
from shared.db.directory import DirectoryCache
from shared.db.transaction import Database
from shared.errors import Unavailable
from shared.parts import Parts

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ingest:
    """What the running service shows: its ASGI app and what keeps it from being ready."""

    app: ASGIApp
    hooks: Hooks
    spool: Spool
    troubles: Callable[[], Sequence[str]]


@asynccontextmanager
async def serve(parts: Parts, *, channels: Sequence[Channel] = CHANNELS) -> AsyncIterator[Ingest]:
    """Runs ingest until left. Waits for the database at the start only: afterwards accounts are served from memory."""
    settings = parts.settings
    database = Database(parts.database_url, role="dragoman_ingest", clock=parts.clock, size=4)
    cache = DirectoryCache(database, parts.vault)
    spool = Spool(settings.spool_dir or Path(settings.data_dir) / "spool", settings.spool_limit)
    outlet = Outlet(parts.bus, spool)
    async with AsyncExitStack() as stack:
        spool.open()
        stack.callback(spool.close)
        await stack.enter_async_context(spool.draining(parts.bus))
        await _open(database, parts.stopping)
        stack.push_async_callback(database.close)
        await stack.enter_async_context(cache.following())
        hooks = Hooks(
            channels,
            lambda: cache.current,
            outlet,
            stopping=parts.stopping,
            in_flight=settings.hooks_in_flight,
            bytes_in_flight=settings.hooks_bytes_in_flight,
        )
        polling = Polling(
            database,
            lambda: cache.current,
            channels,
            outlet,
            every=settings.poll_every,
            plain_httpx=settings.plain_httpx,
        )
        await stack.enter_async_context(polling.running())
        yield Ingest(hooks, hooks, spool, lambda: [spool.trouble] if spool.trouble else [])


async def _open(database: Database, stopping: asyncio.Event) -> None:
    """Nothing can be served before the accounts were read once."""
    while True:
        try:
            await database.open()
        except Unavailable as error:
            if stopping.is_set():
                raise
            log.warning("waiting for the database: %s", error)
            await asyncio.sleep(1)
        else:
            return
