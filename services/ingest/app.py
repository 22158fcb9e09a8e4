"""Ingest: the hooks app, the pollers, the spool, and the fetching of files with its outbox's relay."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from starlette.types import ASGIApp

from services.ingest.hooks import Hooks
from services.ingest.media import Media
from services.ingest.outlet import Outlet
from services.ingest.polling import Polling
from services.ingest.seal import SOURCE
from services.ingest.spool import Spool
from shared.bus.contract import Consumer
from shared.bus.outbox import Relay
from shared.channels.contract import Channel
from shared.channels.registry import CHANNELS
from shared.db.directory import DirectoryCache
from shared.db.transaction import Database
from shared.errors import Unavailable
from shared.objects import store_of
from shared.parts import Parts
from shared.topics import Topic

log = logging.getLogger(__name__)

GROUP = "ingest"
BACK_OFF = (0.2, 0.5, 1.0, 2.0, 5.0)


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
    objects = store_of(settings)
    outlet = Outlet(parts.bus, spool, objects)
    async with AsyncExitStack() as stack:
        spool.open()
        stack.callback(spool.close)
        await stack.enter_async_context(spool.draining(parts.bus))
        stack.push_async_callback(database.close)
        await _follow(stack, database, cache, parts.stopping)
        hooks = Hooks(
            channels,
            lambda: cache.current,
            outlet,
            stopping=parts.stopping,
            in_flight=settings.hooks_in_flight,
            bytes_in_flight=settings.hooks_bytes_in_flight,
            public_url=settings.address,
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
        media = Media(database, lambda: cache.current, channels, objects, plain_httpx=settings.plain_httpx)
        relay = Relay(database, parts.bus, SOURCE, alone=parts.alone)
        await relay.start()
        stack.push_async_callback(relay.stop)
        await stack.enter_async_context(media.running())
        consumer = Consumer(group=GROUP, topic=Topic.MEDIA, handler=media.handle, database=database)
        await stack.enter_async_context(parts.bus.consuming(consumer))
        # What files wait for keeps no webhook from being taken: only the spool makes this process unready.
        yield Ingest(hooks, hooks, spool, lambda: [spool.trouble] if spool.trouble else [])


async def _follow(stack: AsyncExitStack, database: Database, cache: DirectoryCache, stopping: asyncio.Event) -> None:
    """Nothing can be served before the accounts were read once. Raises Unavailable when told to stop meanwhile."""
    for failures in count():
        try:
            await database.open()
            await stack.enter_async_context(cache.following())
        except Unavailable as error:
            await database.close()
            if stopping.is_set():
                raise
            log.warning("waiting for the database: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout(BACK_OFF[min(failures, len(BACK_OFF) - 1)]):
                    await stopping.wait()
        else:
            return
