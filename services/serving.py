"""One HTTP server on one socket, until this process is told to go."""

import asyncio
import gc
import signal
import socket

import uvicorn
from starlette.types import ASGIApp

from shared.parts import Parts


async def serve(app: ASGIApp, parts: Parts, listening: socket.socket, *, grace: int = 3) -> None:
    """Answers on the socket until SIGINT, SIGTERM or `stopping`, which ends open streams before the server waits."""
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=grace,
        backlog=2048,
    )
    served = uvicorn.Server(config)
    loop = asyncio.get_running_loop()

    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, parts.stopping.set)

    async def stop() -> None:
        await parts.stopping.wait()
        served.should_exit = True

    settle()
    stopper = asyncio.create_task(stop(), name="stop")
    try:
        # Not `serve`, which would take the signals over.
        await served._serve([listening])
    finally:
        stopper.cancel()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(name)


def settle() -> None:
    """What start-up made stays: the collector need not look at it again and again, a tenth of each request's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


def listen(host: str, port: int) -> socket.socket:
    """Raises OSError where the port is taken."""
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((host, port))
    return listening
