"""The bus inside one process: no log of its own, so the consumer's commit is what makes an event safe.

Whoever publishes waits for that commit alone. What a table-owning service publishes lies in its outbox until then,
and ingest has its spool, so nothing is lost when the process dies in between.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from shared.bus.consumer import Loop
from shared.bus.contract import BATCH, Consumer, Observer
from shared.db.transaction import Transaction
from shared.errors import DragomanError, Stopping, Unavailable
from shared.events import Record, decode
from shared.topics import ANNOUNCEMENTS, Topic

log = logging.getLogger(__name__)

# How a batch is taken from what waits, and how often it is handed over: tests cut at random and deliver twice.
Cut = Callable[[int], int]


@dataclass(slots=True)
class _Lane:
    """What waits for one consumer."""

    loop: Loop
    waiting: deque[tuple[Record, asyncio.Future[None]]] = field(default_factory=deque)
    filled: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False


class InProcessBus:
    """One durable consumer per topic, one task and one connection for each."""

    def __init__(self, *, cut: Cut = lambda waiting: min(waiting, BATCH), deliveries: int = 1) -> None:
        self._cut = cut
        self._deliveries = deliveries
        self._lanes: dict[str, _Lane] = {}
        self._observers: dict[str, list[Observer]] = {}

    @asynccontextmanager
    async def consuming(self, consumer: Consumer) -> AsyncIterator[None]:
        if consumer.topic in self._lanes:
            raise ValueError(f"{consumer.topic} has a consumer already")
        lane = self._lanes[consumer.topic] = _Lane(Loop(consumer))
        task = asyncio.create_task(self._run(lane), name=f"consumer {consumer.topic}")
        try:
            yield
        finally:
            del self._lanes[consumer.topic]
            lane.stopping = True
            lane.filled.set()
            await _finish(task)

    def observe(self, topic: Topic, observer: Observer) -> None:
        self._observers.setdefault(topic, []).append(observer)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Consumers end with their services."""

    def troubles(self) -> Sequence[str]:
        return [lane.loop.trouble for lane in self._lanes.values() if lane.loop.trouble]

    async def publish(self, records: Sequence[Record]) -> None:
        """Returns when the consumers of all records' topics have committed. Raises Unavailable."""
        durable = [record for record in records if record.topic not in ANNOUNCEMENTS]
        lanes = [self._lane(record.topic) for record in durable]
        futures = []
        for record, lane in zip(durable, lanes, strict=True):
            future = asyncio.get_running_loop().create_future()
            lane.waiting.append((record, future))
            lane.filled.set()
            futures.append(future)
        if futures:
            results = await asyncio.gather(*futures, return_exceptions=True)
            for result in results:
                if isinstance(result, BaseException):
                    raise result
        self._show(records)

    def _lane(self, topic: str) -> _Lane:
        lane = self._lanes.get(topic)
        if lane is None:
            raise Unavailable(f"nobody reads {topic} in this process right now", code="no_consumer")
        return lane

    async def _run(self, lane: _Lane) -> None:
        try:
            while not lane.stopping:
                await lane.filled.wait()
                # One turn of the loop lets the publishers of this moment join the batch.
                await asyncio.sleep(0)
                if lane.waiting and not lane.stopping:
                    await self._batch(lane)
                if not lane.waiting:
                    lane.filled.clear()
        finally:
            _fail(lane, Stopping())

    async def _batch(self, lane: _Lane) -> None:
        size = max(1, self._cut(len(lane.waiting)))
        batch = [lane.waiting.popleft() for _ in range(min(size, len(lane.waiting)))]
        records = [record for record, _ in batch]
        error: DragomanError | None = None
        try:
            for _ in range(self._deliveries):
                await lane.loop.handle(records, _nothing_to_advance)
        except Unavailable as away:
            error = away
        except DragomanError as other:
            error = Unavailable(str(other), code=other.code)
        except asyncio.CancelledError:
            _settle(batch, Stopping())
            raise
        _settle(batch, error)
        if error is not None:
            # What waits behind it must not pass it: it may be of the same key, and of the same `publish`.
            _fail(lane, error)

    def _show(self, records: Sequence[Record]) -> None:
        for record in records:
            for observer in self._observers.get(record.topic, ()):
                # By the event loop, so that an observer's failure is neither the publisher's nor the next observer's.
                asyncio.get_running_loop().call_soon(_copy(observer, record))


def _copy(observer: Observer, record: Record) -> Callable[[], None]:
    def show() -> None:
        observer(decode(record))

    return show


def _settle(batch: Sequence[tuple[Record, asyncio.Future[None]]], error: DragomanError | None) -> None:
    for _, future in batch:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)


def _fail(lane: _Lane, error: DragomanError) -> None:
    batch = list(lane.waiting)
    lane.waiting.clear()
    _settle(batch, error)


async def _nothing_to_advance(_tx: Transaction) -> None:
    """The outbox and the spool know what is still to come; there is no log to have a place in."""


async def _finish(task: asyncio.Task[None]) -> None:
    try:
        async with asyncio.timeout(5):
            await asyncio.shield(task)
    except TimeoutError:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
