"""What no entry of the file can know alone: references, and things that may exist once only."""

import re
from collections.abc import Collection, Iterator, Mapping

from services.router.configuration.document import Path
from services.router.configuration.forms import Wanted
from services.router.store import catalogue

Mistake = tuple[Path, str]


def mistakes(wanted: Wanted, handles: Mapping[str, Collection[str]], channels: Collection[str]) -> Iterator[Mistake]:
    """Each with the place in the file that is to blame."""

    def known(section: str, path: Path, *named: str | None) -> Iterator[Mistake]:
        for handle in named:
            if handle is not None and handle not in handles.get(section, ()):
                yield path, f"there is no `{handle}` in {section}; add it there or mend the name"

    def channel(path: Path, *named: str | None) -> Iterator[Mistake]:
        for name in named:
            if name is not None and name not in channels:
                yield path, f"there is no channel `{name}`; there are {', '.join(sorted(channels))}"

    for handle, brand in wanted.brands.items():
        yield from known("clients", ("brands", handle, "client"), brand.client)
    for handle, account in wanted.accounts.items():
        yield from channel(("accounts", handle, "channel"), account.channel)
    for handle, inbox in wanted.inboxes.items():
        yield from known("brands", ("inboxes", handle, "brand"), inbox.brand)
        yield from known("accounts", ("inboxes", handle, "account"), inbox.account)
    for handle, agent in wanted.agents.items():
        yield from known("brands", ("agents", handle, "brands"), *agent.brands)
    for handle, pool in wanted.pools.items():
        yield from known("brands", ("pools", handle, "brands"), *pool.brands)
        yield from channel(("pools", handle, "channels"), *pool.channels)
        yield from known("agents", ("pools", handle, "native"), *pool.native)
        yield from known("agents", ("pools", handle, "fluent"), *pool.fluent)
    for handle, plan in wanted.plans.items():
        yield from known("brands", ("plans", handle, "brand"), plan.brand)
        yield from channel(("plans", handle, "channel"), plan.channel)
        for position, step in enumerate(plan.steps):
            yield from known("pools", ("plans", handle, "steps", position), step.pool)
    for handle, policy in wanted.policies.items():
        yield from known("brands", ("policies", handle, "brand"), policy.brand)
        yield from channel(("policies", handle, "channel"), policy.channel)
        yield from known("calendars", ("policies", handle, "calendar"), policy.calendar)
        calendar = wanted.calendars.get(policy.calendar or "")
        if calendar is not None and policy.longest > calendar.open_in_a_week * 52:
            yield ("policies", handle, "calendar"), "it is open for less than that in a year; mend the target"
    for handle, webhook in wanted.webhooks.items():
        yield from known("brands", ("webhooks", handle, "brands"), *webhook.brands)
    for handle, key in wanted.api_keys.items():
        yield from known("brands", ("api_keys", handle, "brands"), *key.brands)
        yield from known("agents", ("api_keys", handle, "agent"), key.agent)
    yield from _members(wanted)
    yield from _last_resort(wanted, handles)
    yield from _hook_tokens(wanted)
    yield from _doubles(wanted)


def _members(wanted: Wanted) -> Iterator[Mistake]:
    for handle, pool in wanted.pools.items():
        members = [*pool.native, *pool.fluent]
        for twice in sorted({agent for agent in members if members.count(agent) > 1}):
            yield ("pools", handle), f"`{twice}` stands in this pool twice; native or fluent, once"
        if pool.native and pool.language is None:
            yield ("pools", handle, "native"), "a pool without `language` has no native speakers; list them as fluent"


def _last_resort(wanted: Wanted, handles: Mapping[str, Collection[str]]) -> Iterator[Mistake]:
    """Whatever comes must have somewhere to wait."""
    if len(wanted.plans) < len(handles.get("plans", ())):
        return
    default = next((h for h, p in wanted.plans.items() if (p.brand, p.language, p.channel) == (None, None, None)), None)
    if default is None:
        yield ("plans",), "a plan without brand, language and channel is missing; add it as the last resort"
        return
    pools = [wanted.pools[step.pool] for step in wanted.plans[default].steps if step.pool in wanted.pools]
    if pools and all(pool.brands or pool.channels for pool in pools):
        yield ("plans", default), "the last resort needs a pool that serves all brands and channels"


def _hook_tokens(wanted: Wanted) -> Iterator[Mistake]:
    seen: set[str] = set()
    for handle, account in wanted.accounts.items():
        path: Path = ("accounts", handle, "secrets", catalogue.HOOK_TOKEN)
        for token in account.secrets.get(catalogue.HOOK_TOKEN, ()):
            text = token.get_secret_value()
            if not re.fullmatch("[A-Za-z0-9_-]+", text):
                yield path, "a hook token stands in an address: letters, digits, - and _ only"
            if text in seen:
                yield path, "another account or entry has the same hook token; make a new one"
            seen.add(text)


def _doubles(wanted: Wanted) -> Iterator[Mistake]:
    """Two entries that would fight over the same thing."""
    yield from _twice("inboxes", {h: (i.account, i.address) for h, i in wanted.inboxes.items()}, "account and address")
    plans = {h: (p.brand, p.language, p.channel) for h, p in wanted.plans.items()}
    yield from _twice("plans", plans, "brand, language and channel")
    policies = {h: (p.brand, p.channel, p.country, p.family) for h, p in wanted.policies.items()}
    yield from _twice("policies", policies, "brand, channel, country and family")
    subjects = {h: a.subject or h for h, a in wanted.agents.items() if a.is_active}
    yield from _twice("agents", subjects, "subject (without one, that is the handle)")
    yield from _twice("api_keys", {h: k.digest for h, k in wanted.api_keys.items()}, "key")


def _twice(section: str, values: Mapping[str, object], what: str) -> Iterator[Mistake]:
    first: dict[object, str] = {}
    for handle, value in values.items():
        if value in first:
            yield (section, handle), f"`{first[value]}` has the same {what}; keep one of them"
        first.setdefault(value, handle)
