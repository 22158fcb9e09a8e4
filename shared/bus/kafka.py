"""The bus over Apache Kafka.

Offsets live in the database: a consumer's effect and its place in the log are one transaction, fenced by the epoch of
the partition's owner, so that neither a crash nor a rebalance loses or repeats an effect. The broker's committed offset
is only a hint for tools.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any
from zlib import crc32

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import (
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
    UnknownProducerId,
)
from prometheus_client import Gauge

from shared.bus.consumer import Halted, Loop
from shared.bus.contract import BATCH, Consumer, Observer
from shared.db.transaction import Database, Transaction
from shared.errors import EventsLost, Fenced, InboxMisconfigured, Unavailable
from shared.events import Record, decode
from shared.settings import Settings
from shared.topics import Topic

log = logging.getLogger(__name__)

LAG = Gauge("dragoman_lag", "Events in the log that this process has still to handle.", ["topic"])

STOP_WITHIN = 10.0
# `send` overtakes itself for one key once a batch is full; one of these is held while a record is put into a batch.
KEY_LOCKS = 64
# A batch is at most five seconds of work, far below these.
REBALANCE_MS, MAX_POLL_MS = 60_000, 120_000
# A fetch returns with the first event; only an idle consumer waits so long, and then asks again.
FETCH_MS = 500
BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0)
BROKEN = (OutOfOrderSequenceNumber, UnknownProducerId, ProducerFenced, ProducerClosed)


def partition_of(key: bytes | None, partitions: Sequence[int], _available: Sequence[int]) -> int:
    """By the key's CRC-32, as librdkafka's `consistent`: the client's own hash of a key costs more than its sending."""
    return partitions[crc32(key or b"") % len(partitions)]


class Producer:
    """An idempotent producer that is rebuilt where it can never succeed again."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: AIOKafkaProducer | None = None
        self._locks = [asyncio.Lock() for _ in range(KEY_LOCKS)]
        self._rebuilding: asyncio.Task[None] | None = None
        self.trouble = ""

    async def start(self) -> None:
        """Waits for the brokers, for as long as it takes: readiness tells."""
        failures = 0
        while self._producer is None:
            try:
                self._producer = await self._new()
                self.trouble = ""
            except KafkaError as error:
                self.trouble = f"no broker answers: {type(error).__name__}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
                failures += 1

    async def _new(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            # The default of 16 KB wakes every waiter at every drain: a sixth of the throughput.
            max_batch_size=262_144,
            max_request_size=1_048_576,
            linger_ms=0,
            compression_type="zstd",
            partitioner=partition_of,
            # Above the worst election of a leader, or a batch is given up after its number was used.
            request_timeout_ms=30_000,
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
        )
        try:
            await producer.start()
        except (KafkaError, asyncio.CancelledError):
            await within(producer.stop(), STOP_WITHIN)
            raise
        return producer

    async def stop(self) -> None:
        if self._rebuilding is not None:
            self._rebuilding.cancel()
            with suppress(asyncio.CancelledError):
                await self._rebuilding
        producer: AIOKafkaProducer | None = self._producer
        self._producer = None
        if producer is not None:
            await within(producer.stop(), STOP_WITHIN)

    async def publish(self, records: Sequence[Record], prefix: str) -> None:
        """Returns once the brokers have acknowledged all. Raises Unavailable; then some may still arrive."""
        producer = self._producer
        if producer is None:
            raise Unavailable("the producer is not connected", code="no_producer")
        sent: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                headers = [(name, value.encode()) for name, value in record.headers.items()]
                async with self._locks[hash(record.key) % KEY_LOCKS]:
                    topic = prefix + record.topic
                    sent.append(await producer.send(topic, record.value, key=record.key.encode(), headers=headers))
            for future in sent:
                await future
        except KafkaError as error:
            if isinstance(error, BROKEN) or "Unexpected error during batch delivery" in str(error):
                self._rebuild(producer)
            raise Unavailable(f"the brokers refused: {type(error).__name__}", code="not_acknowledged") from error
        finally:
            # Nobody waits for the others any more: whoever publishes again publishes all.
            for future in sent:
                if not future.cancel() and not future.cancelled():
                    future.exception()

    def _rebuild(self, broken: AIOKafkaProducer) -> None:
        """Its sequence numbers have a gap that no retry mends."""
        if self._producer is not broken:
            return
        self._producer = None
        log.warning("the producer is rebuilt")

        self._rebuilding = asyncio.create_task(self._replace(broken), name="producer rebuild")

    async def _replace(self, broken: AIOKafkaProducer) -> None:
        await self.start()
        await within(broken.stop(), STOP_WITHIN)


async def within(work: Coroutine[Any, Any, object], seconds: float) -> None:
    """`stop` does not return while brokers are away."""
    with suppress(TimeoutError, KafkaError):
        async with asyncio.timeout(seconds):
            await work


class KafkaBus:
    """Publishing, and the consumers of this process."""

    def __init__(self, bootstrap: str, prefix: str = "", session: float = 30.0) -> None:
        self._bootstrap = bootstrap
        self._prefix = prefix
        self._session = session
        self._producer = Producer(bootstrap)
        self._observers: dict[str, list[Observer]] = {}
        self._readers: list[_Reader] = []

    async def start(self) -> None:
        await self._producer.start()

    async def stop(self) -> None:
        await self._producer.stop()

    async def publish(self, records: Sequence[Record]) -> None:
        await self._producer.publish(records, self._prefix)
        for record in records:
            for observer in self._observers.get(record.topic, ()):
                # By the event loop, so that an observer's failure is not the publisher's.
                asyncio.get_running_loop().call_soon(observer, decode(record))

    def observe(self, topic: Topic, observer: Observer) -> None:
        self._observers.setdefault(topic, []).append(observer)

    @asynccontextmanager
    async def consuming(self, consumer: Consumer) -> AsyncIterator[None]:
        reader = _Reader(consumer, self._bootstrap, self._prefix, self._session)
        self._readers.append(reader)
        task = asyncio.create_task(reader.run(), name=f"consumer {consumer.topic}")
        try:
            yield
        finally:
            reader.stopping.set()
            try:
                async with asyncio.timeout(STOP_WITHIN):
                    await asyncio.shield(task)
            except TimeoutError:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            self._readers.remove(reader)

    def troubles(self) -> Sequence[str]:
        found = [self._producer.trouble, *(reader.trouble for reader in self._readers)]
        return [trouble for trouble in found if trouble]


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Runs in the client's background: what it raises would be swallowed, so it is kept."""

    def __init__(self, reader: "_Reader") -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Waits for the batch in hand: nobody else may have these partitions while it runs."""
        async with self._reader.busy:
            for partition in revoked:
                self._reader.epochs.pop(partition, None)
                self._reader.places.pop(partition, None)
            self._reader.generation += 1

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        async with self._reader.busy:
            try:
                await self._reader.take_over(list(assigned))
            except (Unavailable, KafkaError) as error:
                self._reader.failed = error
            self._reader.generation += 1


class _Reader:
    """One consumer of a group."""

    def __init__(self, consumer: Consumer, bootstrap: str, prefix: str, session: float) -> None:
        self._session_ms = int(session * 1000)
        self._loop = Loop(consumer)
        self._consumer = consumer
        self._group = prefix + consumer.group
        self._topic = prefix + consumer.topic
        self._bootstrap = bootstrap
        self._client: AIOKafkaConsumer | None = None
        self.busy = asyncio.Lock()
        self.stopping = asyncio.Event()
        self.epochs: dict[TopicPartition, int] = {}
        self.places: dict[TopicPartition, int] = {}
        self.failed: Exception | None = None
        # Grows with every rebalance: what was fetched before one may begin behind the place where we stand after it.
        self.generation = 0
        self._trouble = ""
        self._lost: dict[TopicPartition, str] = {}

    @property
    def trouble(self) -> str:
        return self._loop.trouble or self._trouble or next(iter(self._lost.values()), "")

    async def run(self) -> None:
        """Connects, works, and connects again until it is told to stop or only a person can help."""
        failures = 0
        while not self.stopping.is_set():
            try:
                await self._session()
                failures = 0
            except Halted:
                return
            except (Unavailable, Fenced, KafkaError, EventsLost) as error:
                self._trouble = f"{self._group} reads {self._topic} no further: {type(error).__name__}"
                log.warning("%s", self._trouble)
                with suppress(TimeoutError):
                    async with asyncio.timeout(BACK_OFF[min(failures, len(BACK_OFF) - 1)]):
                        await self.stopping.wait()
                failures += 1

    async def _session(self) -> None:
        client = self._client = AIOKafkaConsumer(
            bootstrap_servers=self._bootstrap,
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=self._session_ms,
            heartbeat_interval_ms=self._session_ms // 10,
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=MAX_POLL_MS,
            max_poll_records=500,
            fetch_max_wait_ms=FETCH_MS,
            max_partition_fetch_bytes=1_048_576,
            metadata_max_age_ms=60_000,
        )
        self.failed = None
        client.subscribe([self._topic], listener=_Listener(self))
        try:
            await client.start()
            while not self.stopping.is_set():
                await self._turn(client)
                self._trouble = ""
        finally:
            self.epochs.clear()
            self.places.clear()
            await within(client.stop(), STOP_WITHIN)

    async def _turn(self, client: AIOKafkaConsumer) -> None:
        generation = self.generation
        fetched = await client.getmany(timeout_ms=FETCH_MS, max_records=BATCH)
        if self.failed is not None:
            raise Unavailable(f"a rebalance failed: {type(self.failed).__name__}") from self.failed
        if not fetched:
            return
        async with self.busy:
            if generation == self.generation:
                await self._handle(client, fetched)
                behind = [(client.highwater(partition) or place) - place for partition, place in self.places.items()]
                LAG.labels(self._consumer.topic).set(sum(behind))
                return
            for partition, place in self.places.items():
                client.seek(partition, place)

    async def _handle(self, client: AIOKafkaConsumer, fetched: dict[TopicPartition, list[Any]]) -> None:
        """One transaction for what was fetched from all partitions that are (still) ours."""
        batch: list[Record] = []
        moves: list[tuple[TopicPartition, int, int]] = []
        for partition, messages in fetched.items():
            place = self.places.get(partition)
            if place is None:
                continue
            batch += [_record(self._consumer.topic, m) for m in messages]
            moves.append((partition, place, messages[-1].offset + 1))
        if not batch:
            return

        async def advance(tx: Transaction) -> None:
            for partition, before, after in moves:
                await advance_offset(tx, self._group, partition, before, after, self.epochs[partition])

        try:
            await self._loop.handle(batch, advance)
        except Unavailable:
            # Fetched is not handled: read it again from where the database says.
            for partition, before, _ in moves:
                client.seek(partition, before)
            self._trouble = f"{self._group}: the database is away"
            await asyncio.sleep(0.5)
            return
        for partition, _, after in moves:
            self.places[partition] = after

    async def take_over(self, partitions: list[TopicPartition]) -> None:
        """Raises the epoch of each partition, which fences its former owner, and goes to the stored offset."""
        assert self._client is not None
        if not partitions:
            return
        beginning = await self._client.beginning_offsets(partitions)
        end = await self._client.end_offsets(partitions)

        async def work(tx: Transaction) -> dict[TopicPartition, tuple[int, int]]:
            return {p: await own(tx, self._group, p, beginning[p]) for p in sorted(partitions)}

        for partition, (place, epoch) in (await self._consumer.database.retrying(work)).items():
            if not beginning[partition] <= place <= end[partition]:
                self._lose(partition, place, beginning[partition], end[partition])
                continue
            self._lost.pop(partition, None)
            self.epochs[partition], self.places[partition] = epoch, place
            self._client.seek(partition, place)

    def _lose(self, partition: TopicPartition, place: int, first: int, last: int) -> None:
        """The partition is not started: going on would pass over events in silence."""
        assert self._client is not None
        self._client.pause(partition)
        error = EventsLost(
            f"{self._group} stands at {place} of {partition.topic}/{partition.partition}, the log has {first} to "
            f"{last}: `dragoman offsets accept-gap` with group, topic and partition goes on without what is missing"
        )
        self._lost[partition] = str(error)
        log.error("%s", error)


def _record(topic: str, message: Any) -> Record:
    headers = {name: value.decode("utf-8", "replace") for name, value in message.headers}
    key = message.key.decode("utf-8", "replace") if message.key is not None else ""
    return Record(topic, key, headers, message.value or b"", message.partition)


async def own(tx: Transaction, group: str, partition: TopicPartition, beginning: int) -> tuple[int, int]:
    """The stored place of a partition, at first its beginning, and the epoch that is ours from now on."""
    row = await tx.fetchrow(
        """
        INSERT INTO bus.consumer_offset AS o (group_id, topic, partition, next_offset, owner_epoch)
        VALUES ($1, $2, $3, $4, 1)
        ON CONFLICT (group_id, topic, partition) DO UPDATE SET owner_epoch = o.owner_epoch + 1
        RETURNING next_offset, owner_epoch
        """,
        group,
        partition.topic,
        partition.partition,
        beginning,
    )
    assert row is not None
    return row["next_offset"], row["owner_epoch"]


async def advance_offset(
    tx: Transaction, group: str, partition: TopicPartition, before: int, after: int, epoch: int
) -> None:
    """Raises Fenced where somebody else owns the partition by now, or its place is not where we left it."""
    moved = await tx.execute(
        "UPDATE bus.consumer_offset SET next_offset = $5 "
        "WHERE group_id = $1 AND topic = $2 AND partition = $3 AND next_offset = $4 AND owner_epoch = $6",
        group,
        partition.topic,
        partition.partition,
        before,
        after,
        epoch,
    )
    if not moved:
        raise Fenced(f"{partition.topic}/{partition.partition} of {group} belongs to another process now")


def bus_of(settings: Settings) -> KafkaBus:
    """Raises InboxMisconfigured where no brokers are named."""
    if not settings.kafka_bootstrap:
        raise InboxMisconfigured("set DRAGOMAN_KAFKA_BOOTSTRAP to the brokers' addresses", code="no_kafka_bootstrap")
    return KafkaBus(settings.kafka_bootstrap, settings.kafka_prefix, settings.kafka_session)


async def accept_gap(settings: Settings, database: Database, group: str, topic: str, partition: int) -> str:
    """Moves a stored offset that lies outside the log to the log's nearest end."""
    target = TopicPartition(topic, partition)
    client = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    try:
        await client.start()
        first = (await client.beginning_offsets([target]))[target]
        last = (await client.end_offsets([target]))[target]
    except KafkaError as error:
        raise Unavailable(f"the brokers do not answer: {type(error).__name__}") from error
    finally:
        await within(client.stop(), STOP_WITHIN)

    async def work(tx: Transaction) -> str:
        place = await tx.fetchval(
            "SELECT next_offset FROM bus.consumer_offset WHERE group_id = $1 AND topic = $2 AND partition = $3",
            group, topic, partition,
        )  # fmt: skip
        if place is None:
            return "nothing is stored for this group, topic and partition"
        if first <= place <= last:
            return f"{place} lies within the log ({first} to {last}): nothing to accept"
        to = first if place < first else last
        await tx.execute(
            "UPDATE bus.consumer_offset SET next_offset = $4, owner_epoch = owner_epoch + 1 "
            "WHERE group_id = $1 AND topic = $2 AND partition = $3",
            group, topic, partition, to,
        )  # fmt: skip
        return f"{group} goes on at {to} instead of {place}; restart its processes"

    return await database.retrying(work)
