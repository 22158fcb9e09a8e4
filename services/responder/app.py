"""The responder: consumers of `outbound` and `receipts`, the worker, its outbox's relay."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from services.responder import receipts
from services.responder.calls import Calls
from services.responder.outbound import Outbound
from services.responder.worker import Worker
from shared.bus.contract import Consumer
from shared.bus.outbox import Relay
from shared.channels.contract import Channel
from shared.channels.registry import CHANNELS
from shared.db.directory import DirectoryCache
from shared.db.transaction import Database
from shared.links import Links
from shared.objects import store_of
from shared.parts import Parts
from shared.topics import Topic

GROUP = "responder"


@dataclass(frozen=True, slots=True)
class Responder:
    """What the running service shows."""

    worker: Worker
    troubles: Callable[[], Sequence[str]]


@asynccontextmanager
async def serve(parts: Parts, *, channels: Sequence[Channel] = CHANNELS) -> AsyncIterator[Responder]:
    """Runs the responder until left; leaving lets calls in hand end and stops the relay last."""
    database = Database(parts.database_url, role="dragoman_responder", clock=parts.clock, size=8)
    cache = DirectoryCache(database, parts.vault)
    relay = Relay(database, parts.bus, "responder", alone=parts.alone)
    links = Links(parts.vault, parts.settings.address)
    worker = Worker(
        database,
        lambda: cache.current,
        channels,
        alone=parts.alone,
        plain_httpx=parts.settings.plain_httpx,
        links=links,
        objects=store_of(parts.settings),
        address=parts.settings.address,
        traces=parts.traces,
    )
    calls = Calls(
        database,
        lambda: cache.current,
        channels,
        plain_httpx=parts.settings.plain_httpx,
        address=parts.settings.address,
        traces=parts.traces,
    )

    def woken() -> None:
        worker.wake()
        calls.wake()

    async with AsyncExitStack() as stack:
        await database.open()
        stack.push_async_callback(database.close)
        await stack.enter_async_context(cache.following())
        await relay.start()
        stack.push_async_callback(relay.stop)
        await stack.enter_async_context(worker.running())
        await stack.enter_async_context(calls.running())
        outbound = Outbound(channels, lambda: cache.current, woken, links)
        told = partial(receipts.handle, suppresses={channel.name: channel.suppresses for channel in channels})
        for topic, handler in ((Topic.OUTBOUND, outbound), (Topic.RECEIPTS, told)):
            consumer = Consumer(group=GROUP, topic=topic, handler=handler, database=database)
            await stack.enter_async_context(parts.bus.consuming(consumer))
        yield Responder(worker, lambda: [t for t in (relay.trouble, worker.trouble, calls.trouble) if t])
