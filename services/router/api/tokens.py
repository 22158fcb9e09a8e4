"""Whose a bearer token is: API keys by their SHA-256, tokens of an OpenID issuer, development tokens.

Role, brands and whether somebody may come in at all are read from our configuration each time, so that what is taken
away there is gone with the next request, and from open streams with their next check.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from services.router import metrics
from services.router.api.callers import ISSUED, Caller
from services.router.api.problems import Problem
from services.router.domain.plan import Agent, Configuration
from services.router.domain.roles import SCOPES_OF
from services.router.oidc import BadToken, Issuer
from services.router.store import api_keys, audit
from services.router.store.configuration import ConfigurationCache
from services.router.stream import Rights
from shared.db.transaction import Transaction
from shared.errors import Unavailable
from shared.settings import Settings

DEVELOPMENT = "dev-"
LONGEST_TOKEN = 16_384
KEPT = 10_000
# What is wrong with a token, for whoever sent it and as the label of a metric.
REASONS: Mapping[str, str] = {
    "no_token": "Send `Authorization: Bearer` and a token",
    "unknown": "The token is unknown, expired or revoked",
    "no_agent": "No active agent is known by it",
    "malformed": "It is not a token that can be read",
    "algorithm": "It is signed with an algorithm that is not allowed",
    "unknown_key": "It is signed with a key that the issuer does not have",
    "signature": "Its signature does not fit",
    "expired": "The token has expired",
    "issuer": "It is of another issuer",
    "audience": "It is not meant for this API",
    "claims": "A claim of it is missing or wrong, or it does not hold yet",
}


def unauthorized(reason: str) -> Problem:
    """A challenge as RFC 6750 has it: without an error where nothing was sent."""
    metrics.REFUSED.labels(reason).inc()
    challenge = "Bearer" if reason == "no_token" else 'Bearer error="invalid_token"'
    return Problem(401, "unauthorized", "Who are you?", REASONS[reason], {"WWW-Authenticate": challenge})


@dataclass(frozen=True, slots=True)
class Nobody:
    """A token that does not hold: `reason` is one of REASONS, `subject` whom the issuer meant where it is real."""

    reason: str
    subject: str = ""

    @property
    def is_issued(self) -> bool:
        return bool(self.subject)


@dataclass(frozen=True, slots=True)
class _People:
    """The active agents of one revision, as tokens name them."""

    revision: int = -1
    by_handle: Mapping[str, Agent] = field(default_factory=dict)
    by_subject: Mapping[str, Agent] = field(default_factory=dict)
    by_id: Mapping[UUID, Agent] = field(default_factory=dict)


class Tokens:
    """Reads the tokens of this process's callers."""

    def __init__(self, cache: ConfigurationCache, settings: Settings, issuer: Issuer | None = None) -> None:
        self._cache = cache
        self._settings = settings
        self.issuer = issuer
        self._people = _People()
        # Of the issuer's tokens that the audit knows.
        self._noted: dict[bytes, None] = {}

    async def prepare(self, token: str) -> None:
        """Everything that reading the token may need from elsewhere, outside of any transaction.

        Raises Problem 503 where the issuer is away and its key is not known.
        """
        if self.issuer is None or not _is_signed(token):
            return
        try:
            await self.issuer.learn(token)
        except Unavailable as error:
            title = "Tokens of the sign-in service cannot be checked right now; try again"
            raise Problem(503, error.code, title, headers={"Retry-After": "5"}) from None

    async def read(self, tx: Transaction, token: str) -> Caller | Nobody:
        """Who sent it. The audit gets the first use of every token that is the issuer's, whoever let it in or not."""
        (found,) = (await self._read(tx, [token])).values()
        digest = _digest(token)
        if not found.is_issued or digest in self._noted:
            return found
        if isinstance(found, Nobody):
            await audit.note_once(tx, digest.hex(), found.subject, "sign_in_refused", {"reason": found.reason})
        else:
            data = {"agent": found.agent_id, "role": found.role, "brands": list(found.brands)}
            await audit.note_once(tx, digest.hex(), found.actor, "signed_in", data)
        tx.after_commit(lambda: self._remember(digest))
        return found

    async def recheck(self, tx: Transaction, tokens: Sequence[str]) -> dict[str, Rights]:
        """What each token of an open stream is good for now; those that do not hold any more are left out."""
        found = await self._read(tx, tokens)
        return {
            token: Rights(frozenset(who.brands), who.agent_id)
            for token, who in found.items()
            if isinstance(who, Caller) and "read" in who.scopes
        }

    async def _read(self, tx: Transaction, tokens: Sequence[str]) -> dict[str, Caller | Nobody]:
        """All of them with one look at the configuration and one at the keys."""
        people = self._known(await self._cache.current(tx))
        found: dict[str, Caller | Nobody] = {}
        keys: dict[bytes, str] = {}
        for token in tokens:
            if token.startswith(DEVELOPMENT) and self._settings.development_tokens:
                found[token] = _developer(people, token.removeprefix(DEVELOPMENT))
            elif self.issuer is not None and _is_signed(token):
                found[token] = self._issued(people, self.issuer, token, tx.now.timestamp())
            else:
                keys[_digest(token)] = token
                found[token] = Nobody("unknown")
        if keys:
            for row in await api_keys.valid(tx, list(keys)):
                found[keys[row["digest"]]] = _key(people, row)
        return found

    def _issued(self, people: _People, issuer: Issuer, token: str, now: float) -> Caller | Nobody:
        if len(token) > LONGEST_TOKEN:
            return Nobody("malformed")
        try:
            subject = issuer.read(token, now)
        except BadToken as error:
            return Nobody(error.code)
        agent = people.by_subject.get(subject)
        if agent is None:
            return Nobody("no_agent", subject)
        # Tokens are renewed every few minutes: the bucket and the Idempotency-Keys are the agent's.
        return _agent(f"{ISSUED}{agent.id}", agent)

    def _known(self, configuration: Configuration) -> _People:
        if configuration.revision != self._people.revision:
            active = [agent for agent in configuration.agents.values() if agent.is_active]
            self._people = _People(
                configuration.revision,
                {agent.handle: agent for agent in active},
                {agent.subject or agent.handle: agent for agent in active},
                {agent.id: agent for agent in active},
            )
        return self._people

    def _remember(self, digest: bytes) -> None:
        self._noted[digest] = None
        if len(self._noted) > KEPT:
            del self._noted[next(iter(self._noted))]


def _agent(id_: str, agent: Agent, *, is_development: bool = False) -> Caller:
    scopes = SCOPES_OF[agent.role]
    return Caller(id_, agent.handle, agent.role, tuple(agent.brands), scopes, agent.id, is_development)


def _developer(people: _People, handle: str) -> Caller | Nobody:
    agent = people.by_handle.get(handle)
    return Nobody("no_agent") if agent is None else _agent(f"dev:{agent.id}", agent, is_development=True)


def _key(people: _People, row: api_keys.Row) -> Caller | Nobody:
    """A key of an agent is good for no brand that the agent has not, and for nothing once they have left."""
    brands = list(row["brands"])
    if row["agent_id"] is not None:
        agent = people.by_id.get(row["agent_id"])
        if agent is None:
            return Nobody("no_agent")
        brands = [brand for brand in brands if brand in agent.brands]
    scopes = SCOPES_OF[row["role"]]
    if row["scopes"]:
        scopes &= frozenset(row["scopes"])
    return Caller(str(row["id"]), f"key:{row['name']}", row["role"], tuple(brands), scopes, row["agent_id"])


def _is_signed(token: str) -> bool:
    """Whether it looks like a signed token of an issuer: three parts, the first of them an object in JSON."""
    return token.startswith("eyJ") and token.count(".") == 2


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()
