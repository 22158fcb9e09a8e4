"""What a table-owning service publishes: written in its transaction, carried to the bus by a relay.

The order of a key is kept: one relay per shard (a lease), rows of a shard in the order of their ids.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from zlib import crc32

import asyncpg

from shared.bus.contract import Bus, publish_in_time
from shared.db import lease as leases
from shared.db.transaction import Database, Transaction
from shared.errors import Fenced, Unavailable
from shared.events import Record
from shared.ids import new_id
from shared.tracing import carried

log = logging.getLogger(__name__)

SHARDS = 4
LEASE = timedelta(seconds=10)
# Commits of other processes are found by looking at an empty index this often; our own wake the relay at once.
LOOK_EVERY = 0.02
# Who found nothing for a while looks less often: a look costs as much as an idle process has of anything else.
IDLE_AFTER, LOOK_EVERY_IDLE = 1.0, 0.05
# In one process every commit wakes the relay, so looking is only for what a crash left.
LOOK_EVERY_ALONE = 1.0
CHUNK = 500
KEEP = timedelta(hours=24)

_wakers: dict[str, list[asyncio.Event]] = {}


async def add(tx: Transaction, source: str, records: Sequence[Record]) -> None:
    """Writes the records into the outbox of `source`; they leave once the transaction is committed."""
    if not records:
        return
    records = carried(records)
    await tx.execute(
        """
        INSERT INTO bus.outbox (source, shard, topic, key, headers, value, brand_id, created_at)
        SELECT $1, shard, topic, key, headers, value, brand_id, $8
        FROM unnest($2::smallint[], $3::text[], $4::text[], $5::jsonb[], $6::bytea[], $7::uuid[])
             WITH ORDINALITY AS r (shard, topic, key, headers, value, brand_id, n)
        ORDER BY n
        """,
        source,
        [crc32(record.key.encode()) % SHARDS for record in records],
        [record.topic for record in records],
        [record.key for record in records],
        [dict(record.headers) for record in records],
        [record.value for record in records],
        [record.headers.get("ce_brandid") for record in records],
        tx.now,
    )
    tx.after_commit(lambda: wake(source))


def wake(source: str) -> None:
    """Tells this process's relay of `source` that there is work."""
    for event in _wakers.get(source, ()):
        event.set()


@contextmanager
def waking(source: str, event: asyncio.Event) -> Iterator[None]:
    """Sets the event, too, whenever this process wrote something into the outbox of `source`."""
    _wakers.setdefault(source, []).append(event)
    try:
        yield
    finally:
        _wakers[source].remove(event)


class Relay:
    """Carries the outbox of one source to the bus."""

    def __init__(self, database: Database, bus: Bus, source: str, *, alone: bool) -> None:
        self._database = database
        self._bus = bus
        self._source = source
        self._holder = f"{source}-{new_id()}"
        self._alone = alone
        self._woken = asyncio.Event()
        self._idle_at = 0.0
        self._held: dict[int, tuple[leases.Lease, float]] = {}
        self._retry_at: dict[int, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._next_purge = 0.0
        self.trouble = ""

    async def start(self) -> None:
        _wakers.setdefault(self._source, []).append(self._woken)
        self._woken.set()
        self._task = asyncio.create_task(self._run(), name=f"relay {self._source}")

    async def stop(self) -> None:
        """What is left goes out after the next start."""
        _wakers[self._source].remove(self._woken)
        if self._task is None:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        for held, _ in self._held.values():
            with suppress(Unavailable):
                await leases.release(self._database, held)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every()):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._renew()
                if self._held and await self._round():
                    self._woken.set()
                await self._purge()
                self.trouble = ""
            except Fenced:
                self._held.clear()
            except (Unavailable, asyncpg.PostgresError) as error:
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"the outbox of {self._source} does not drain: {why}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(0.5)
                self._woken.set()

    def _look_every(self) -> float:
        if self._alone:
            return LOOK_EVERY_ALONE
        return LOOK_EVERY_IDLE if asyncio.get_running_loop().time() >= self._idle_at else LOOK_EVERY

    async def _renew(self) -> None:
        """Keeps the leases of the shards that are free or ours; each is prolonged at half its time."""
        now = asyncio.get_running_loop().time()
        for shard in range(SHARDS):
            held = self._held.get(shard)
            if held is not None and now < held[1]:
                continue
            # A shard that somebody else holds is asked for now and then, not at every look.
            if held is None and now < self._retry_at.get(shard, 0.0):
                continue
            got = await leases.acquire(self._database, f"relay:{self._source}:{shard}", self._holder, LEASE)
            self._retry_at[shard] = now + 1.0
            if got is None:
                self._held.pop(shard, None)
            else:
                self._held[shard] = (got, now + LEASE.total_seconds() / 2)

    async def _round(self) -> bool:
        """Publishes what waits in our shards; true where there may be more. No transaction is open meanwhile."""
        rows = await self._database.look(
            """
            SELECT w.id, w.shard, w.topic, w.key, w.headers, w.value
            FROM unnest($2::smallint[]) AS s (shard)
            CROSS JOIN LATERAL (
                SELECT * FROM bus.outbox AS o
                WHERE o.source = $1 AND o.shard = s.shard AND o.published_at IS NULL
                ORDER BY o.id LIMIT $3
            ) AS w
            ORDER BY w.id
            """,
            self._source,
            list(self._held),
            CHUNK,
        )
        if not rows:
            return False
        self._idle_at = asyncio.get_running_loop().time() + IDLE_AFTER
        records = [Record(r["topic"], r["key"], r["headers"], r["value"]) for r in rows]
        await publish_in_time(self._bus, records)
        async with self._database.transaction() as tx:
            for held, _ in self._held.values():
                await leases.hold(tx, held)
            await tx.execute(
                "UPDATE bus.outbox SET published_at = $2 WHERE id = ANY ($1::bigint[])", [r["id"] for r in rows], tx.now
            )
        return len(rows) >= CHUNK

    async def _purge(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_purge or not self._held:
            return
        self._next_purge = now + 60
        async with self._database.transaction() as tx:
            await tx.execute("DELETE FROM bus.outbox WHERE published_at < $1", tx.now - KEEP)
