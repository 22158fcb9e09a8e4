"""Who calls: API keys by their SHA-256, and on the embedded default development tokens."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.router.api.context import Bucket, api_of
from services.router.api.problems import Problem
from services.router.store import screens
from services.router.store.configuration import ConfigurationCache
from services.router.stream import Rights
from shared.db.transaction import Transaction
from shared.settings import Settings

DEVELOPMENT = "dev-"


@dataclass(frozen=True, slots=True)
class Caller:
    """`id` is the token's own, for its bucket and its Idempotency-Keys; `actor` is what history calls them."""

    id: str
    actor: str
    role: str
    brands: tuple[UUID, ...]
    agent_id: UUID | None = None
    is_development: bool = False

    @property
    def agent(self) -> UUID:
        """Raises Problem 403 for a caller who is not an agent."""
        if self.agent_id is None:
            raise Problem(403, "not_an_agent", "Only an agent can do this")
        return self.agent_id

    @property
    def leads(self) -> bool:
        return self.role in ("supervisor", "admin")


bearer = HTTPBearer(auto_error=False, description="An API key, or on the embedded default `dev-` and an agent's handle")


async def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Raises Problem 401 without a valid token, 429 where the token is used too often."""
    api = api_of(request)
    if credentials is None:
        raise _unauthorized("Send `Authorization: Bearer` and a token")
    async with api.router_database.transaction() as tx:
        found = await _authenticate(api.cache, api.settings, tx, credentials.credentials)
        now = tx.now.timestamp()
    if not api.buckets.setdefault(found.id, Bucket(filled_at=now)).take(now):
        raise Problem(429, "too_many_requests", "Too many requests; slow down", headers={"Retry-After": "1"})
    return found


async def recheck(
    cache: ConfigurationCache, settings: Settings, tx: Transaction, tokens: Sequence[str]
) -> dict[str, Rights]:
    """What each token of an open stream is good for now; those that do not hold any more are left out."""
    found: dict[str, Rights] = {}
    for token in tokens:
        try:
            who = await _authenticate(cache, settings, tx, token)
        except Problem:
            continue
        found[token] = Rights(frozenset(who.brands), who.agent_id)
    return found


async def _authenticate(cache: ConfigurationCache, settings: Settings, tx: Transaction, token: str) -> Caller:
    if token.startswith(DEVELOPMENT) and settings.development_tokens:
        return await _developer(cache, tx, token.removeprefix(DEVELOPMENT))
    key = await screens.api_key(tx, hashlib.sha256(token.encode("utf-8", "replace")).digest())
    if key is None or (key["expires_at"] is not None and key["expires_at"] <= tx.now):
        raise _unauthorized("The token is unknown or expired")
    return Caller(str(key["id"]), f"key:{key['name']}", key["role"], tuple(key["brands"]), key["agent_id"])


async def _developer(cache: ConfigurationCache, tx: Transaction, handle: str) -> Caller:
    agents = (await cache.current(tx)).agents.values()
    agent = next((agent for agent in agents if agent.handle == handle), None)
    if agent is None:
        raise _unauthorized("No agent has this handle")
    return Caller(f"dev:{agent.id}", agent.handle, agent.role, tuple(agent.brands), agent.id, is_development=True)


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", "Who are you?", detail, {"WWW-Authenticate": "Bearer"})


async def actor(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """Raises Problem 403 for a brand: it can look, not act."""
    if who.role == "brand":
        raise Problem(403, "not_allowed", "A brand can look, not act")
    return who


async def admin(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """Raises Problem 403 for everybody else."""
    if who.role != "admin":
        raise Problem(403, "not_allowed", "Only an admin can do this")
    return who


Who = Annotated[Caller, Depends(caller)]
Actor = Annotated[Caller, Depends(actor)]
Admin = Annotated[Caller, Depends(admin)]
