"""Keys of programs: made, listed and revoked by admins; each is shown once and kept as its SHA-256."""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from services.router.api.auth import Admin, Caller
from services.router.api.context import Context
from services.router.api.documents import keys as d
from services.router.api.documents.examples import ID
from services.router.api.pages import LATEST
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, Form, IdempotencyKey, act
from services.router.domain.plan import Configuration
from services.router.domain.roles import SCOPES_OF, Role, Scope
from services.router.store import api_keys, audit
from shared.db.transaction import Transaction
from shared.ids import new_id

api = APIRouter(prefix="/v1/api-keys", tags=["operations"])
# So that whoever scans for secrets that got away knows one of ours.
PREFIX = "dragoman_"
NO_STORE = {"Cache-Control": "no-store"}


class NewKey(Form):
    """`agent_id` for a program that acts as this agent; the role agent needs one."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]*$")] = Field(
        examples=["shop-server"]
    )
    role: Role = Field(examples=["brand"])
    brands: Annotated[list[UUID], Field(min_length=1, max_length=1000)] = Field(examples=[[ID]])
    scopes: Annotated[list[Scope], Field(max_length=10)] = Field([], examples=[["callbacks"]])
    agent_id: UUID | None = None
    expires_at: AwareDatetime | None = Field(None, examples=["2027-01-01T00:00:00Z"])

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.role == "agent" and self.agent_id is None:
            raise ValueError("a key of the role agent names its agent")
        if not set(self.scopes) <= SCOPES_OF[self.role]:
            raise ValueError("a scope that the role has not")
        return self


@api.get("", response_model=d.ApiKeysDocument, responses=responses(), operation_id="listApiKeys")
async def list_api_keys(context: Context, who: Admin) -> d.ApiKeysDocument:
    """Those that are good for none but the caller's brands, revoked ones too."""
    rows = await context.router_database.retrying(lambda tx: api_keys.within(tx, who.brands))
    return d.ApiKeysDocument(items=[d.ApiKeyDocument(**row) for row in rows])


@api.post(
    "", response_model=d.ApiKeyCreated, status_code=201, responses=responses(400, 404, 409, 413),
    operation_id="createApiKey",
)  # fmt: skip
async def create_api_key(
    request: Request, context: Context, who: Admin, body: Annotated[NewKey, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Good for no more than its maker is. The key itself is in this answer and nowhere else."""

    async def work(tx: Transaction) -> Done:
        _check(tx, body, who, await context.cache.current(tx))
        key = PREFIX + secrets.token_urlsafe(32)
        row = _row(tx, body, who)
        await api_keys.create(tx, row | {"digest": hashlib.sha256(key.encode()).digest()})
        await _note(tx, who, "api_key.created", row["id"], body.brands, role=body.role, scopes=body.scopes)
        return Done(d.ApiKeyCreated(**row, key=key), 201, repeated=d.ApiKeyCreated(**row, key=None))

    answer = await act(context.router_database, None, who, request, idempotency_key, work)
    answer.headers.update(NO_STORE)
    return answer


@api.delete("/{key_id}", response_model=d.ApiKeyDocument, responses=responses(404, 409), operation_id="revokeApiKey")
async def revoke_api_key(key_id: UUID, context: Context, who: Admin) -> d.ApiKeyDocument:
    """From now on it does not hold, also on streams that are open; again is as once."""

    async def work(tx: Transaction) -> d.ApiKeyDocument:
        found = await api_keys.within(tx, who.brands, key_id)
        if not found:
            raise not_found()
        if found[0]["created_by"] is None:
            raise Problem(409, "of_the_file", "It is the configuration file's; take it out there")
        at = await api_keys.revoke(tx, key_id)
        if found[0]["revoked_at"] is None:
            await _note(tx, who, "api_key.revoked", key_id, found[0]["brands"])
        return d.ApiKeyDocument(**{**found[0], "revoked_at": at})

    return await context.router_database.retrying(work)


def _check(tx: Transaction, body: NewKey, who: Caller, configuration: Configuration) -> None:
    """Raises Problem 404 for brands and agents that are not the caller's, 403 and 422 for more than can be given."""
    agent = configuration.agents.get(body.agent_id) if body.agent_id else None
    if not set(body.brands) <= set(who.brands):
        raise not_found()
    if body.agent_id and (agent is None or not agent.is_active or not agent.brands <= set(who.brands)):
        raise not_found()
    if not (frozenset(body.scopes) or SCOPES_OF[body.role]) <= who.scopes:
        raise Problem(403, "more_than_yours", "It would be good for more than your own key")
    if body.expires_at is not None and not tx.now < body.expires_at <= LATEST:
        raise Problem(422, "bad_expiry", "It would never hold: `expires_at` is not in the time to come")


def _row(tx: Transaction, body: NewKey, who: Caller) -> dict[str, Any]:
    given = {**body.model_dump(), "scopes": sorted(set(body.scopes)), "brands": sorted(set(body.brands))}
    return {"id": new_id(), **given, "created_at": tx.now, "created_by": who.actor}


async def _note(
    tx: Transaction, who: Caller, action: str, key_id: UUID, brands: Sequence[UUID], **more: object
) -> None:
    """One line for each brand that it opens, so that each sees it in its own audit."""
    for brand_id in sorted(set(brands)):
        await audit.note(tx, brand_id, who.actor, action, {"api_key": key_id, **more})
