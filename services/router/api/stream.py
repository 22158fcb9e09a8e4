"""What changed: as a live stream of server-sent events, and the same as pages."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from services.router.api.auth import Who
from services.router.api.context import Context
from services.router.api.documents import stream as d
from services.router.api.pages import Limit
from services.router.api.problems import Problem, responses
from services.router.api.requests import Done
from services.router.store import changes
from services.router.stream import Reader, Rights
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1", tags=["changes"])

NEWEST = 2**62
Since = Annotated[int, Query(ge=0, le=NEWEST, description="The last `seq` that you know; 0 begins at the oldest kept")]
Mine = Annotated[bool, Query(description="Only what happens to conversations of the calling agent")]
LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The `id` of the last event that you got", examples=["4711"])
]
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events. `begin` and `resync` carry the `seq` that you are at: after `resync` look "
        "at everything again. Every other event is one change, named by what became of the conversation.",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    }
}


@api.get("/changes", response_model=d.Changes, responses=responses(400), operation_id="listChanges")
async def list_changes(
    context: Context, who: Who, since: Since = 0, limit: Limit = 100, mine: Mine = False
) -> Response:
    """What the live stream would have told, for whoever cannot keep one open.

    `resync` is true where something after `since` is not kept any more, or was never given out.
    """

    async def work(tx: Transaction) -> Done:
        oldest, newest = await changes.bounds(tx)
        known = since or oldest
        if not oldest <= known <= newest:
            return Done(d.Changes(items=[], seq=newest, resync=True))
        found = await changes.since(tx, known, limit, who.brands, who.agent if mine else None)
        seq = found[-1].seq if len(found) == limit else newest
        items = [d.ConversationChange.model_validate(change, from_attributes=True) for change in found]
        return Done(d.Changes(items=items, seq=seq, resync=False))

    # The outbox is the router's: its rows are of all brands, and only those of the caller are asked for.
    done = await context.router_database.retrying(work)
    return Response(done.document.model_dump_json(), media_type="application/json")


@api.get(
    "/stream", response_class=StreamingResponse, responses=responses(400) | EVENTS, operation_id="streamChanges"
)  # fmt: skip
async def stream(
    request: Request, context: Context, who: Who, last_event_id: LastEventId = None, mine: Mine = False
) -> StreamingResponse:
    """Changes as they happen. An agent whose stream is open stays present; it ends when the token does not hold."""
    after = _place(last_event_id)
    rights = Rights(frozenset(who.brands), who.agent if mine else who.agent_id)
    reader = Reader(_token(request), rights, only_own=mine)

    async def events() -> AsyncIterator[bytes]:
        async with context.stream.reading(reader, after) as told:
            async for data in told:
                yield data

    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def _place(last_event_id: str | None) -> int | None:
    """Raises Problem 400 for an id that was never one of ours."""
    if last_event_id is None or not last_event_id:
        return None
    if not last_event_id.isascii() or not last_event_id.isdecimal() or int(last_event_id[:20]) > NEWEST:
        raise Problem(400, "bad_event_id", "The Last-Event-ID is not one of ours; begin without one")
    return int(last_event_id)


def _token(request: Request) -> str:
    return request.headers["authorization"].partition(" ")[2]
