"""What every route works with: who calls, and one transaction per request that holds its effect and its answer."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from services.router.api.problems import Problem, not_found
from services.router.dispatch import Dispatcher
from services.router.domain.conversation import Conversation
from services.router.domain.plan import Configuration
from services.router.store import conversations, screens
from services.router.store.configuration import ConfigurationCache
from shared.channels.contract import Channel
from shared.db.transaction import Database, Transaction
from shared.settings import Settings

RATE, BURST = 50.0, 200.0


@dataclass(slots=True)
class Bucket:
    tokens: float = BURST
    filled_at: float = 0.0

    def take(self, now: float) -> bool:
        self.tokens = min(BURST, self.tokens + (now - self.filled_at) * RATE)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Api:
    """`database` acts in the API's role behind row-level security, `router_database` in the router's."""

    database: Database
    router_database: Database
    cache: ConfigurationCache
    channels: Mapping[str, Channel]
    dispatcher: Dispatcher
    settings: Settings
    buckets: dict[str, Bucket] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls: `actor` is what history and idempotency know them by."""

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


def api_of(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


bearer = HTTPBearer(auto_error=False, description="An API key, or on the embedded default `dev-` and an agent's handle")


async def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Raises Problem 401 without a valid token, 429 where the token is used too often."""
    api = api_of(request)
    if credentials is None:
        raise _unauthorized("Send `Authorization: Bearer` and a token")
    async with api.router_database.transaction() as tx:
        found = await _authenticate(api, tx, credentials.credentials)
        now = tx.now.timestamp()
    if not api.buckets.setdefault(found.actor, Bucket(filled_at=now)).take(now):
        raise Problem(429, "too_many_requests", "Too many requests; slow down", headers={"Retry-After": "1"})
    return found


async def _authenticate(api: Api, tx: Transaction, token: str) -> Caller:
    if token.startswith("dev-") and api.settings.development_tokens:
        configuration = await api.cache.current(tx)
        handle = token.removeprefix("dev-")
        agent = next((a for a in configuration.agents.values() if hmac.compare_digest(
            a.handle.encode(), handle.encode("utf-8", "replace"))), None)  # fmt: skip
        if agent is None:
            raise _unauthorized("No agent has this handle")
        return Caller(agent.handle, agent.role, tuple(agent.brands), agent.id, is_development=True)
    key = await screens.api_key(tx, hashlib.sha256(token.encode("utf-8", "replace")).digest())
    if key is None or (key["expires_at"] is not None and key["expires_at"] <= tx.now):
        raise _unauthorized("The token is unknown or expired")
    return Caller(f"key:{key['name']}", key["role"], tuple(key["brands"]), key["agent_id"])


def _unauthorized(detail: str) -> Problem:
    return Problem(401, "unauthorized", "Who are you?", detail, {"WWW-Authenticate": "Bearer"})


Context = Annotated[Api, Depends(api_of)]
Who = Annotated[Caller, Depends(caller)]
IfMatch = Annotated[str | None, Header(description="The ETag that you saw; stale ones get 412", examples=['"7"'])]
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=200, description="Your own id of this request; the same gives the same answer"),
]


@dataclass(frozen=True, slots=True)
class Done:
    """An answer: a document, its status, and the ETag of what it shows."""

    document: BaseModel
    status: int = 200
    version: int | None = None

    def headers(self) -> dict[str, str]:
        return {} if self.version is None else {"etag": f'"{self.version}"'}


async def read(api: Api, who: Caller, work: Callable[[Transaction], Awaitable[Done]]) -> Response:
    """A request that only looks."""
    done = await api.database.retrying(work, brands=who.brands)
    return Response(done.document.model_dump_json(), done.status, done.headers(), "application/json")


async def act(
    api: Api, who: Caller, request: Request, key: str | None, work: Callable[[Transaction], Awaitable[Done]]
) -> Response:
    """A request with an effect: effect and answer in one transaction, the same key gives the same answer for 24 hours.

    Raises Problem 400 without a key, 422 for a key that came with another request.
    """
    if key is None:
        raise Problem(400, "no_idempotency_key", "Send an `Idempotency-Key`: any text that is this request's own")
    if "\x00" in key:
        raise Problem(422, "invalid_request", "The Idempotency-Key has a NUL character")
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).digest()

    async def once(tx: Transaction) -> Response:
        before = await screens.begin_request(tx, who.actor, key, digest)
        if before is not None:
            if before["request"] != digest:
                raise Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another request")
            return Response(
                before["body"],
                before["status"],
                before["headers"] | {"idempotency-replayed": "true"},
                "application/json",
            )
        done = await work(tx)
        body = done.document.model_dump_json().encode()
        await screens.end_request(tx, who.actor, key, done.status, done.headers(), body)
        return Response(body, done.status, done.headers(), "application/json")

    return await api.database.retrying(once, brands=who.brands)


async def locked(
    tx: Transaction, conversation_id: UUID, if_match: str | None, *, needs_match: bool = True
) -> Conversation:
    """The conversation under lock. Raises Problem 404, 428 without If-Match, 412 where it has changed since."""
    found = (await conversations.lock(tx, [conversation_id])).get(conversation_id)
    if found is None:
        raise not_found()
    if not needs_match:
        return found
    if if_match is None:
        raise Problem(428, "no_if_match", "Send `If-Match` with the ETag that you saw")
    if if_match.strip() not in (f'"{found.version}"', "*"):
        raise Problem(
            412, "changed", "It has changed since you saw it; look again", headers={"ETag": f'"{found.version}"'}
        )
    return found


def check_text(text: str) -> None:
    if "\x00" in text:
        raise Problem(422, "invalid_request", "The text has a NUL character")


def name_of(configuration: Configuration, agent_id: UUID | None) -> str | None:
    agent: Any = configuration.agents.get(agent_id) if agent_id else None
    return agent.name if agent else None
