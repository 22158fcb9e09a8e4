"""One request, one transaction: what it answers, what it may have seen before, and its effect at most once."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from fastapi import Header, Request, Response
from pydantic import BaseModel, ConfigDict, StringConstraints

from services.router.api.auth import Caller
from services.router.api.context import Api
from services.router.api.problems import Problem, not_found
from services.router.domain.conversation import Conversation
from services.router.store import conversations, idempotency
from shared.db.transaction import Database, Isolation, Transaction
from shared.tracing import current, link

IfMatch = Annotated[
    str | None, Header(alias="If-Match", description="The ETag that you saw; stale ones get 412", examples=['"7"'])
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Your own id of this request; for 24 hours the same gives the same answer and no second effect",
        examples=["5f0c-reply-1"],
    ),
]
# PostgreSQL cannot keep a NUL; a text of blanks says nothing.
Words = Annotated[str, StringConstraints(min_length=1, max_length=50_000, pattern=r"^[^\x00]*[^\s\x00][^\x00]*$")]
# For what may come without words, like a file.
MaybeWords = Annotated[str, StringConstraints(max_length=50_000, pattern=r"^([^\x00]*[^\s\x00][^\x00]*)?$")]
Why = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00]*$")]


class Form(BaseModel):
    """A request's body; what it does not know is an error rather than ignored."""

    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class Done:
    """An answer: a document, its status, and the ETag of what it shows.

    `repeated` is what the same request gets again, where the document has a secret that is shown once.
    """

    document: BaseModel
    status: int = 200
    version: int | None = None
    repeated: BaseModel | None = None

    def headers(self) -> dict[str, str]:
        return {} if self.version is None else {"etag": etag(self.version)}


Work = Callable[[Transaction], Awaitable[Done]]


def etag(version: int) -> str:
    return f'"{version}"'


async def answer(api: Api, who: Caller, work: Work, *, isolation: Isolation | None = None) -> Response:
    """A request that looks, or whose effect is the same however often it comes."""
    done = await api.database.retrying(work, brands=who.brands, isolation=isolation)
    return Response(done.document.model_dump_json(), done.status, done.headers(), "application/json")


async def act(
    database: Database, brands: Sequence[UUID] | None, who: Caller, request: Request, key: str | None, work: Work
) -> Response:
    """A request with an effect: effect and answer in one transaction, the same key gives the same answer for 24 hours.

    A problem keeps nothing, so its request may come again with the same key. Raises Problem 400 without a key, 422 for
    a key that came with another request.
    """
    if key is None:
        raise Problem(400, "no_idempotency_key", "Send an `Idempotency-Key`: any text that is this request's own")
    if "\x00" in key:
        raise Problem(422, "invalid_request", "The Idempotency-Key has a NUL character")
    digest = hashlib.sha256(f"{request.method} {request.url.path}\n".encode() + await request.body()).digest()

    async def once(tx: Transaction) -> Response:
        before = await idempotency.begin(tx, who.id, key, digest)
        if before is None:
            done = await work(tx)
            kept = (done.repeated or done.document).model_dump_json().encode()
            await idempotency.end(tx, who.id, key, done.status, done.headers(), kept)
            body = done.document.model_dump_json()
            return Response(body, done.status, done.headers(), "application/json")
        if before["request"] != digest:
            raise Problem(422, "idempotency_key_reused", "This Idempotency-Key came with another request")
        headers = before["headers"] | {"Idempotency-Replayed": "true"}
        return Response(before["body"], before["status"], headers, "application/json")

    return await database.retrying(once, brands=brands)


async def effect(api: Api, who: Caller, request: Request, key: str | None, work: Work) -> Response:
    """`act` within the caller's brands."""
    return await act(api.database, who.brands, who, request, key, work)


async def locked(tx: Transaction, conversation_id: UUID) -> Conversation:
    """The conversation under lock. Raises Problem 404."""
    found = (await conversations.lock(tx, [conversation_id])).get(conversation_id)
    if found is None:
        raise not_found()
    return found


async def matching(tx: Transaction, conversation_id: UUID, if_match: str | None) -> Conversation:
    """The conversation under lock, as the caller saw it.

    Raises Problem 404, 428 without If-Match, 412 where it has changed since.
    """
    found = await locked(tx, conversation_id)
    check_match(found.version, if_match)
    if current() is not None:
        link(await conversations.trace_of(tx, conversation_id))
    return found


def check_match(version: int, if_match: str | None) -> None:
    """Raises Problem 428 without If-Match, 412 where something has changed since the caller saw it."""
    if if_match is None:
        raise Problem(428, "no_if_match", "Send `If-Match` with the ETag that you saw")
    tags = [tag.strip() for tag in if_match.split(",")]
    if "*" not in tags and etag(version) not in tags:
        raise Problem(412, "changed", "It has changed since you saw it; look again", headers={"ETag": etag(version)})
