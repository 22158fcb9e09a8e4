"""The form of the configuration file: what each entry has, and what one entry alone can be wrong about."""

import hashlib
import re
from datetime import timedelta
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    model_validator,
)

from services.router.configuration.calendars import Calendar
from services.router.configuration.webhooks import Webhook
from services.router.domain.plan import Family
from services.router.domain.roles import SCOPES_OF, Role, Scope


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
    webhooks: dict[Handle, Webhook] = {}
    api_keys: dict[Handle, ApiKey] = {}
