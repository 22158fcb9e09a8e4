"""Gives waiting conversations to free agents: one short round at a time per database, by whichever router wins it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg

from services.router.domain.conversation import Assigned, Change, Conversation, Offered
from services.router.domain.matching import FreeAgent, Match, Waiting, match
from services.router.domain.plan import Configuration
from services.router.store import agents, conversations, queue
from services.router.store.configuration import ConfigurationCache
from shared.background import background
from shared.channels.registry import CHANNELS
from shared.db.transaction import Database, Transaction
from shared.errors import Unavailable

log = logging.getLogger(__name__)

OFFER_LASTS = timedelta(seconds=45)
SWEEP_EVERY = 1.0
# A round looks this much deeper than the spare capacity, for what decliners and weights leave over.
DEEPER = 10
MOST_PER_POOL = 500
CALLED = frozenset(channel.name for channel in CHANNELS if channel.calls is not None)


async def dispatch_round(tx: Transaction, cache: ConfigurationCache, called: frozenset[str] = CALLED) -> int:
    """One round; how many conversations found somebody. Another router's round makes it 0.

    `called` are the channels on which whoever takes a conversation is called.
    """
    if not await queue.win_the_round(tx):
        return 0
    configuration = await cache.current(tx)
    there = [id_ for id_ in await agents.available(tx) if id_ in configuration.agents]
    if not there:
        return 0
    loads = await agents.loads(tx, there)
    per_pool = _depths(configuration, {id_: configuration.agents[id_].capacity - loads[id_] for id_ in there})
    urgent = await queue.most_urgent(tx, per_pool) if per_pool else []
    if not urgent:
        return 0
    held = await conversations.lock(tx, urgent, skip_locked=True)
    waiting_now = {id_: c for id_, c in held.items() if c.state == "waiting"}
    standings = await queue.standings(tx, sorted(waiting_now))
    last_agents = await queue.last_agents(tx, sorted(waiting_now))
    locked = await agents.lock_with_loads(tx, there)
    free = [
        _free(configuration, id_, presence.idle_since, load)
        for id_, (presence, load) in locked.items()
        if presence.is_there(tx.now)
    ]
    waiting = [
        _waiting(c, standings.get(c.id, ()), last_agents.get(c.id), configuration, called) for c in waiting_now.values()
    ]
    matches = match(waiting, free, tx.now)
    changes = [_change(waiting_now[m.conversation_id], m, configuration, tx) for m in matches]
    await conversations.save(tx, changes, configuration)
    if matches:
        await agents.busy(tx, sorted({m.agent_id for m in matches}))
    return len(matches)


def _depths(configuration: Configuration, spare: dict[UUID, int]) -> dict[UUID, int]:
    """How far to look into the queue of each pool that has a free agent."""
    depths: dict[UUID, int] = {}
    for pool in configuration.pools.values():
        units = sum(spare[id_] for id_ in pool.members if spare.get(id_, 0) > 0)
        if units:
            depths[pool.id] = min(units + DEEPER, MOST_PER_POOL)
    return depths


def _free(configuration: Configuration, agent_id: UUID, idle_since: datetime, load: int) -> FreeAgent:
    agent = configuration.agents[agent_id]
    return FreeAgent(
        agent_id=agent_id,
        spare=max(0, agent.capacity - load),
        idle_since=idle_since,
        pools={p.id: p.members[agent_id] for p in configuration.pools.values() if agent_id in p.members},
        brands=agent.brands,
        has_phone=agent.phone is not None,
    )


def _waiting(
    c: Conversation,
    pools: Sequence[tuple[UUID, int]],
    last_agent: tuple[UUID, datetime] | None,
    configuration: Configuration,
    called: frozenset[str],
) -> Waiting:
    return Waiting(
        conversation_id=c.id,
        brand_id=c.brand_id,
        sort_at=conversations.order_of(c, configuration),
        queued_at=c.queued_at or c.opened_at,
        weight=c.weight,
        pools=pools,
        declined_by=frozenset(c.declined_by),
        last_agent_id=last_agent[0] if last_agent else None,
        last_agent_at=last_agent[1] if last_agent else None,
        needs_phone=c.channel in called,
    )


def _change(c: Conversation, m: Match, configuration: Configuration, tx: Transaction) -> Change:
    """Chats and calls are held out to the agent, everything else is theirs at once."""
    change = Change.of(c, tx.now)
    if c.live:
        change.record(Offered(agent_id=m.agent_id, lapses_at=tx.now + OFFER_LASTS), "router")
    else:
        change.record(Assigned(agent_id=m.agent_id, because="dispatch"), "router")
    pool = configuration.pools[m.pool_id]
    change.explain(
        "agent",
        agent=m.agent_id,
        pool=pool.handle,
        language=pool.language,
        level=m.level,
        step=m.step,
        same_agent=m.same_agent,
        spare_before=m.spare_before,
        passed_over=[{"agent": agent, "why": why} for agent, why in m.passed_over],
        overtook=list(m.overtook),
        waited_seconds=round((tx.now - (c.queued_at or tx.now)).total_seconds(), 3),
    )
    return change


class Dispatcher:
    """Hints coalesce: one round runs, one waits; a sweep every second finds what no hint told of."""

    def __init__(self, database: Database, cache: ConfigurationCache) -> None:
        self._database = database
        self._cache = cache
        self._hinted = asyncio.Event()
        self.trouble = ""

    def hint(self) -> None:
        """Something changed that a round may use: an arrival, a free agent."""
        self._hinted.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with background(self._run(), "dispatch"):
            yield

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._hinted.wait()
            self._hinted.clear()
            try:
                while await self._database.retrying(self._round) >= MOST_PER_POOL:
                    pass
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                # A statement that the database refuses must not end the task in silence.
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"dispatch waits: {why}"
                log.warning("%s", self.trouble, exc_info=None if error is why else error)
                await asyncio.sleep(SWEEP_EVERY)

    async def _round(self, tx: Transaction) -> int:
        return await dispatch_round(tx, self._cache)
