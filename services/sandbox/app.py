"""The stand-ins as one ASGI app: `/graph`, `/mirakl`, and `/control` for whoever drives them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from services.sandbox.control import Control
from services.sandbox.graph import Graph
from services.sandbox.mirakl import Mirakl
from services.sandbox.state import SandboxConfig, State


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The running stand-ins: their app, and what tests in the same process look at."""

    app: ASGIApp
    state: State
    graph: Graph
    mirakl: Mirakl


@asynccontextmanager
async def serve(config: SandboxConfig) -> AsyncIterator[Sandbox]:
    """Runs them until left; webhooks that wait are dropped then, as a vendor's would only come later."""
    state = State()
    graph, mirakl = Graph(config, state), Mirakl(config, state)
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        control = Control(state, graph, mirakl, http)
        app = Starlette(
            routes=[
                Mount("/graph", routes=graph.routes()),
                Mount("/mirakl", routes=mirakl.routes()),
                Mount("/control", routes=control.routes()),
            ]
        )
        task = asyncio.create_task(graph.run(http), name="sandbox webhooks")
        try:
            yield Sandbox(reaching_the_transport(app), state, graph, mirakl)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def reaching_the_transport(app: ASGIApp) -> ASGIApp:
    """Puts the server's transport into the scope, so that a stand-in can cut the connection.

    ASGI has no verb for it; under uvicorn `send` is a method of the request's cycle, which holds the transport.
    """

    async def reached(scope: Scope, receive: Receive, send: Send) -> None:
        scope["sandbox.transport"] = getattr(getattr(send, "__self__", None), "transport", None)
        await app(scope, receive, send)

    return reached
