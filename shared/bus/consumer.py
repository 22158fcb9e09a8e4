"""The one consumer loop: opens the transaction, calls the handler, puts poison aside, advances, commits.

The only place of the product that catches every exception: whatever a handler raises is either the weather (try
again), one event's fault (dead letter, the rest goes on) or ours (stop, unready).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from shared.bus import outbox
from shared.bus.contract import Consumer
from shared.db.transaction import RETRYABLE, Transaction
from shared.errors import BadPayload, DragomanError, Fenced, PoisonEvent, Unavailable, UnknownEvent
from shared.events import DeadLetter, Event, Record, decode, encode

log = logging.getLogger(__name__)

Advance = Callable[[Transaction], Awaitable[None]]

# When this many events in a row are poison the fault is probably ours: stop rather than empty the topic into `dead`.
POISON_IN_A_ROW = 100
BACK_OFF = (0.05, 0.2, 0.5, 1.0, 2.0)
# What the data of one event can cause in a statement; everything else the database says is not about the data.
DATA_ERRORS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.ProgramLimitExceededError)


class Halted(DragomanError):
    """The consumer stopped for a reason that trying again does not mend."""

    code = "halted"


class Loop:
    """Takes batches of one consumer to their end."""

    def __init__(self, consumer: Consumer) -> None:
        self.consumer = consumer
        self.trouble = ""
        self._poison_in_a_row = 0

    async def handle(self, records: Sequence[Record], advance: Advance) -> None:
        """Returns once every record has had its effect or is a dead letter, and `advance` is committed with it.

        Raises Unavailable where the database is away (nothing was done), Fenced, and Halted.
        """
        try:
            for attempt in range(len(BACK_OFF) + 1):
                try:
                    return await self._whole(records, advance)
                except RETRYABLE:
                    if attempt == len(BACK_OFF):
                        raise Unavailable("the database keeps refusing the batch", code="contention") from None
                    await asyncio.sleep(BACK_OFF[attempt] * random.uniform(0.5, 1.5))  # noqa: S311
        except (Unavailable, Fenced, asyncio.CancelledError):
            raise
        except UnknownEvent as error:
            self.trouble = str(error)
            raise Halted(self.trouble) from error
        except Halted as error:
            self.trouble = str(error)
            raise
        except Exception as error:
            # Only the class: the text may quote a customer.
            self.trouble = f"{self.consumer.group}: {type(error).__name__} outside any event"
            log.exception("%s halted", self.consumer.group)
            raise Halted(self.trouble) from error

    async def _whole(self, records: Sequence[Record], advance: Advance) -> None:
        dead: dict[int, DeadLetter] = {}
        events: list[tuple[int, Event]] = []
        for position, record in enumerate(records):
            try:
                events.append((position, decode(record)))
            except BadPayload as error:
                dead[position] = letter(record, error)
        tried_again = False
        while True:
            if not events and self._poison_in_a_row + len(dead) >= POISON_IN_A_ROW:
                raise Halted(f"{self.consumer.group}: {POISON_IN_A_ROW} events in a row could not be handled")
            try:
                await self._once([event for _, event in events], list(dead.values()), advance)
            except PoisonEvent as poison:
                position, _ = events.pop(poison.position)
                dead[position] = letter(records[position], poison)
            except DATA_ERRORS as error:
                if not tried_again:
                    # A lost race for a unique key looks like bad data once; no event may be called dead for it.
                    tried_again = True
                    continue
                position = await self._culprit(events, error)
                dead[position] = letter(records[position], error)
                events = [pair for pair in events if pair[0] != position]
            else:
                self._poison_in_a_row = self._poison_in_a_row + len(dead) if not events else 0
                return

    async def _once(self, events: Sequence[Event], dead: Sequence[DeadLetter], advance: Advance) -> None:
        async with self.consumer.database.transaction() as tx:
            if events:
                await self.consumer.handler(tx, events)
            if dead:
                source = self.consumer.group
                letters = [_carrying(d, source, tx) for d in dead]
                await outbox.add(tx, source, [encode(e) for e in letters])
            await advance(tx)

    async def _culprit(self, events: Sequence[tuple[int, Event]], error: Exception) -> int:
        """The position of the event whose data the database refuses, by halving; its trials are rolled back."""
        low, high = 0, len(events)
        while high - low > 1:
            middle = (low + high) // 2
            # What came before is part of the trial, since a later event may build on it.
            if await self._refused([event for _, event in events[:middle]]):
                high = middle
            else:
                low = middle
        position, event = events[low]
        log.warning("%s: event %s is refused by the database: %s", self.consumer.group, event.id, type(error).__name__)
        return position

    async def _refused(self, events: Sequence[Event]) -> bool:
        try:
            async with self.consumer.database.transaction() as tx:
                await self.consumer.handler(tx, events)
                # Deferred constraints speak at the commit, which a trial never reaches.
                await tx.execute("SET CONSTRAINTS ALL IMMEDIATE")
                raise _RollBack
        except _RollBack:
            return False
        except DATA_ERRORS:
            return True


class _RollBack(Exception):
    """Ends a trial."""


def _carrying(data: DeadLetter, source: str, tx: Transaction) -> Event:
    traceparent = data.headers.get("traceparent", "")
    return Event(data=data, key=data.key, source=source, time=tx.now, traceparent=traceparent)


def letter(record: Record, error: Exception) -> DeadLetter:
    """The record as it was, and what was wrong in words that quote nothing of it."""
    known = isinstance(error, DragomanError)
    return DeadLetter(
        topic=record.topic,
        key=record.key,
        value=record.value,
        headers=dict(record.headers),
        code=error.code if isinstance(error, DragomanError) else type(error).__name__,
        error=str(error) if known else type(error).__name__,
    )
