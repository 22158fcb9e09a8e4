"""Runs a service of a deliberately broken build: `python -m tests.faults.build BREAKAGE SERVICE`.

Each breakage is a mistake that somebody could make; the checker must turn red for each of them. All builds (the sound
one too) handle `inbound` slowly, so that a rebalance or a kill comes in the middle of a batch.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from aiokafka import TopicPartition

from services.ingest.outlet import Outlet
from services.responder import store
from services.router.inbound import Inbound
from shared.bus import kafka
from shared.bus.consumer import Loop
from shared.db.transaction import Transaction
from shared.events import Event, Record

SLOW = 0.25
_background: set[asyncio.Task[None]] = set()


def slow_handler() -> None:
    handle = Inbound.__call__

    async def slowly(self: Inbound, tx: Transaction, batch: Sequence[Event]) -> None:
        await handle(self, tx, batch)
        await asyncio.sleep(SLOW)

    Inbound.__call__ = slowly  # type: ignore[method-assign]


def ack_before_produce() -> None:
    """The vendor gets its 200 while the event is only in memory."""
    publish = Outlet.publish

    async def later(self: Outlet, records: Sequence[Record], within: float) -> None:
        await asyncio.sleep(SLOW)
        await publish(self, records, within)

    async def promise(self: Outlet, records: Sequence[Record], within: float) -> None:
        task = asyncio.create_task(later(self, records, within))
        _background.add(task)
        task.add_done_callback(_background.discard)

    Outlet.publish = promise  # type: ignore[method-assign]


def commit_before_effect() -> None:
    """The place in the log moves in a transaction of its own, before the handler's."""

    async def once(self: Loop, events: Sequence[Event], dead: Sequence[Any], advance: Any) -> None:
        async with self.consumer.database.transaction() as tx:
            await advance(tx)
        async with self.consumer.database.transaction() as tx:
            if events:
                await self.consumer.handler(tx, events)

    Loop._once = once  # type: ignore[method-assign]


def claim_without_lock() -> None:
    """Workers look for what waits and then take it, without a lock in between."""
    claim = store.claim

    async def unlocked(tx: Transaction, holder: str, *more: Any) -> list[store.Claimed]:
        waiting = [r["id"] for r in await tx.fetch("SELECT id FROM responder.part WHERE state = 'waiting'")]
        claimed = await claim(tx, holder, *more)
        await asyncio.sleep(0.1)
        missed = set(waiting) - {part.id for part in claimed}
        rows = await tx.fetch(
            "SELECT p.*, d.channel, d.command, d.expires_at, d.traceparent FROM responder.part AS p "
            "JOIN responder.delivery AS d USING (reply_id) WHERE p.id = ANY ($1::uuid[]) AND p.state <> 'waiting'",
            list(missed),
        )
        return claimed + [store._claimed(row) for row in rows]

    store.claim = unlocked  # type: ignore[assignment]


def ignore_revoke() -> None:
    """Goes on with a batch although its partitions were given to somebody else, and moves their place all the same."""
    revoked = 0

    async def carry_on(self: Any, _partitions: Any) -> None:
        nonlocal revoked
        revoked += 1
        self._reader.busy = asyncio.Lock()

    async def unfenced(
        tx: Transaction, group: str, partition: TopicPartition, before: int, after: int, epoch: int
    ) -> None:
        await tx.execute(
            "UPDATE bus.consumer_offset SET next_offset = $4 WHERE group_id = $1 AND topic = $2 AND partition = $3",
            group, partition.topic, partition.partition, after,
        )  # fmt: skip

    handle = Loop.handle

    async def late(self: Loop, records: Sequence[Record], advance: Any) -> None:
        """A process that stands still just when it loses its partitions: the next owner is through before it."""
        before = revoked
        await asyncio.sleep(0.4)
        if revoked != before:
            await asyncio.sleep(4)
        await handle(self, records, advance)

    Loop.handle = late  # type: ignore[method-assign]
    kafka._Listener.on_partitions_revoked = carry_on  # type: ignore[method-assign]
    kafka.advance_offset = unfenced  # type: ignore[assignment]


BREAKAGES = {
    "sound": lambda: None,
    "ack_before_produce": ack_before_produce,
    "commit_before_effect": commit_before_effect,
    "claim_without_lock": claim_without_lock,
    "ignore_revoke": ignore_revoke,
}

if __name__ == "__main__":
    from services.main import main

    slow_handler()
    BREAKAGES[sys.argv.pop(1)]()
    main()
