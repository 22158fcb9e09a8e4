"""The live stream: changes from the database in the order of their commits, to every reader who may see them.

One tail per process, whatever the number of its readers. An event says that a conversation changed, never what was
written in it: whoever wants that asks the API, where the same rights hold.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from uuid import UUID

import asyncpg
import msgspec

from services.router import metrics
from services.router.store import agents, changes
from services.router.store.changes import ChangeRow
from services.router.store.conversations import SOURCE
from shared.background import background
from shared.bus import outbox
from shared.db.transaction import Database, Transaction
from shared.errors import Unavailable

log = logging.getLogger(__name__)

# Commits of other routers are found by looking this often; our own wake the tail at once.
LOOK_EVERY, LOOK_EVERY_ALONE = 0.1, 1.0
# A reader for whom so much waits is not reading: it asks again and begins anew.
MOST_PENDING = 2000
# Beyond so many missed changes it is cheaper to look at everything again.
MOST_MISSED = 10_000
HEARTBEAT, BEAT_EVERY = 15.0, 1.0
# The place of what is no change and belongs behind all of them.
LATER_THAN_ALL = 2**63
CHECK_EVERY = 5.0

_encode = msgspec.json.Encoder().encode
# Who the bearer of a token is now: agent and brands; None where it does not hold any more.
Recheck = Callable[[Transaction, Sequence[str]], Awaitable[dict[str, "Rights"]]]


@dataclass(frozen=True, slots=True)
class Rights:
    """What decides which changes a reader gets; `None` for brands would be all, so there is none."""

    brands: frozenset[UUID]
    agent_id: UUID | None


def event(change: ChangeRow) -> bytes:
    """One event of the stream (HTML Living Standard, server-sent events): its id is the change's `seq`."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (change.seq, change.kind.encode(), _encode(change))


def resync(seq: int) -> bytes:
    """Tells a reader that something was missed: it looks at everything again, which is then as new as `seq`."""
    return b'id: %d\nevent: resync\ndata: {"seq":%d}\n\n' % (seq, seq)


@dataclass(eq=False, slots=True)
class Reader:
    """One open stream. With `only_own` it gets the changes of its agent's conversations alone."""

    token: str
    rights: Rights
    only_own: bool = False
    is_over: bool = False
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    told_at: float = 0.0
    _pending: list[tuple[int, bytes]] = field(default_factory=list)

    def sees(self, change: ChangeRow) -> bool:
        return change.brand_id in self.rights.brands and (not self.only_own or change.agent_id == self.rights.agent_id)

    def offer(self, seq: int, data: bytes) -> None:
        """Puts it behind what waits; a reader who does not read is closed with `resync`."""
        if self.is_over:
            return
        if len(self._pending) >= MOST_PENDING:
            metrics.STREAMS_CUT.inc()
            self._pending = [(seq, resync(seq))]
            self.is_over = True
        else:
            self._pending.append((seq, data))
        self.woken.set()

    def beat(self) -> None:
        """Tells a reader for whom nothing waits that the stream stands."""
        self.told_at = asyncio.get_running_loop().time()
        if not self._pending:
            self._pending.append((LATER_THAN_ALL, b": heartbeat\n\n"))
            self.woken.set()

    def close(self) -> None:
        self.is_over = True
        self.woken.set()

    def take(self, after: int) -> bytes:
        """Everything that waits, but what came up to `after`."""
        taken, self._pending = self._pending, []
        self.woken.clear()
        self.told_at = asyncio.get_running_loop().time()
        return b"".join(data for seq, data in taken if seq > after)


class Stream:
    """The tail of this process, and its readers."""

    def __init__(self, database: Database, recheck: Recheck, stopping: asyncio.Event, *, alone: bool) -> None:
        self._database = database
        self._recheck = recheck
        self._stopping = stopping
        self._look_every = LOOK_EVERY_ALONE if alone else LOOK_EVERY
        self._woken = asyncio.Event()
        self._readers: set[Reader] = set()
        self._last = 0
        self._next_heartbeat = self._next_check = 0.0
        self.trouble = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # Before anybody reads: a place that is read later might lie behind what a reader was promised.
        _, self._last = await self._database.retrying(changes.bounds)
        async with AsyncExitStack() as stack:
            stack.enter_context(outbox.waking(SOURCE, self._woken))
            await stack.enter_async_context(background(self._tail(), "stream"))
            await stack.enter_async_context(background(self._beat(), "stream's heartbeat"))
            await stack.enter_async_context(background(self._end_with_the_process(), "stream's end"))
            try:
                yield
            finally:
                self._end()

    async def _end_with_the_process(self) -> None:
        # The server waits for open streams before it goes.
        await self._stopping.wait()
        self._end()

    def _end(self) -> None:
        for reader in self._readers:
            reader.close()

    @asynccontextmanager
    async def reading(self, reader: Reader, after: int | None) -> AsyncIterator[AsyncIterator[bytes]]:
        """The reader's stream: what came after `after` (None: from now on), then what comes."""
        reader.told_at = asyncio.get_running_loop().time()
        self._readers.add(reader)
        metrics.STREAMS.set(len(self._readers))
        try:
            yield self._events(reader, after)
        finally:
            self._readers.discard(reader)
            metrics.STREAMS.set(len(self._readers))

    async def _events(self, reader: Reader, after: int | None) -> AsyncIterator[bytes]:
        place, missed = await self._catch_up(reader, after)
        yield b"retry: 1000\n\n" + missed
        while not self._stopping.is_set():
            await reader.woken.wait()
            waiting = reader.take(place)
            if waiting:
                yield waiting
            if reader.is_over:
                return

    async def _beat(self) -> None:
        """One timer for all readers: whoever heard nothing for so long is told that the stream stands."""
        while True:
            await asyncio.sleep(BEAT_EVERY)
            due = asyncio.get_running_loop().time() - HEARTBEAT
            for reader in self._readers:
                if reader.told_at <= due:
                    reader.beat()

    async def _catch_up(self, reader: Reader, after: int | None) -> tuple[int, bytes]:
        """How far the reader is then, and the events up to there. It is attached already, so nothing falls between."""
        own = reader.rights.agent_id if reader.only_own else None

        async def work(tx: Transaction) -> tuple[int, bytes]:
            oldest, newest = await changes.bounds(tx)
            if after is None:
                return newest, b'id: %d\nevent: begin\ndata: {"seq":%d}\n\n' % (newest, newest)
            if not oldest <= after <= newest:
                return newest, resync(newest)
            missed = await changes.since(tx, after, MOST_MISSED + 1, list(reader.rights.brands), own)
            if len(missed) > MOST_MISSED:
                return newest, resync(newest)
            # Not `newest`: the sequence is ahead of what can be read until whoever numbers has committed.
            return missed[-1].seq if missed else after, b"".join(map(event, missed))

        return await self._database.retrying(work)

    async def _tail(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every):
                    await self._woken.wait()
            self._woken.clear()
            try:
                if self._is_tending() or await changes.wait(self._database, self._last):
                    await self._database.retrying(self._look)
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                self.trouble = f"the live stream stands still: {type(error).__name__}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(0.5)
                self._woken.set()

    def _is_tending(self) -> bool:
        return bool(self._readers) and asyncio.get_running_loop().time() >= min(self._next_heartbeat, self._next_check)

    async def _look(self, tx: Transaction) -> None:
        more = await changes.number(tx)
        found = await changes.since(tx, self._last, changes.CHUNK)
        await self._tend(tx)
        tx.after_commit(lambda: self._spread(found, more=more))

    def _spread(self, found: Sequence[ChangeRow], *, more: bool) -> None:
        for change in found:
            data = event(change)
            for reader in self._readers:
                if reader.sees(change):
                    reader.offer(change.seq, data)
        if found:
            self._last = max(self._last, found[-1].seq)
        if more or len(found) == changes.CHUNK:
            self._woken.set()

    async def _tend(self, tx: Transaction) -> None:
        """Keeps agents with an open stream present, and closes the streams of whoever may not read any more."""
        now = asyncio.get_running_loop().time()
        if self._readers and now >= self._next_heartbeat:
            self._next_heartbeat = now + HEARTBEAT
            await agents.keep_present(tx, list({r.rights.agent_id for r in self._readers if r.rights.agent_id}))
        if self._readers and now >= self._next_check:
            self._next_check = now + CHECK_EVERY
            rights = await self._recheck(tx, list({reader.token for reader in self._readers}))
            for reader in self._readers:
                found = rights.get(reader.token)
                if found is None:
                    reader.close()
                else:
                    reader.rights = found
