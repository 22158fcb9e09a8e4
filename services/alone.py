"""One service in a process of its own, on Kafka: `dragoman ingest`, `router` and `responder`."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from starlette.types import ASGIApp

from services.health import health, switch
from services.media import media_of
from services.serving import listen, serve
from services.traced import answering, api_route, hook_route, traced
from shared.bus.kafka import bus_of
from shared.db.migrate import current, is_later
from shared.errors import InboxMisconfigured
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.telemetry import metrics_app

log = logging.getLogger(__name__)

Running = tuple[ASGIApp | None, Callable[[], Sequence[str]]]


async def run(service: str, settings: Settings, database_url: str, vault: Vault) -> None:
    """Until SIGINT or SIGTERM. Raises InboxMisconfigured where the database lacks what this build needs."""
    found, wanted = await current(database_url)
    if is_later(found):
        log.warning("the database is at %s, a later build's; this one needs %s and goes on", found, wanted)
    elif found != wanted:
        raise InboxMisconfigured(
            f"the database is at {found}, this build needs {wanted}: run `dragoman migrate`", code="not_migrated"
        )
    listening = listen(settings.host, settings.port)
    parts = Parts(settings=settings, database_url=database_url, bus=bus_of(settings), vault=vault, alone=False)
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(traced(parts, service))
        await parts.bus.start()
        stack.push_async_callback(parts.bus.stop)
        own, troubles = await stack.enter_async_context(_service(service, parts))

        def all_troubles() -> Sequence[str]:
            stopping = ["going down"] if parts.stopping.is_set() else []
            return [*stopping, *parts.bus.troubles(), *troubles()]

        healthy = health(all_troubles)
        routes: list[tuple[str, ASGIApp]] = [("/health", healthy), ("/metrics", metrics_app())]
        if service != "responder":
            routes.append(("/media", media_of(parts)))
        await serve(switch(routes, own or healthy), parts, listening)


@asynccontextmanager
async def _service(service: str, parts: Parts) -> AsyncIterator[Running]:
    # Each alone is loaded in half the time of all three.
    if service == "ingest":
        from services.ingest import app as ingest

        async with ingest.serve(parts) as taking:
            yield answering(taking.app, parts.traces, hook_route), taking.troubles
    elif service == "router":
        from services.router import app as router

        async with router.serve(parts) as routing:
            yield answering(routing.app, parts.traces, api_route), routing.troubles
    else:
        from services.responder import app as responder

        async with responder.serve(parts) as sending:
            yield None, sending.troubles
