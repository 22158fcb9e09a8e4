"""The stand-ins as one ASGI app: `/graph`, `/mirakl`, and `/control` for whoever drives them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount

from services.sandbox import control
from services.sandbox.behaviour import reaching_the_transport
from services.sandbox.handle import Sandbox
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig

__all__ = ["Sandbox", "build", "serve"]


def build(config: SandboxConfig, connections: Mapping[str, Sequence[Connection]] | None = None) -> Sandbox:
    """The stand-ins as an app whose lifespan sends the webhooks; `connections` by channel."""
    sandbox = Sandbox(config, connections)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with sandbox.running():
            yield

    app = Starlette(
        routes=[
            Mount("/graph", routes=sandbox.graph.routes()),
            Mount("/mirakl", routes=sandbox.mirakl.routes()),
            *(Mount(f"/{stand_in.name}", routes=stand_in.routes()) for stand_in in sandbox.stand_ins),
            *(Mount(f"/control/{stand_in.name}", routes=stand_in.control()) for stand_in in sandbox.stand_ins),
            Mount("/control", routes=control.routes(sandbox)),
        ],
        lifespan=lifespan,
    )
    sandbox.app = reaching_the_transport(app)
    return sandbox


@asynccontextmanager
async def serve(
    config: SandboxConfig, connections: Mapping[str, Sequence[Connection]] | None = None
) -> AsyncIterator[Sandbox]:
    """The same, sending webhooks until left: for servers that run no lifespan."""
    sandbox = build(config, connections)
    async with sandbox.running():
        yield sandbox
