"""How long the event loop was held while something ran."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Held:
    """The longest that nothing else had its turn, in seconds: `longest` by the clock, `busiest` by its own work."""

    longest: float = 0.0
    busiest: float = 0.0


@asynccontextmanager
async def watched() -> AsyncIterator[Held]:
    """Watches until left."""
    held = Held()

    async def watch() -> None:
        last, spent = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.005)
            now, spent_now = time.perf_counter(), time.thread_time()
            held.longest, held.busiest = max(held.longest, now - last), max(held.busiest, spent_now - spent)
            last, spent = now, spent_now

    watching = asyncio.create_task(watch())
    try:
        # Once before and once after, so that nothing is missed.
        await asyncio.sleep(0.01)
        yield held
        await asyncio.sleep(0.01)
    finally:
        watching.cancel()
