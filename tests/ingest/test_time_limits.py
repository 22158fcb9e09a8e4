"""Many waits under one timer end as those under `asyncio.timeout` do."""

import asyncio
import time

import pytest

from services.ingest.time_limits import TICK, Limits


async def test_a_wait_ends_at_its_limit_and_the_task_goes_on() -> None:
    limits = Limits()
    started = time.monotonic()
    with pytest.raises(TimeoutError), limits(0.1):
        await asyncio.sleep(10)
    assert 0.1 <= time.monotonic() - started < 0.1 + 10 * TICK
    await asyncio.sleep(0)


async def test_what_ends_in_time_is_left_alone() -> None:
    limits = Limits()
    for _ in range(3):
        with limits(0.05):
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)


async def test_the_inner_of_two_limits_ends_the_inner_wait_alone() -> None:
    limits = Limits()
    with limits(5):
        with pytest.raises(TimeoutError), limits(0.05):
            await asyncio.sleep(10)
        await asyncio.sleep(0)


async def test_each_of_many_has_its_own_limit() -> None:
    limits = Limits()
    ended: list[float] = []

    async def wait(seconds: float) -> None:
        with pytest.raises(TimeoutError), limits(seconds):
            await asyncio.sleep(10)
        ended.append(seconds)

    await asyncio.gather(*(wait(seconds) for seconds in (0.3, 0.1, 0.2)))
    assert ended == [0.1, 0.2, 0.3]


async def test_a_cancellation_from_outside_stays_one() -> None:
    limits = Limits()

    async def wait() -> None:
        with limits(0.1):
            await asyncio.sleep(10)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    # Also where both come at once: whoever cancels means it.
    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    for limit in list(limits._open):
        limit.end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_inside_is_not_hidden() -> None:
    limits = Limits()
    with pytest.raises(LookupError), limits(5):
        raise LookupError
