"""For operators: the dead letters, and their replay."""

import base64
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends

from services.router.api import documents as d
from services.router.api.context import Caller, Context, caller
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor
from services.router.api.problems import Problem, not_found, responses
from services.router.store import dead
from shared.db.transaction import Transaction
from shared.errors import InboxMisconfigured, Rejected

api = APIRouter(prefix="/v1/dead", tags=["operations"])


async def admin(who: Annotated[Caller, Depends(caller)]) -> Caller:
    """Raises Problem 403: dead letters may belong to any brand and hold what customers wrote."""
    if who.role != "admin":
        raise Problem(403, "not_allowed", "Only an admin can do this")
    return who


Admin = Annotated[Caller, Depends(admin)]


@api.get("", response_model=d.DeadPage, responses=responses(400), operation_id="listDead")
async def list_dead(context: Context, _who: Admin, cursor: Cursor = None, limit: Limit = 50) -> d.DeadPage:
    """What could not be read or handled, newest first."""
    after = read_cursor(cursor)
    rows = await context.router_database.retrying(lambda tx: dead.newest(tx, limit, after[1] if after else None))
    return d.DeadPage(items=[d.DeadSummary(**row) for row in rows], next=next_cursor(rows, limit, "last_at"))


@api.get("/{dead_id}", response_model=d.DeadDocument, responses=responses(404), operation_id="getDead")
async def get_dead(dead_id: UUID, context: Context, _who: Admin) -> d.DeadDocument:
    """The item as it came."""
    row = await context.router_database.retrying(lambda tx: dead.get(tx, dead_id))
    if row is None:
        raise not_found()
    value = base64.b64encode(row.pop("value")).decode()
    shown = {name: row[name] for name in d.DeadDocument.model_fields if name != "value_base64"}
    return d.DeadDocument(**shown, value_base64=value)


@api.post("/{dead_id}/replay", response_model=d.Replayed, responses=responses(404, 409), operation_id="replayDead")
async def replay_dead(dead_id: UUID, context: Context, _who: Admin) -> d.Replayed:
    """Publishes it again with its own ids: twice has one effect, so no Idempotency-Key is needed."""

    async def work(tx: Transaction) -> bool:
        return await dead.replay(tx, dead_id)

    try:
        found = await context.router_database.retrying(work)
    except (InboxMisconfigured, Rejected) as error:
        raise Problem(409, error.code, "It cannot be replayed", str(error)) from None
    if not found:
        raise not_found()
    return d.Replayed(id=dead_id, replayed=True)
