"""The buses that promise the contract, each as a factory; `test_contract.py` runs over all of them."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from shared.bus.brokers import create_topics
from shared.bus.contract import BATCH, Bus
from shared.bus.inprocess import InProcessBus
from shared.bus.kafka import bus_of
from shared.bus.traced import TracedBus
from shared.settings import Settings
from shared.tracing import Traces
from tests.collector import collecting


def a_bus(seed: int) -> InProcessBus:
    """The in-process bus at its most unkind: batches cut at random, and each of them delivered twice."""
    dice = random.Random(seed)
    return InProcessBus(cut=lambda waiting: dice.randint(1, min(waiting, BATCH)), deliveries=2)


@asynccontextmanager
async def in_process(_request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    bus = a_bus(seed=3)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@asynccontextmanager
async def on_kafka(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    settings = Settings(
        kafka_bootstrap=request.getfixturevalue("kafka"),
        kafka_prefix=f"test-{uuid4().hex[:8]}.",
        topic_partitions=3,
        kafka_session=3,
    )
    await create_topics(settings)
    bus = bus_of(settings)
    await bus.start()
    try:
        yield bus
    finally:
        await bus.stop()


@asynccontextmanager
async def in_traces(_request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    with collecting() as collector:
        traces = Traces(collector.url, "test")
        bus = TracedBus(a_bus(seed=5), traces, "in_process")
        await bus.start()
        try:
            yield bus
        finally:
            await bus.stop()
            await traces.close()


# A factory gets the test's request, so that it can ask for fixtures of its own (a broker), and a bus nobody else uses.
IMPLEMENTATIONS = [
    pytest.param(in_process, id="in-process"),
    pytest.param(in_traces, id="traced"),
    pytest.param(on_kafka, id="kafka", marks=pytest.mark.kafka),
]
