"""What only the bus inside one process promises: it has no log, so the commit is what `publish` waits for."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.bus.inprocess import InProcessBus
from shared.db.transaction import Transaction
from shared.errors import Fenced, Stopping, Unavailable
from shared.events import Event, Record, encode
from tests.bus.effects import Effects, a_message, records, text_of
from tests.bus.implementations import a_bus


@pytest.mark.parametrize("seed", range(5))
async def test_publish_returns_once_the_effect_is_committed(effects: Effects, seed: int) -> None:
    bus = a_bus(seed)
    wanted = [f"{n:03}" for n in range(50)]
    async with bus.consuming(effects.consumer()):
        await bus.publish(records(*wanted))
        assert await effects.texts() == wanted


async def test_every_batch_is_delivered_twice_in_tests(effects: Effects) -> None:
    handled: list[str] = []

    async def counts(_tx: Transaction, events: Sequence[Event]) -> None:
        handled.extend(map(text_of, events))

    bus = a_bus(seed=1)
    async with bus.consuming(effects.consumer(counts)):
        await bus.publish(records("eins"))
    assert handled == ["eins", "eins"]


async def test_the_publisher_hears_of_a_failure_and_nothing_was_done(effects: Effects) -> None:
    async def away(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        raise ConnectionResetError

    bus = InProcessBus()
    async with bus.consuming(effects.consumer(away)):
        with pytest.raises(Unavailable):
            await bus.publish(records("eins", "zwei"))
    assert await effects.texts() == []
    assert not bus.troubles()


async def test_what_waits_behind_a_failed_batch_does_not_pass_it(effects: Effects) -> None:
    async def away_at_first(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        if not turns:
            turns.append(1)
            raise Unavailable

    turns: list[int] = []
    bus = InProcessBus(cut=lambda _waiting: 1)
    wanted = records("eins", "zwei", "drei")
    async with bus.consuming(effects.consumer(away_at_first)):
        with pytest.raises(Unavailable):
            await bus.publish(wanted)
        assert await effects.texts() == []
        await bus.publish(wanted)
    assert await effects.texts() == ["eins", "zwei", "drei"]


async def test_a_topic_that_nobody_reads_is_unavailable_and_takes_nothing_of_the_same_call(effects: Effects) -> None:
    bus = InProcessBus()
    [record] = records("eins")
    async with bus.consuming(effects.consumer()):
        with pytest.raises(Unavailable, match="nobody reads results"):
            await bus.publish([record, Record("results", record.key, record.headers, record.value)])
        await bus.publish(records("zwei"))
    assert await effects.texts() == ["zwei"]


async def test_a_topic_has_one_consumer(effects: Effects) -> None:
    bus = InProcessBus()
    async with bus.consuming(effects.consumer()):
        with pytest.raises(ValueError, match="has a consumer already"):
            async with bus.consuming(effects.consumer()):
                pass


async def test_a_handler_that_lost_its_lease_fails_its_publisher_and_not_the_lane(effects: Effects) -> None:
    async def fenced_at_first(tx: Transaction, events: Sequence[Event]) -> None:
        if not turns:
            turns.append(1)
            raise Fenced
        await effects.handle(tx, events)

    turns: list[int] = []
    bus = InProcessBus()
    async with bus.consuming(effects.consumer(fenced_at_first)):
        with pytest.raises(Unavailable):
            await bus.publish(records("eins"))
        await bus.publish(records("zwei"))
    assert await effects.texts() == ["zwei"]


async def test_what_still_waits_when_the_consumer_leaves_is_told_so(effects: Effects) -> None:
    in_hand, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        in_hand.set()
        await go_on.wait()

    bus = InProcessBus(cut=lambda _waiting: 1)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        async with bus.consuming(effects.consumer(slow)):
            first = group.create_task(bus.publish(records("eins")))
            await in_hand.wait()
            second = group.create_task(_refused(bus, encode(a_message("zwei"))))
            asyncio.get_running_loop().call_later(0.05, go_on.set)
            await asyncio.sleep(0)
        await first
        assert isinstance(await second, Stopping)
    assert await effects.texts() == ["eins"]


async def _refused(bus: InProcessBus, record: Record) -> Exception | None:
    try:
        await bus.publish([record])
    except Unavailable as error:
        return error
    return None


async def test_a_publisher_that_gives_up_takes_nothing_back(effects: Effects) -> None:
    go_on = asyncio.Event()

    async def slow(tx: Transaction, events: Sequence[Event]) -> None:
        await go_on.wait()
        await effects.handle(tx, events)

    bus = InProcessBus()
    async with bus.consuming(effects.consumer(slow)):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await bus.publish(records("eins"))
        go_on.set()
        await bus.publish(records("zwei"))
    assert await effects.texts() == ["eins", "zwei"]
