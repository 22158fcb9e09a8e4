"""What happens because time passed: deadlines near and missed, steps of a plan, lapsed offers, vanished agents."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from typing import Literal
from uuid import UUID

import asyncpg

from services.router import callbacks, metrics
from services.router.dispatch import Dispatcher
from services.router.domain import alerts
from services.router.domain.conversation import Change, Conversation, DeadlinePassed, Lapsed, StepReached
from services.router.domain.plan import Configuration, reached, steps_for
from services.router.queueing import enqueue
from services.router.store import agents, clocks, conversations, measures, seen
from services.router.store import callbacks as wishes
from services.router.store.configuration import ConfigurationCache
from shared.background import background
from shared.bus import outbox
from shared.db.transaction import Database, Transaction
from shared.errors import Unavailable
from shared.events import Event, QueueStalled, encode
from shared.ids import derived_id

log = logging.getLogger(__name__)

ACTOR = "time"
SWEEP_EVERY = 1.0
MOST = 500
# So many offers let lapse in a row, and the agent is taken for absent.
AWAY_AFTER_LAPSES = 3
STALLED_AFTER = timedelta(minutes=1)
FORGET_EVERY = timedelta(minutes=10)
# Longer than any vendor delivers again; an Idempotency-Key holds for a day.
KEEP_SEEN, KEEP_ANSWERS = timedelta(days=400), timedelta(hours=24)
TELL_STALLED_EVERY = timedelta(minutes=10)
MEASURE_EVERY = timedelta(seconds=10)

Job = Callable[[Transaction, Configuration], Awaitable[int]]


async def tell_deadlines(tx: Transaction, configuration: Configuration, address: str = "") -> int:
    """Each near or missed deadline once: history, mark on the clock and alert in one transaction.

    `address` is how the world reaches us, for the links of the alerts.
    """
    due = await clocks.passing(tx, MOST)
    if not due:
        return 0
    locked = await conversations.lock(tx, {passed.conversation_id for passed in due}, skip_locked=True)
    changes = {id_: Change.of(c, tx.now) for id_, c in locked.items()}
    told = [p for p in await clocks.still_passing(tx, due) if p.conversation_id in changes]
    for passed in told:
        _tell(changes[passed.conversation_id], passed, configuration, address)
    await conversations.save(tx, list(changes.values()), configuration)
    tx.after_commit(partial(_count, told, {id_: c.channel for id_, c in locked.items()}, tx.now))
    return len(told)


def _tell(change: Change, passed: clocks.Passing, configuration: Configuration, address: str) -> None:
    c, clock = change.after, passed.clock
    what: Literal["near", "missed"] = "near" if passed.what == "near" else "missed"
    change.record(DeadlinePassed(clock_id=clock.id, what=what, due_at=clock.due_at), ACTOR)
    change.emit(alerts.of_deadline(c, clock, what, change.now, configuration, address), key=str(c.brand_id))


def _count(told: Sequence[clocks.Passing], channels: Mapping[UUID, str], now: datetime) -> None:
    for passed in told:
        metrics.DEADLINES.labels(channels[passed.conversation_id], passed.clock.target, passed.what).inc()
        metrics.ALERT_DELAY.observe(max(0.0, (now - passed.since).total_seconds()))


async def reach_steps(tx: Transaction, configuration: Configuration) -> int:
    """The next pools of a plan are asked too, once their share of the time is used up."""
    locked = await conversations.lock(tx, await clocks.steps_due(tx, MOST), skip_locked=True)
    changes = [Change.of(c, tx.now) for c in locked.values() if c.state == "waiting" and c.next_step_at is not None]
    for change in changes:
        _reach(change, configuration)
    await conversations.save(tx, changes, configuration)
    return len(changes)


def _reach(change: Change, configuration: Configuration) -> None:
    c = change.after
    plan = configuration.plan(c.plan_id)
    if plan is None:
        # The configuration no longer has it: queue anew by what there is now.
        return enqueue(change, configuration, "its plan is gone", change.now)
    steps = steps_for(configuration, plan, c.brand_id, c.channel)
    since = c.unanswered_since or c.queued_at or change.now
    due_at = c.due_at or conversations.order_of(c, configuration)
    step, next_step_at = reached(steps, since, due_at, change.now)
    change.record(StepReached(step=step, next_step_at=next_step_at), ACTOR)
    return None


async def lapse_offers(tx: Transaction, configuration: Configuration) -> int:
    """Back into the queue with its age; whoever lets offers lapse again and again is set away."""
    locked = await conversations.lock(tx, await clocks.offers_lapsed(tx, MOST), skip_locked=True)
    changes = [Change.of(c, tx.now) for c in locked.values() if c.state == "offered"]
    lapsed_by = [_back(change, configuration, "the offer lapsed") for change in changes]
    await conversations.save(tx, changes, configuration)
    if lapsed_by:
        for agent_id in await agents.count_lapse(tx, sorted(set(lapsed_by)), AWAY_AFTER_LAPSES):
            log.info("agent %s let %s offers lapse in a row and is set away", agent_id, AWAY_AFTER_LAPSES)
    return len(changes)


async def requeue_abandoned(tx: Transaction, configuration: Configuration) -> int:
    """An agent who vanished keeps nothing waiting."""
    locked = await conversations.lock(tx, await clocks.abandoned(tx, MOST), skip_locked=True)
    present = await agents.presences(tx, [c.agent_id for c in locked.values() if c.agent_id])
    changes = [Change.of(c, tx.now) for c in locked.values() if _is_abandoned(c, present, tx.now)]
    for change in changes:
        _back(change, configuration, "the agent is gone")
    await conversations.save(tx, changes, configuration)
    return len(changes)


async def call_back(tx: Transaction, configuration: Configuration) -> int:
    """Callbacks whose time has come wait for an agent; those whose hours are over wait for the next ones."""
    locked = await conversations.lock(tx, await wishes.due(tx, MOST), skip_locked=True)
    changes = {id_: Change.of(c, tx.now) for id_, c in locked.items()}
    wished = [w for w in (await wishes.latest(tx, sorted(locked))).values() if _is_due(w, tx.now)]
    for callback in wished:
        callbacks.come_due(changes[callback.conversation_id], callback, configuration)
    await conversations.save(tx, list(changes.values()), configuration)
    await wishes.save(tx, wished)
    return len(wished)


def _is_due(callback: wishes.Callback, now: datetime) -> bool:
    return callback.state in ("scheduled", "queued") and callback.next_at is not None and callback.next_at <= now


def _is_abandoned(c: Conversation, present: dict[UUID, agents.Presence], now: datetime) -> bool:
    if c.agent_id is None or (c.state == "assigned" and c.unanswered_since is None):
        return False
    presence = present.get(c.agent_id)
    return presence is None or presence.until <= now


def _back(change: Change, configuration: Configuration, because: str) -> UUID:
    agent_id = change.after.agent_id
    assert agent_id is not None
    if change.after.state == "offered":
        change.record(Lapsed(agent_id=agent_id), ACTOR)
    enqueue(change, configuration, because, change.now, pool_id=change.after.plan_id)
    return agent_id


class Timers:
    """Sweeps once a second; each job is a short transaction of its own, and several routers do not get in the way."""

    def __init__(self, database: Database, cache: ConfigurationCache, dispatcher: Dispatcher, address: str) -> None:
        self._database = database
        self._cache = cache
        self._dispatcher = dispatcher
        self._address = address
        self._stalled_told: dict[UUID, tuple[datetime, int]] = {}
        self._forgot_at: datetime | None = None
        self._measured_at: datetime | None = None
        self.trouble = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with background(self._run(), "timers"):
            yield

    async def _run(self) -> None:
        jobs: Iterable[Job] = (
            partial(tell_deadlines, address=self._address), reach_steps, lapse_offers, requeue_abandoned, call_back,
            self._look_after,
        )  # fmt: skip
        while True:
            await asyncio.sleep(SWEEP_EVERY)
            try:
                for job in jobs:
                    await self._do(job)
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                # A statement that the database refuses must not end the task in silence.
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"timers wait: {why}"
                log.warning("%s", self.trouble, exc_info=None if error is why else error)

    async def _do(self, job: Job) -> None:
        async def work(tx: Transaction) -> int:
            return await job(tx, await self._cache.current(tx))

        if await self._database.retrying(work):
            self._dispatcher.hint()

    async def _look_after(self, tx: Transaction, _configuration: Configuration) -> int:
        """What belongs to no conversation: queues that nobody serves, what is past its time, the cell's figures."""
        told = await self._tell_stalled(tx)
        if self._forgot_at is None or tx.now - self._forgot_at >= FORGET_EVERY:
            self._forgot_at = tx.now
            await seen.forget(tx, tx.now - KEEP_SEEN, tx.now - KEEP_ANSWERS)
        if self._measured_at is None or tx.now - self._measured_at >= MEASURE_EVERY:
            self._measured_at = tx.now
            await measures.take(tx)
        return told

    async def _tell_stalled(self, tx: Transaction) -> int:
        """Queues that nobody serves, at most every ten minutes each: several routers tell the same event."""
        told = []
        for row in await clocks.stalled(tx):
            pool_id, oldest_at = row["pool_id"], row["oldest_at"]
            spell = (oldest_at, (tx.now - oldest_at) // TELL_STALLED_EVERY)
            if tx.now - oldest_at < STALLED_AFTER or self._stalled_told.get(pool_id) == spell:
                continue
            self._stalled_told[pool_id] = spell
            alert = QueueStalled(pool_id=pool_id, waiting=row["waiting"], oldest_at=oldest_at, at=tx.now)
            id_ = derived_id("stalled", pool_id, oldest_at.isoformat(), spell[1])
            told.append(encode(Event(data=alert, key=str(pool_id), source="router", time=tx.now, id=id_)))
        await outbox.add(tx, conversations.SOURCE, told)
        return len(told)
