"""The buses that promise the contract, each as a factory; `test_contract.py` runs over all of them."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from shared.bus.contract import BATCH, Bus
from shared.bus.inprocess import InProcessBus


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


# A factory gets the test's request, so that it can ask for fixtures of its own (a broker), and a bus nobody else uses.
IMPLEMENTATIONS = [pytest.param(in_process, id="in-process")]
