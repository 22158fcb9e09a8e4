"""Traces of a whole process, where its settings name a collector: its bus, and the requests that it answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

from opentelemetry.trace import SpanKind, Status, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.bus.traced import TracedBus
from shared.parts import Parts
from shared.tracing import Traces

Route = Callable[[Scope], str]
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@asynccontextmanager
async def traced(parts: Parts, service: str) -> AsyncIterator[Parts]:
    """The parts, with traces if there is a collector; what is left of them is exported at the end."""
    if parts.settings.traces_url is None:
        yield parts
        return
    traces = Traces(parts.settings.traces_url, service)
    system = "in_process" if parts.alone else "kafka"
    try:
        yield replace(parts, traces=traces, bus=TracedBus(parts.bus, traces, system))
    finally:
        await traces.close()


def hook_route(_scope: Scope) -> str:
    """The same for all of them: the token of the path is a secret."""
    return "/hooks/{channel}/{token}"


def api_route(scope: Scope) -> str:
    """What the request found in the API, with names in place of values; empty where it found nothing."""
    return getattr(scope.get("route"), "path", "")


def answering(app: ASGIApp, traces: Traces | None, route: Route) -> ASGIApp:
    """The app with a span round every request; a caller's own trace is not taken over, for anybody may call."""
    if traces is None:
        return app

    async def traced_app(scope: Scope, receive: Receive, send: Send) -> None:
        # The name of any other is the caller's own choice.
        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        with traces.span(method, SpanKind.SERVER, "", {"http.request.method": method}) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    status = message["status"]
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))
                await send(message)

            await app(scope, receive, noted)
            if found := route(scope):
                span.update_name(f"{method} {found}")
                span.set_attribute("http.route", found)

    return traced_app
