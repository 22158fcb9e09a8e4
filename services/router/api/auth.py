"""Who may call an operation: the token's owner, within their role and their key's scopes."""

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.router.api.callers import Caller as Caller
from services.router.api.context import Bucket, api_of
from services.router.api.problems import Problem
from services.router.api.tokens import Nobody, unauthorized
from services.router.domain.roles import SCOPES_OF, Scope

bearer = HTTPBearer(
    auto_error=False,
    description="An API key, a token of the OpenID issuer, or on the embedded default `dev-` and an agent's handle",
)
# Why a role may not: it has not what the operation needs.
LACKING: dict[Scope, str] = {
    "read": "This role cannot look",
    "write": "A brand can look, not act",
    "callbacks": "Only a brand, or whoever leads, asks for calls",
    "admin": "Only an admin can do this",
}


async def caller(
    request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> Caller:
    """Raises Problem 401 without a valid token, 429 where it is used too often, 503 where it cannot be checked."""
    api = api_of(request)
    if credentials is None:
        raise unauthorized("no_token")
    token = credentials.credentials
    await api.tokens.prepare(token)
    async with api.router_database.transaction() as tx:
        found = await api.tokens.read(tx, token)
        now = tx.now.timestamp()
    # What the audit was told is kept also where the answer is no.
    if isinstance(found, Nobody):
        raise unauthorized(found.reason)
    if not api.buckets.setdefault(found.id, Bucket(filled_at=now)).take(now):
        raise Problem(429, "too_many_requests", "Too many requests; slow down", headers={"Retry-After": "1"})
    return found


def needing(*scopes: Scope) -> Callable[[Caller], Awaitable[Caller]]:
    """Raises Problem 403 for whoever has none of these by their role, or by their key's scopes."""

    async def checked(who: Annotated[Caller, Depends(caller)]) -> Caller:
        if SCOPES_OF[who.role].isdisjoint(scopes):
            raise Problem(403, "not_allowed", LACKING[scopes[0]])
        if who.scopes.isdisjoint(scopes):
            raise Problem(403, "out_of_scope", f"This key was made without the scope {scopes[0]}")
        return who

    return checked


Anybody = Annotated[Caller, Depends(caller)]
Who = Annotated[Caller, Depends(needing("read"))]
Actor = Annotated[Caller, Depends(needing("write"))]
Asker = Annotated[Caller, Depends(needing("callbacks"))]
# A shop's server may see what became of its own wishes.
AskerOrWho = Annotated[Caller, Depends(needing("read", "callbacks"))]
Admin = Annotated[Caller, Depends(needing("admin"))]
