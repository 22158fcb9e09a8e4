"""What a bus promises, whatever carries it.

`publish` returns only when the events are safe: acknowledged by the brokers, or, in one process, committed by the
consumer of their topic. A consumer's handler gets batches in the order of each key, possibly again, and has its
effect in the transaction that also advances the offsets.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from shared.db.transaction import Database, Transaction
from shared.errors import Unavailable
from shared.events import Event, Record
from shared.topics import Topic

Handler = Callable[[Transaction, Sequence[Event]], Awaitable[None]]
Observer = Callable[[Event], None]

# Work of one transaction: at most so many events, which the database takes in well under a second.
BATCH = 200


@dataclass(frozen=True, slots=True)
class Consumer:
    """The one durable reader of a topic in a service. `handler` never commits."""

    group: str
    topic: Topic
    handler: Handler
    database: Database


PUBLISH_WITHIN = 10.0


class Bus(Protocol):
    async def publish(self, records: Sequence[Record]) -> None:
        """Returns once all records are safe, which may take as long as the bus is away: callers set the limit.

        Raises Unavailable: some may be safe, none is lost by trying again.
        """

    def consuming(self, consumer: Consumer) -> AbstractAsyncContextManager[None]:
        """Runs the consumer until left; leaving finishes the batch in hand, what is not committed comes again."""

    def observe(self, topic: Topic, observer: Observer) -> None:
        """A copy of what passes in this process, after it is safe; delays and fails nobody."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def troubles(self) -> Sequence[str]:
        """Why this process is not ready, as sentences for people; empty where all is well."""


async def publish_in_time(bus: Bus, records: Sequence[Record]) -> None:
    """For whoever comes again by itself. Raises Unavailable."""
    try:
        async with asyncio.timeout(PUBLISH_WITHIN):
            await bus.publish(records)
    except TimeoutError:
        raise Unavailable("the bus did not answer in time", code="no_ack") from None
