"""Who gets which waiting conversation: one pure function, the same for dispatch and for simulations."""

import heapq
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.router.domain.plan import Level

# The customer's last agent is preferred among equals for this long.
SAME_AGENT_WITHIN = timedelta(days=3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A conversation in the queues of `pools`: (pool, step of its plan)."""

    conversation_id: UUID
    brand_id: UUID
    sort_at: datetime
    queued_at: datetime
    weight: int
    pools: Sequence[tuple[UUID, int]]
    declined_by: frozenset[UUID] = frozenset()
    last_agent_id: UUID | None = None
    last_agent_at: datetime | None = None
    # Who takes it is called.
    needs_phone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeAgent:
    """An agent who is there, with `spare` units of capacity."""

    agent_id: UUID
    spare: int
    idle_since: datetime
    pools: Mapping[UUID, Level]
    brands: frozenset[UUID]
    has_phone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """An assignment and why: which pool, step and level, and who was passed over for what reason."""

    conversation_id: UUID
    agent_id: UUID
    pool_id: UUID
    step: int
    level: Level
    same_agent: bool = False
    spare_before: int = 0
    passed_over: Sequence[tuple[UUID, str]] = ()
    # More urgent conversations that nobody free could take, though a queue of theirs was served.
    overtook: Sequence[UUID] = ()


_Rank = tuple[int, datetime, UUID]


@dataclass(slots=True)
class _Floor:
    """The free agents while they are being given away."""

    agents: dict[UUID, FreeAgent]
    spare: dict[UUID, int]
    # Most spare capacity first, then longest idle; an entry whose capacity is outdated is skipped.
    heaps: dict[tuple[UUID, Level], list[_Rank]] = field(default_factory=dict)

    def candidates(self, pool: UUID, level: Level) -> Generator[FreeAgent, None, None]:
        """Best first. What is taken from the heap goes back at the end, so that skipping is not losing."""
        heap = self.heaps.get((pool, level), [])
        taken: list[_Rank] = []
        try:
            while heap:
                entry = heapq.heappop(heap)
                if -entry[0] != self.spare[entry[2]]:
                    continue
                taken.append(entry)
                yield self.agents[entry[2]]
        finally:
            for entry in taken:
                heapq.heappush(heap, entry)

    def give(self, agent: FreeAgent, weight: int) -> None:
        self.spare[agent.agent_id] -= weight
        if self.spare[agent.agent_id] > 0:
            self.push(agent)

    def push(self, agent: FreeAgent) -> None:
        entry = (-self.spare[agent.agent_id], agent.idle_since, agent.agent_id)
        for pool, level in agent.pools.items():
            heapq.heappush(self.heaps.setdefault((pool, level), []), entry)


def match(waiting: Sequence[Waiting], agents: Sequence[FreeAgent], now: datetime) -> list[Match]:
    """Gives the most urgent conversation its best agent, then the next; never above an agent's spare capacity.

    The result does not depend on the order of the arguments.
    """
    floor = _Floor({a.agent_id: a for a in agents}, {a.agent_id: a.spare for a in agents})
    for agent in agents:
        if agent.spare > 0:
            floor.push(agent)
    matches: list[Match] = []
    left: list[Waiting] = []
    for conversation in sorted(waiting, key=lambda w: (w.sort_at, w.queued_at, w.conversation_id)):
        found = _choose(conversation, floor, now)
        if found is None:
            left.append(conversation)
            continue
        floor.give(floor.agents[found.agent_id], conversation.weight)
        matches.append(_with_overtaken(found, left))
    return matches


def _with_overtaken(found: Match, left: Sequence[Waiting]) -> Match:
    overtook = [w.conversation_id for w in left if any(pool == found.pool_id for pool, _ in w.pools)]
    if not overtook:
        return found
    return replace(found, overtook=overtook)


def _choose(conversation: Waiting, floor: _Floor, now: datetime) -> Match | None:
    passed_over: list[tuple[UUID, str]] = []
    by_step = sorted(conversation.pools, key=lambda p: (p[1], p[0]))
    levels: tuple[Level, Level] = ("native", "fluent")
    for level in levels:
        for pool, step in by_step:
            same = _last_agent(conversation, floor, pool, level, now)
            agent = same or _first_eligible(conversation, floor.candidates(pool, level), floor, passed_over)
            if agent is not None:
                return Match(
                    conversation_id=conversation.conversation_id,
                    agent_id=agent.agent_id,
                    pool_id=pool,
                    step=step,
                    level=level,
                    same_agent=agent.agent_id == conversation.last_agent_id,
                    spare_before=floor.spare[agent.agent_id],
                    passed_over=tuple(passed_over),
                )
    return None


def _last_agent(conversation: Waiting, floor: _Floor, pool: UUID, level: Level, now: datetime) -> FreeAgent | None:
    agent = floor.agents.get(conversation.last_agent_id) if conversation.last_agent_id else None
    if agent is None or conversation.last_agent_at is None or now - conversation.last_agent_at > SAME_AGENT_WITHIN:
        return None
    fits = agent.pools.get(pool) == level and _objection(conversation, agent, floor) is None
    return agent if fits else None


def _first_eligible(
    conversation: Waiting,
    candidates: Generator[FreeAgent, None, None],
    floor: _Floor,
    passed_over: list[tuple[UUID, str]],
) -> FreeAgent | None:
    # Closed at once: what the heap gave must be back in it before the next look.
    with closing(candidates):
        for agent in candidates:
            why = _objection(conversation, agent, floor)
            if why is None:
                return agent
            passed_over.append((agent.agent_id, why))
    return None


def _objection(conversation: Waiting, agent: FreeAgent, floor: _Floor) -> str | None:
    if conversation.brand_id not in agent.brands:
        return "does not work for this brand"
    if agent.agent_id in conversation.declined_by:
        return "declined it in this round"
    if conversation.needs_phone and not agent.has_phone:
        return "has no phone"
    if floor.spare[agent.agent_id] < conversation.weight:
        return "too little capacity left"
    return None
