"""The outbox and its relay: in order, by one relay a shard, again after a crash, and nothing left over."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import asyncpg
import pytest

from shared.bus import outbox
from shared.bus.contract import Bus, Consumer, Observer
from shared.bus.outbox import Relay
from shared.db.transaction import Database
from shared.errors import Unavailable
from shared.events import Record
from shared.topics import Topic
from tests.bus.effects import PATIENCE, Effects, eventually, records
from tests.bus.implementations import a_bus

SOURCE = "router"


class Witness:
    """A bus between a relay and the real one: it notes what was published, and can fail or hang like one."""

    def __init__(self, inner: Bus) -> None:
        self._inner = inner
        self.published: list[Record] = []
        self.reached, self.go_on = asyncio.Event(), asyncio.Event()
        self.hangs_after_publishing = False
        self.errors: list[Exception] = []

    async def publish(self, wanted: Sequence[Record]) -> None:
        if self.errors:
            raise self.errors.pop()
        await self._inner.publish(wanted)
        self.published.extend(wanted)
        if self.hangs_after_publishing:
            self.reached.set()
            await self.go_on.wait()

    def consuming(self, consumer: Consumer) -> AbstractAsyncContextManager[None]:
        return self._inner.consuming(consumer)

    def observe(self, topic: Topic, observer: Observer) -> None:
        self._inner.observe(topic, observer)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def troubles(self) -> Sequence[str]:
        return self._inner.troubles()


@pytest.fixture
async def bus(effects: Effects) -> AsyncIterator[Witness]:
    inner = a_bus(seed=11)
    async with inner.consuming(effects.consumer()):
        yield Witness(inner)


@asynccontextmanager
async def relaying(database: Database, bus: Bus, *, alone: bool = False) -> AsyncIterator[Relay]:
    relay = Relay(database, bus, SOURCE, alone=alone)
    await relay.start()
    try:
        yield relay
    finally:
        await relay.stop()


async def put(database: Database, *wanted: Record) -> None:
    async with database.transaction() as tx:
        await outbox.add(tx, SOURCE, wanted)


async def waiting(database: Database) -> int:
    async with database.transaction() as tx:
        return int(await tx.fetchval("SELECT count(*) FROM bus.outbox WHERE published_at IS NULL"))


async def drained(database: Database, left: int = 0) -> None:
    await eventually(lambda: waiting(database), lambda count: count == left)


async def told(relay: Relay) -> str:
    return relay.trouble


async def test_what_was_committed_leaves_in_the_order_of_its_key(
    database: Database, bus: Witness, effects: Effects
) -> None:
    keys = [f"conversation-{n}" for n in range(9)]
    numbers = [f"{n:02}" for n in range(20)]
    async with relaying(database, bus):
        for number in numbers:
            await put(database, *(records(number, key=key)[0] for key in keys))
        await drained(database)
    assert await effects.by_key() == dict.fromkeys(keys, numbers)


async def test_headers_and_bytes_arrive_as_they_were_written(database: Database, bus: Witness) -> None:
    [record] = records("Grüße, 你好")
    await put(database, record)
    async with relaying(database, bus):
        await drained(database)
    assert bus.published == [record]


async def test_what_was_rolled_back_never_leaves(database: Database, bus: Witness, effects: Effects) -> None:
    async with relaying(database, bus):
        with suppress(ZeroDivisionError):
            async with database.transaction() as tx:
                await outbox.add(tx, SOURCE, records("never"))
                raise ZeroDivisionError
        await put(database, *records("once"))
        await drained(database)
    assert await effects.texts() == ["once"]


async def test_a_commit_wakes_the_relay_of_its_own_process(database: Database, bus: Witness) -> None:
    async with relaying(database, bus, alone=True):
        # The first round of the relay, and its leases, are done.
        await put(database, *records("first"))
        await drained(database)
        started = asyncio.get_running_loop().time()
        await put(database, *records("second"))
        await drained(database)
        assert asyncio.get_running_loop().time() - started < outbox.LOOK_EVERY_ALONE / 2


async def test_who_finds_nothing_looks_less_often_until_there_is_something_again(
    database: Database, bus: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "IDLE_AFTER", 0.3)
    monkeypatch.setattr(outbox, "LOOK_EVERY_IDLE", 0.5)
    looks = 0
    look = database.look

    async def counted(query: str, *args: object) -> list[asyncpg.Record]:
        nonlocal looks
        looks += 1
        return await look(query, *args)

    monkeypatch.setattr(database, "look", counted)
    async with relaying(database, bus):
        await put(database, *records("first"))
        await drained(database)
        looks = 0
        await asyncio.sleep(0.25)
        assert looks >= 3
        await asyncio.sleep(0.3)
        looks = 0
        await asyncio.sleep(1.0)
        assert looks <= 3
        await put(database, *records("second"))
        await drained(database)


async def test_two_relays_share_the_shards_and_never_publish_out_of_order(
    database: Database, bus: Witness, effects: Effects
) -> None:
    keys = [f"conversation-{n}" for n in range(8)]
    numbers = [f"{n:02}" for n in range(30)]
    async with relaying(database, bus), relaying(database, bus):
        for number in numbers:
            await put(database, *(records(number, key=key)[0] for key in keys))
        await drained(database)
    assert await effects.by_key() == dict.fromkeys(keys, numbers)
    # No record went out twice: the two did not race for the same rows.
    assert len(bus.published) == len(keys) * len(numbers)


async def test_a_crash_between_publishing_and_marking_publishes_the_same_ids_again(
    database: Database, bus: Witness, effects: Effects
) -> None:
    sent = records("eins", "zwei", "drei")
    bus.hangs_after_publishing = True
    async with relaying(database, bus):
        await put(database, *sent)
        async with asyncio.timeout(PATIENCE):
            await bus.reached.wait()
    assert await waiting(database) == 3

    bus.hangs_after_publishing = False
    async with relaying(database, bus):
        await drained(database)
    assert [record.headers["ce_id"] for record in bus.published] == [record.headers["ce_id"] for record in sent] * 2
    assert await effects.texts() == ["eins", "zwei", "drei"]


async def test_a_relay_that_lost_its_leases_marks_nothing(database: Database, bus: Witness) -> None:
    bus.hangs_after_publishing = True
    async with relaying(database, bus):
        await put(database, *records("eins"))
        async with asyncio.timeout(PATIENCE):
            await bus.reached.wait()
        async with database.transaction() as tx:
            await tx.execute("UPDATE bus.lease SET holder = 'another', epoch = epoch + 1")
        bus.go_on.set()
        await asyncio.sleep(0.3)
        assert await waiting(database) == 1
    assert bus.published == bus.published[:1]


@pytest.mark.parametrize("error", [Unavailable("the brokers are away"), asyncpg.DiskFullError()], ids=repr)
async def test_trouble_is_told_while_it_lasts_and_nothing_is_lost(
    database: Database, bus: Witness, effects: Effects, error: Exception
) -> None:
    bus.errors = [error]
    async with relaying(database, bus) as relay:
        await put(database, *records("eins"))
        await eventually(lambda: told(relay), lambda trouble: "does not drain" in trouble)
        await drained(database)
        await eventually(lambda: told(relay), lambda trouble: trouble == "")
    assert await effects.texts() == ["eins"]


async def test_a_relay_takes_only_its_own_source(database: Database, bus: Witness, effects: Effects) -> None:
    async with relaying(database, bus):
        async with database.transaction() as tx:
            await outbox.add(tx, "responder", records("not mine"))
            await outbox.add(tx, SOURCE, records("mine"))
        await drained(database, left=1)
    assert await effects.texts() == ["mine"]
