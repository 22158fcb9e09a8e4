"""The configuration file: read with every mistake named by its line, compared with the database, and applied.

The file holds clients, brands, accounts, inboxes, agents, pools, plans, calendars, policies, webhooks and API keys,
each under a handle.
Ids derive from handles, so applying the same file again changes nothing, in any database.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from services.router import webhook_forms
from services.router.calendars import Calendar
from services.router.document import Document, Path, read
from services.router.domain.plan import Family
from services.router.domain.roles import SCOPES_OF, Role, Scope
from services.router.store import catalogue
from shared.db.transaction import Transaction
from shared.errors import DragomanError
from shared.ids import derived_id
from shared.secrets import Vault


class ConfigurationError(DragomanError):
    """The configuration cannot be applied."""

    code = "bad_configuration"

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


# The form of the file


def _matching(pattern: str, what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(what)
        return text

    return AfterValidator(check)


def _country(text: str) -> str:
    if text in ("UK", "EL"):
        raise ValueError(f"the code of that country is {'GB' if text == 'UK' else 'GR'}")
    return text


def _duration(value: object) -> timedelta:
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    match = re.fullmatch(r"(\d{1,6})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a time is a number and s, m, h or d, such as 30m")
    return timedelta(**{units[match[2]]: int(match[1])})


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


Handle = Annotated[
    str, _matching(r"[a-z0-9][a-z0-9._-]{0,63}", "a handle has small letters, digits, dots and hyphens only")
]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Language = Annotated[str, _matching("[a-z]{2,3}", "a language is a short code such as de, nb or fil")]
Country = Annotated[str, _matching("[A-Z]{2}", "a country is two capital letters such as DE"), AfterValidator(_country)]
Locale = Annotated[str, _matching("[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?", "a locale is written like de or de-CH")]
Phone = Annotated[str, _matching(r"\+[1-9][0-9]{6,14}", "a phone is written like +493023125123")]
Duration = Annotated[timedelta, BeforeValidator(_duration), Field(le=timedelta(days=365))]
Handles = tuple[str, ...]
# Several values of one name are valid at once, newest first, so that each can be rotated.
Secrets = Annotated[
    tuple[Annotated[SecretStr, Field(min_length=1)], ...], BeforeValidator(_several), Field(min_length=1)
]


class Entry(BaseModel):
    """One thing of the file; a key that is not listed here is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Client(Entry):
    name: Name


class Brand(Entry):
    client: str
    name: Name


class Account(Entry):
    channel: str
    name: Name
    settings: dict[str, Any] = {}
    secrets: dict[str, Secrets] = {}


class Inbox(Entry):
    brand: str
    account: str
    address: Name
    name: Name
    locale: Locale | None = None
    country: Country | None = None
    settings: dict[str, Any] = {}


class Agent(Entry):
    name: Name
    role: Literal["agent", "supervisor", "admin"] = "agent"
    capacity: int = Field(ge=1, le=1000)
    brands: Handles = Field(min_length=1)
    subject: Name | None = None
    is_active: bool = True
    phone: Phone | None = None
    language: Language | None = None


class Pool(Entry):
    name: Name
    language: Language | None = None
    brands: Handles = ()
    channels: Handles = ()
    native: Handles = ()
    fluent: Handles = ()


class Step(Entry):
    pool: str
    after: float = Field(ge=0, lt=1)


class Plan(Entry):
    brand: str | None = None
    language: Language | None = None
    channel: str | None = None
    steps: tuple[Step, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _ascending(self) -> "Plan":
        shares = [step.after for step in self.steps]
        if shares[0] != 0 or any(earlier >= later for earlier, later in pairwise(shares)):
            raise ValueError("the steps' `after` begins with 0 and grows from step to step")
        return self


class Policy(Entry):
    """Targets, in open time of `calendar` where one is named; `family` says whose rule it is."""

    brand: str | None = None
    channel: str | None = None
    country: Country | None = None
    family: Family = "contract"
    first_response: Duration = Field(gt=timedelta(0))
    next_response: Duration | None = Field(None, gt=timedelta(0))
    warn_before: Duration
    calendar: str | None = None

    @model_validator(mode="after")
    def _warned_in_time(self) -> "Policy":
        if self.warn_before >= self.first_response:
            raise ValueError("`warn_before` is shorter than `first_response`")
        if self.next_response is not None and self.warn_before >= self.next_response:
            raise ValueError("`warn_before` is shorter than `next_response`")
        return self

    @property
    def longest(self) -> timedelta:
        return max(self.first_response, self.next_response or self.first_response)


class ApiKey(Entry):
    """A program's key: `sha256` of it in hex, or `plain` where the file itself is a secret."""

    role: Role
    agent: str | None = None
    brands: Handles = Field(min_length=1)
    scopes: tuple[Scope, ...] = ()
    sha256: Annotated[str, _matching("[0-9a-f]{64}", "the SHA-256 is 64 small hex digits")] | None = None
    plain: Annotated[SecretStr, Field(min_length=16)] | None = None
    expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _one_key_of_somebody(self) -> "ApiKey":
        if (self.sha256 is None) == (self.plain is None):
            raise ValueError("give either `sha256` or `plain`")
        if self.role == "agent" and self.agent is None:
            raise ValueError("a key of the role agent names its `agent`")
        if beyond := sorted(set(self.scopes) - SCOPES_OF[self.role]):
            raise ValueError(f"the role {self.role} may not {', '.join(beyond)}; leave that out of `scopes`")
        return self

    @property
    def digest(self) -> bytes:
        if self.plain is not None:
            return hashlib.sha256(self.plain.get_secret_value().encode()).digest()
        return bytes.fromhex(self.sha256 or "")


class Wanted(Entry):
    """The configuration as the file wants it, by handle."""

    clients: dict[Handle, Client] = {}
    brands: dict[Handle, Brand] = {}
    accounts: dict[Handle, Account] = {}
    inboxes: dict[Handle, Inbox] = {}
    agents: dict[Handle, Agent] = {}
    pools: dict[Handle, Pool] = {}
    plans: dict[Handle, Plan] = {}
    calendars: dict[Handle, Calendar] = {}
    policies: dict[Handle, Policy] = {}
    webhooks: dict[Handle, webhook_forms.Webhook] = {}
    api_keys: dict[Handle, ApiKey] = {}


def load(text: str, file: str, variables: Mapping[str, str], channels: Collection[str]) -> Wanted:
    """What the file wants. `${NAME}` in it stands for a variable, `channels` are the names that exist.

    Raises ConfigurationError with every mistake as "file:line: what is wrong, what to do".
    """
    document = read(text, variables)
    sections = {name: section for name, section in document.values.items() if section is not None}
    wanted = _validated(document, sections)
    if not document.problems or wanted != Wanted():
        handles = {name: set(section) for name, section in sections.items() if isinstance(section, dict)}
        for path, what in _mistakes(wanted, handles, channels):
            document.blame(path, what)
    if document.problems:
        raise ConfigurationError([f"{file}:{line}: {what}" for line, what in sorted(document.problems)])
    return wanted


def _validated(document: Document, sections: Mapping[str, Any]) -> Wanted:
    """All entries that are well formed; the others are blamed."""
    try:
        return Wanted.model_validate(sections)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    for one in found:
        document.blame(one["loc"], _sentence(one))
    broken = {one["loc"][:2] for one in found} | {one["loc"][:1] for one in found if len(one["loc"]) == 1}
    return Wanted.model_validate(
        {
            name: {handle: entry for handle, entry in section.items() if (name, handle) not in broken}
            for name, section in sections.items()
            if (name,) not in broken
        }
    )


def _sentence(error: Any) -> str:
    """A mistake of form in words; pydantic's own where they are clear. Never the value, it may be a secret."""
    where = ".".join(str(part) for part in error["loc"][2:] if part != "[key]") or str(error["loc"][-1])
    if error["type"] == "extra_forbidden":
        return f"`{where}` is not known here; remove it or mend its name"
    if error["type"] == "missing":
        return f"`{where}` is missing; add it"
    if error["type"] == "value_error":
        what = str(error["ctx"]["error"])
        return (
            f"`{error['loc'][1]}`: {what}" if error["loc"][-1] in ("[key]", error["loc"][1]) else f"`{where}`: {what}"
        )
    return f"`{where}`: {error['msg'][0].lower()}{error['msg'][1:]}"


Mistake = tuple[Path, str]


def _mistakes(wanted: Wanted, handles: Mapping[str, Collection[str]], channels: Collection[str]) -> Iterator[Mistake]:
    """What no entry can know alone: references, and things that may exist once only."""

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


# Comparing and applying


@dataclass(frozen=True, slots=True)
class Change:
    """A line for people and what it does; without `work` it only tells."""

    line: str
    work: Callable[[Transaction], Awaitable[None]] | None = None


async def diff(tx: Transaction, wanted: Wanted, vault: Vault) -> list[str]:
    """What applying would change: + new, ~ changed, - removed, = not in the file and left in place.

    Raises ConfigurationError where the database forbids it.
    """
    return [change.line for change in await _changes(tx, wanted, vault)]


async def apply(tx: Transaction, wanted: Wanted, vault: Vault, actor: str) -> list[str]:
    """Makes the database as the file wants it, and returns the lines of `diff`. All or nothing, with `tx`.

    Whatever may have a history (clients, brands, accounts, inboxes, agents, pools in use) is never removed.
    Raises ConfigurationError where the database forbids it.
    """
    await catalogue.lock(tx)
    changes = await _changes(tx, wanted, vault)
    works = [change for change in changes if change.work is not None]
    for change in works:
        assert change.work is not None
        await change.work(tx)
    if works:
        await catalogue.revise(tx, actor, [change.line for change in works])
    return [change.line for change in changes]


async def _changes(tx: Transaction, wanted: Wanted, vault: Vault) -> list[Change]:
    current = await catalogue.load(tx)
    rows = _rows(wanted)
    if problems := [*_forbidden(current, rows)]:
        raise ConfigurationError(problems)
    # What is removed goes first, since its place may be taken by what comes.
    removed = [c for table in rows for c in _removed(table, rows[table], current)]
    upserted = [c for table in rows for c in _upserted(table, rows[table], current)]
    return [
        *removed,
        *upserted,
        *_membership(wanted, current),
        *_secrets(wanted, current, vault),
        *(Change(line, work) for line, work in webhook_forms.differences(wanted.webhooks, current, vault)),
    ]


def _id(kind: str, handle: str) -> UUID:
    return derived_id(kind, handle)


def _ids(kind: str, handles: Sequence[str]) -> list[UUID]:
    return [_id(kind, handle) for handle in handles]


def _rows(wanted: Wanted) -> dict[str, dict[UUID, catalogue.Row]]:
    """The rows of the file by table, referenced tables first."""

    def brand(handle: str | None) -> UUID | None:
        return None if handle is None else _id("brand", handle)

    rows: dict[str, list[catalogue.Row]] = {
        "client": [{"id": _id("client", h), "handle": h, "name": c.name} for h, c in wanted.clients.items()],
        "brand": [
            {"id": _id("brand", h), "handle": h, "name": b.name, "client_id": _id("client", b.client)}
            for h, b in wanted.brands.items()
        ],
        "account": [
            {"id": _id("account", h), "handle": h, "name": a.name, "channel": a.channel, "settings": a.settings}
            for h, a in wanted.accounts.items()
        ],
        "inbox": [
            {
                "id": _id("inbox", h),
                "handle": h,
                "brand_id": _id("brand", i.brand),
                "account_id": _id("account", i.account),
                "channel": wanted.accounts[i.account].channel,
                **i.model_dump(include={"address", "name", "locale", "country", "settings"}),
            }
            for h, i in wanted.inboxes.items()
        ],
        "agent": [
            {"id": _id("agent", h), "handle": h, "name": a.name, "role": a.role, "capacity": a.capacity,
             "brands": _ids("brand", a.brands), "subject": a.subject, "is_active": a.is_active, "phone": a.phone,
             "language": a.language}
            for h, a in wanted.agents.items()
        ],
        "pool": [
            {"id": _id("pool", h), "handle": h, "name": p.name, "language": p.language,
             "brands": _ids("brand", p.brands), "channels": list(p.channels)}
            for h, p in wanted.pools.items()
        ],
        "plan": [
            {"id": _id("plan", h), "handle": h, "brand_id": brand(p.brand), "language": p.language,
             "channel": p.channel, "steps": [{"pool": str(_id("pool", s.pool)), "after": s.after} for s in p.steps]}
            for h, p in wanted.plans.items()
        ],
        "calendar": [calendar.row(h) for h, calendar in wanted.calendars.items()],
        "policy": [
            {"id": _id("policy", h), "handle": h, "brand_id": brand(p.brand), "channel": p.channel,
             "country": p.country, "first_response": int(p.first_response.total_seconds()),
             "warn_before": int(p.warn_before.total_seconds()), "family": p.family,
             "next_response": None if p.next_response is None else int(p.next_response.total_seconds()),
             "calendar_id": None if p.calendar is None else _id("calendar", p.calendar)}
            for h, p in wanted.policies.items()
        ],
        # A new key is a new row, so that two names can exchange their keys.
        "api_key": [
            {"id": derived_id("api_key", h, k.digest.hex()), "name": h, "digest": k.digest, "role": k.role,
             "agent_id": None if k.agent is None else _id("agent", k.agent), "brands": _ids("brand", k.brands),
             "expires_at": k.expires_at, "scopes": list(k.scopes)}
            for h, k in wanted.api_keys.items()
        ],
    }  # fmt: skip
    return {table: {row["id"]: row for row in of_table} for table, of_table in rows.items()}


def _named(table: str, row: catalogue.Row) -> str:
    return f"{table.replace('_', ' ')} {row.get('handle') or row['name']}"


def _forbidden(current: catalogue.Catalogue, rows: Mapping[str, Mapping[UUID, catalogue.Row]]) -> Iterator[str]:
    """What would tear a history from its inbox, or an address from another one."""
    inboxes = current.rows["inbox"]
    holders = {(row["account_id"], row["address"]): row for row in inboxes.values()}
    for row in rows["inbox"].values():
        before = inboxes.get(row["id"])
        for column, word in (("brand_id", "brand"), ("channel", "channel")):
            if before is not None and before[column] != row[column]:
                yield f"inbox {row['handle']} never changes its {word}; give the new one a handle of its own"
        holder = holders.get((row["account_id"], row["address"]))
        if holder is not None and holder["id"] != row["id"]:
            yield f"inbox {row['handle']} has the address of inbox {holder['handle']}; keep that handle"


def _removed(table: str, wanted: Mapping[UUID, catalogue.Row], current: catalogue.Catalogue) -> Iterator[Change]:
    for row in current.rows[table].values():
        if row["id"] in wanted:
            continue
        name = _named(table, row)
        if table == "agent" and row["is_active"]:
            # Whoever is not in the file any more must not get in any more either.
            out = {"id": row["id"], "is_active": False}
            what = f"~ {name}: is_active, for it is not in the file"
            yield Change(what, partial(catalogue.update, table=table, row=out))
        elif table not in catalogue.REPLACED or row["id"] in current.pools_in_use:
            yield Change(f"= {name} is not in the file and was left in place")
        else:
            yield Change(f"- {name}", partial(catalogue.remove, table=table, row_id=row["id"]))


def _upserted(table: str, wanted: Mapping[UUID, catalogue.Row], current: catalogue.Catalogue) -> Iterator[Change]:
    for row in wanted.values():
        before = current.rows[table].get(row["id"])
        name = _named(table, row)
        if before is None:
            yield Change(f"+ {name}", partial(catalogue.insert, table=table, row=row))
        elif changed := [column for column, value in row.items() if before[column] != value]:
            what = ", ".join(column.removesuffix("_id") for column in changed)
            yield Change(f"~ {name}: {what}", partial(catalogue.update, table=table, row=row))


def _membership(wanted: Wanted, current: catalogue.Catalogue) -> Iterator[Change]:
    for handle, pool in wanted.pools.items():
        pool_id = _id("pool", handle)
        members = {
            **{_id("agent", agent): "native" for agent in pool.native},
            **{_id("agent", agent): "fluent" for agent in pool.fluent},
        }
        if members != current.members.get(pool_id, {}):
            yield Change(
                f"~ pool {handle}: members", partial(catalogue.replace_members, pool_id=pool_id, members=members)
            )


def _secrets(wanted: Wanted, current: catalogue.Catalogue, vault: Vault) -> Iterator[Change]:
    """Sealed anew only where the values differ: sealing the same text twice gives different bytes."""
    for handle, account in wanted.accounts.items():
        account_id = _id("account", handle)
        before = current.sealed.get(account_id, {})
        after = {name: [value.get_secret_value() for value in values] for name, values in account.secrets.items()}
        for name in sorted(before.keys() | after.keys()):
            values = after.get(name, [])
            if webhook_forms.opened(before.get(name, ()), vault) == values:
                continue
            sign = "~" if name in before and values else "+" if values else "-"
            yield Change(
                f"{sign} secret {name} of account {handle}",
                partial(
                    catalogue.replace_secret, account_id=account_id, name=name, sealed=list(map(vault.seal, values))
                ),
            )
