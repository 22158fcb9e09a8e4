"""Customers: who they are and everything that they ever wrote, over all inboxes of their brand."""

from uuid import UUID

from fastapi import APIRouter, Response

from services.router.api import documents as d
from services.router.api.auth import Who
from services.router.api.context import Context
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor
from services.router.api.problems import not_found, responses
from services.router.api.requests import Done, answer
from services.router.files import Shown
from services.router.store import screens
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1/customers", tags=["customers"])


@api.get("/{customer_id}", response_model=d.CustomerDocument, responses=responses(404), operation_id="getCustomer")
async def get_customer(customer_id: UUID, context: Context, who: Who) -> Response:
    """Name, languages and addresses, with how each is known."""

    async def work(tx: Transaction) -> Done:
        found = await screens.customer(tx, customer_id)
        if found is None:
            raise not_found()
        return Done(d.CustomerDocument(**found))

    return await answer(context, who, work)


@api.get(
    "/{customer_id}/timeline", response_model=d.TimelinePage, responses=responses(400, 404), operation_id="getTimeline"
)
async def get_timeline(
    customer_id: UUID, context: Context, who: Who, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Newest first."""
    after = read_cursor(cursor)

    async def work(tx: Transaction) -> Done:
        rows = await screens.timeline(tx, customer_id, after, limit)
        if rows is None:
            raise not_found()
        found = await screens.customer(tx, customer_id)
        assert found is not None
        shown = Shown(context.links, context.channels, tx.now)
        items = [d.TimelineMessage(**shown.message(row, found["brand_id"], row["channel"])) for row in rows]
        return Done(d.TimelinePage(items=items, next=next_cursor(rows, limit, "occurred_at")))

    return await answer(context, who, work)
