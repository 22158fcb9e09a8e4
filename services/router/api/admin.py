"""For operators: the dead letters, and their replay."""

import base64
from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.router.api.auth import Admin, Caller
from services.router.api.context import Api, Context
from services.router.api.documents import dead as d
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, IdempotencyKey, act
from services.router.store import audit, dead
from shared.db.transaction import Database, Transaction
from shared.errors import InboxMisconfigured, Rejected

api = APIRouter(prefix="/v1/dead", tags=["operations"])


async def _reach(context: Api, who: Caller) -> tuple[Database, Sequence[UUID] | None]:
    """Where an admin looks: everywhere if all brands are theirs, else behind the walls of their own.

    What no brand is known of is shown to the former alone, for it may be anybody's.
    """
    configuration = await context.router_database.retrying(context.cache.current)
    if configuration.brand_names.keys() <= set(who.brands):
        return context.router_database, None
    return context.database, who.brands


@api.get("", response_model=d.DeadPage, responses=responses(400), operation_id="listDead")
async def list_dead(context: Context, who: Admin, cursor: Cursor = None, limit: Limit = 50) -> d.DeadPage:
    """What could not be read or handled, newest first."""
    after = read_cursor(cursor)
    database, brands = await _reach(context, who)
    rows = await database.retrying(lambda tx: dead.newest(tx, limit, after), brands=brands)
    return d.DeadPage(items=[d.DeadSummary(**row) for row in rows], next=next_cursor(rows, limit, "last_at"))


@api.get("/{dead_id}", response_model=d.DeadDocument, responses=responses(404), operation_id="getDead")
async def get_dead(dead_id: UUID, context: Context, who: Admin) -> d.DeadDocument:
    """The item as it came."""
    database, brands = await _reach(context, who)
    row = await database.retrying(lambda tx: dead.get(tx, dead_id), brands=brands)
    if row is None:
        raise not_found()
    value = base64.b64encode(row.pop("value")).decode()
    shown = {name: row[name] for name in d.DeadDocument.model_fields if name != "value_base64"}
    return d.DeadDocument(**shown, value_base64=value)


@api.post("/{dead_id}/replay", response_model=d.Replayed, responses=responses(400, 404, 409), operation_id="replayDead")
async def replay_dead(
    dead_id: UUID, request: Request, context: Context, who: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """Publishes it again with its own ids, so that even two replays have one effect."""

    async def work(tx: Transaction) -> Done:
        row = await dead.get(tx, dead_id)
        if row is None:
            raise not_found()
        await _replay(tx, dead_id)
        await audit.note(tx, row["brand_id"], who.actor, "dead.replayed", {"dead": dead_id})
        return Done(d.Replayed(id=dead_id, replayed=True))

    database, brands = await _reach(context, who)
    return await act(database, brands, who, request, idempotency_key, work)


async def _replay(tx: Transaction, dead_id: UUID) -> None:
    try:
        await dead.replay(tx, dead_id)
    except (InboxMisconfigured, Rejected) as error:
        raise Problem(409, error.code, "It cannot be replayed", str(error)) from None
