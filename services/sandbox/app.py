"""The stand-ins as one ASGI app: `/graph`, `/mirakl`, and `/control` for whoever drives them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from services.sandbox import control
from services.sandbox.behaviour import reaching_the_transport
from services.sandbox.handle import Sandbox
from services.sandbox.state import SandboxConfig

__all__ = ["Sandbox", "build", "serve"]


def build(config: SandboxConfig) -> Sandbox:
    """The stand-ins as an app whose lifespan sends the webhooks."""
    sandbox = Sandbox(config)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with sandbox.running():
            yield

    app = Starlette(
        routes=[
            Mount("/graph", routes=sandbox.graph.routes()),
            Mount("/mirakl", routes=sandbox.mirakl.routes()),
            Mount("/control", routes=control.routes(sandbox)),
        ],
        lifespan=lifespan,
    )
    sandbox.app = reaching_the_transport(app)
    return sandbox


@asynccontextmanager
async def serve(config: SandboxConfig) -> AsyncIterator[Sandbox]:
    """The same, sending webhooks until left: for servers that run no lifespan."""
    sandbox = build(config)
    async with sandbox.running():
        yield sandbox
