"""Plans: the ranked pools to try, each once its share of the time allowed is used up. And which policies hold."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from services.router.domain.hours import Hours
from shared.accounts import Inbox

Level = Literal["native", "fluent"]
# Whose rule it is: what the brand was promised, or what a marketplace demands of it. One of each may hold at once.
Family = Literal["contract", "marketplace"]

BONUS_PER_PRIORITY = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    id: UUID
    handle: str
    name: str
    role: str
    capacity: int
    brands: frozenset[UUID]
    # What the OpenID issuer calls them where that is not their handle.
    subject: str | None = None
    is_active: bool = True
    # E.164; only who has one is called.
    phone: str | None = None
    # In which they are spoken to by machines.
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Agents who serve a language; empty `brands` or `channels` mean all."""

    id: UUID
    handle: str
    name: str
    language: str | None
    brands: frozenset[UUID] = frozenset()
    channels: frozenset[str] = frozenset()
    members: Mapping[UUID, Level] = field(default_factory=dict)

    def serves(self, brand_id: UUID, channel: str) -> bool:
        return (not self.brands or brand_id in self.brands) and (not self.channels or channel in self.channels)


@dataclass(frozen=True, slots=True)
class Step:
    """`after` is the share of the time allowed after which this pool is asked too."""

    pool_id: UUID
    after: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    id: UUID
    handle: str
    steps: Sequence[Step]
    brand_id: UUID | None = None
    language: str | None = None
    channel: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The targets of a family for a brand, channel and country (None: any), in open time of `hours` (None: always).

    `next_response` counts once the customer had an answer; without one `first_response` holds on.
    """

    id: UUID
    handle: str
    first_response: timedelta
    warn_before: timedelta
    next_response: timedelta | None = None
    family: Family = "contract"
    hours: Hours | None = None
    brand_id: UUID | None = None
    channel: str | None = None
    country: str | None = None

    @property
    def is_last_resort(self) -> bool:
        return (self.brand_id, self.channel, self.country) == (None, None, None)


# Where no policy says otherwise: eight hours, the contract's usual answer to an e-mail.
DEFAULT_POLICY = Policy(id=UUID(int=0), handle="", first_response=timedelta(hours=8), warn_before=timedelta(hours=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the router decides by, at one revision."""

    revision: int = -1
    inboxes: Mapping[UUID, Inbox] = field(default_factory=dict)
    brand_names: Mapping[UUID, str] = field(default_factory=dict)
    agents: Mapping[UUID, Agent] = field(default_factory=dict)
    pools: Mapping[UUID, Pool] = field(default_factory=dict)
    plans: Sequence[Plan] = ()
    policies: Sequence[Policy] = ()

    @property
    def languages(self) -> frozenset[str]:
        """The languages that somebody serves."""
        return frozenset(pool.language for pool in self.pools.values() if pool.language)

    def languages_of(self, agent_id: UUID) -> frozenset[str]:
        """What the agent serves."""
        pools = self.pools.values()
        return frozenset(pool.language for pool in pools if pool.language and agent_id in pool.members)

    def serves(self, agent_id: UUID, brands: Collection[UUID]) -> bool:
        """Whether the agent works for one of these brands."""
        agent = self.agents.get(agent_id)
        return agent is not None and agent.is_active and not agent.brands.isdisjoint(brands)

    def plan(self, plan_id: UUID | None) -> Plan | None:
        """The plan of this id; a pool is a plan of its own, for what was given to that pool by hand."""
        found = next((plan for plan in self.plans if plan.id == plan_id), None)
        pool = self.pools.get(plan_id) if found is None and plan_id else None
        if pool is None:
            return found
        return Plan(id=pool.id, handle=pool.handle, language=pool.language, steps=[Step(pool.id, 0.0)])


def _matches(rule: UUID | str | None, value: UUID | str | None) -> bool:
    return rule is None or rule == value


def choose_plan(configuration: Configuration, brand_id: UUID, language: str | None, channel: str) -> Plan | None:
    """The most specific plan that fits; language counts most, then brand, then channel.

    A plan none of whose pools serves this brand and channel does not fit.
    """
    fitting = [
        plan
        for plan in configuration.plans
        if _matches(plan.brand_id, brand_id)
        and _matches(plan.language, language)
        and _matches(plan.channel, channel)
        and steps_for(configuration, plan, brand_id, channel)
    ]
    return max(fitting, key=_specificity, default=None)


def by_hand(configuration: Configuration, pool_id: UUID | None, brand_id: UUID, channel: str) -> Plan | None:
    """The plan of what somebody gave to this pool; None where it is no pool that serves this brand and channel."""
    pool = configuration.pools.get(pool_id) if pool_id else None
    return configuration.plan(pool.id) if pool and pool.serves(brand_id, channel) else None


def _specificity(plan: Plan) -> tuple[bool, bool, bool, str]:
    # The handle only makes the choice the same everywhere.
    return plan.language is not None, plan.brand_id is not None, plan.channel is not None, plan.handle


def steps_for(configuration: Configuration, plan: Plan, brand_id: UUID, channel: str) -> list[Step]:
    """The steps of the plan whose pool serves this brand and channel, in their order."""
    pools = configuration.pools
    return [s for s in plan.steps if s.pool_id in pools and pools[s.pool_id].serves(brand_id, channel)]


def choose_policies(
    configuration: Configuration, brand_id: UUID, channel: str, country: str | None
) -> Sequence[Policy]:
    """The most specific policy of each family, never none; brand counts most, then channel, then country.

    One for every brand, channel and country is the last resort: it gives way to any other, of the other family too.
    """
    fitting = [
        policy
        for policy in configuration.policies
        if _matches(policy.brand_id, brand_id)
        and _matches(policy.channel, channel)
        and _matches(policy.country, country)
    ]
    specific = [policy for policy in fitting if not policy.is_last_resort] or fitting
    chosen = {policy.family: policy for policy in sorted(specific, key=_precision)}
    return [chosen[family] for family in sorted(chosen)] or [DEFAULT_POLICY]


def _precision(policy: Policy) -> tuple[bool, bool, bool, str]:
    return policy.brand_id is not None, policy.channel is not None, policy.country is not None, policy.handle


def reached(steps: Sequence[Step], since: datetime, due_at: datetime, now: datetime) -> tuple[int, datetime | None]:
    """The last step whose share of the time from `since` to `due_at` is used up, and when the next one is.

    The first step is always reached.
    """
    allowed = max(due_at - since, timedelta(0))
    current = 0
    for position, step in enumerate(steps[1:], start=1):
        at = since + allowed * step.after
        if at > now:
            return current, at
        current = position
    return current, None


def sort_at(due_at: datetime, priority: int) -> datetime:
    """The queue's order: changed by events only, so what comes later with the same target is due later."""
    return due_at - BONUS_PER_PRIORITY * priority
