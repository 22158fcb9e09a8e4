"""What only a log has: owners and their epochs, places outside the log, topics and their settings."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from aiokafka import TopicPartition
from prometheus_client import REGISTRY

from shared.bus.brokers import create_topics
from shared.bus.kafka import KafkaBus, accept_gap, advance_offset, bus_of, own
from shared.db.transaction import Database
from shared.errors import Fenced
from shared.settings import Settings
from tests.bus.effects import Effects, eventually, publish, records

pytestmark = pytest.mark.kafka


@pytest.fixture
async def settings(kafka: str) -> Settings:
    made = Settings(kafka_bootstrap=kafka, kafka_prefix=f"test-{uuid4().hex[:8]}.", topic_partitions=1, kafka_session=3)
    await create_topics(made)
    return made


@pytest.fixture
async def bus(settings: Settings) -> AsyncIterator[KafkaBus]:
    made = bus_of(settings)
    await made.start()
    yield made
    await made.stop()


async def test_a_former_owner_is_fenced(database: Database) -> None:
    partition = TopicPartition("inbound", 0)
    async with database.transaction() as tx:
        place, first = await own(tx, "router", partition, 0)
    async with database.transaction() as tx:
        assert await own(tx, "router", partition, 0) == (place, first + 1)
    with pytest.raises(Fenced):
        async with database.transaction() as tx:
            await advance_offset(tx, "router", partition, place, 5, first)
    async with database.transaction() as tx:
        await advance_offset(tx, "router", partition, place, 5, first + 1)
    with pytest.raises(Fenced):
        async with database.transaction() as tx:
            await advance_offset(tx, "router", partition, place, 9, first + 1)


async def test_topics_are_made_once_and_looked_at_again(settings: Settings) -> None:
    lines = await create_topics(settings)
    assert [line for line in lines if "inbound" in line] == [f"{settings.kafka_prefix}inbound: exists"]
    assert not [line for line in lines if "should be" in line]
    assert "does not survive" in lines[-1]


async def test_a_place_outside_the_log_is_not_passed_over_in_silence(
    bus: KafkaBus, settings: Settings, database: Database, effects: Effects
) -> None:
    group, topic = f"{settings.kafka_prefix}router", f"{settings.kafka_prefix}inbound"
    async with database.transaction() as tx:
        await own(tx, group, TopicPartition(topic, 0), 1_000)
    await publish(bus, *records("waits for a person"))

    async def told() -> bool:
        return any("accept-gap" in trouble for trouble in bus.troubles())

    async with bus.consuming(effects.consumer()):
        await eventually(told)
        assert await effects.texts() == []
    assert "goes on at 1 instead of 1000" in await accept_gap(settings, database, group, topic, 0)
    await publish(bus, *records("after the gap"))
    async with bus.consuming(effects.consumer()):
        await effects.until(1)
    assert await effects.texts() == ["after the gap"]
    assert REGISTRY.get_sample_value("dragoman_lag", {"topic": "inbound"}) == 0
    assert "nothing to accept" in await accept_gap(settings, database, group, topic, 0)
