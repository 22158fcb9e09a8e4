"""The router: consumers of `inbound`, `results`, `dead` and `alerts`, dispatch, timers, webhooks, relay, the API."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fastapi import FastAPI

from services.router.api import Api, build
from services.router.api.tokens import Tokens
from services.router.dispatch import Dispatcher
from services.router.domain import language
from services.router.inbound import Inbound
from services.router.oidc import issuer_of
from services.router.results import Results, keep_dead
from services.router.store.configuration import ConfigurationCache
from services.router.stream import Stream
from services.router.timers import Timers
from services.router.webhooks import Webhooks, trusted_receivers
from shared.bus.contract import Consumer, Handler
from shared.bus.outbox import Relay
from shared.channels.contract import Channel
from shared.channels.registry import CHANNELS
from shared.db.transaction import Database, Transaction
from shared.events import Event
from shared.links import Links
from shared.objects import store_of
from shared.parts import Parts
from shared.topics import Topic

log = logging.getLogger(__name__)

GROUP = "router"


@dataclass(frozen=True, slots=True)
class Router:
    """What the running service shows: its ASGI app and what keeps it from being ready."""

    app: FastAPI
    troubles: Callable[[], Sequence[str]]


@asynccontextmanager
async def serve(parts: Parts, *, channels: Sequence[Channel] = CHANNELS) -> AsyncIterator[Router]:
    """Runs the router until left; leaving finishes the batches in hand, then stops the relay."""
    database = Database(parts.database_url, role="dragoman_router", clock=parts.clock, size=8)
    api_database = Database(parts.database_url, role="dragoman_api", clock=parts.clock, size=6)
    cache = ConfigurationCache()
    dispatcher = Dispatcher(database, cache)
    timers = Timers(database, cache, dispatcher, parts.settings.address)
    receivers = trusted_receivers(parts.settings.webhook_hosts)
    hooks = Webhooks(database, cache, parts.vault, receivers, parts.settings.address)
    issuer = issuer_of(parts.settings)
    tokens = Tokens(cache, parts.settings, issuer)
    if parts.settings.development_tokens:
        log.warning("development tokens are accepted: whoever knows an agent's handle is that agent")
    relay = Relay(database, parts.bus, "router", alone=parts.alone)
    async with AsyncExitStack() as stack:
        await asyncio.to_thread(language.load_model)
        for opened in (database, api_database):
            await opened.open()
            stack.push_async_callback(opened.close)
        if issuer is not None:
            await stack.enter_async_context(issuer.running())
        await relay.start()
        stack.push_async_callback(relay.stop)
        await stack.enter_async_context(dispatcher.running())
        await stack.enter_async_context(timers.running())
        await stack.enter_async_context(hooks.running())
        handlers: dict[Topic, Handler] = {
            Topic.INBOUND: _hinting(Inbound(cache, channels), dispatcher),
            Topic.RESULTS: Results(cache, channels),
            Topic.DEAD: keep_dead,
            Topic.ALERTS: hooks.handle,
        }
        for topic, handler in handlers.items():
            consumer = Consumer(group=GROUP, topic=topic, handler=handler, database=database)
            await stack.enter_async_context(parts.bus.consuming(consumer))
        stream = Stream(database, tokens.recheck, parts.stopping, alone=parts.alone)
        await stack.enter_async_context(stream.running())
        app = build(
            Api(
                database=api_database,
                router_database=database,
                cache=cache,
                channels={channel.name: channel for channel in channels},
                dispatcher=dispatcher,
                settings=parts.settings,
                tokens=tokens,
                stream=stream,
                objects=store_of(parts.settings),
                links=Links(parts.vault, parts.settings.address),
                vault=parts.vault,
                receivers=receivers,
                hint_webhooks=hooks.hint,
            )
        )
        workers = (relay, dispatcher, timers, stream, hooks)
        yield Router(app, lambda: [worker.trouble for worker in workers if worker.trouble])


def _hinting(handler: Callable[[Transaction, Sequence[Event]], Awaitable[None]], dispatcher: Dispatcher) -> Handler:
    """What arrives may find somebody at once."""

    async def handle(tx: Transaction, batch: Sequence[Event]) -> None:
        await handler(tx, batch)
        tx.after_commit(dispatcher.hint)

    return handle
