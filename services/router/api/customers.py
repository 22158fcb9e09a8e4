"""Customers: who they are and may be, and everything that they ever wrote, over all inboxes of their brand."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request, Response

from services.router.api.auth import Actor, Caller, Who
from services.router.api.context import Context
from services.router.api.documents import customers as d
from services.router.api.documents.messages import TimelineMessage
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor, read_timeline_cursor
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, IdempotencyKey, IfMatch, answer, check_match, effect
from services.router.domain import sentences
from services.router.domain.identity import People
from services.router.files import Shown
from services.router.store import audit, customers, screens, suggestions
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1/customers/{customer_id}", tags=["customers"])
CHANGES = responses(400, 404, 409, 412, 413, 428)


@api.get("", response_model=d.CustomerDocument, responses=responses(404), operation_id="getCustomer")
async def get_customer(customer_id: UUID, context: Context, who: Who) -> Response:
    """Name, languages, addresses with how each is known, and who else they may be."""

    async def work(tx: Transaction) -> Done:
        return await _shown(tx, customer_id)

    return await answer(context, who, work)


@api.get("/timeline", response_model=d.TimelinePage, responses=responses(400, 404), operation_id="getTimeline")
async def get_timeline(
    customer_id: UUID, context: Context, who: Who, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Newest first, over all channels and everybody who was merged."""
    after = read_timeline_cursor(cursor)

    async def work(tx: Transaction) -> Done:
        group = await _group(tx, customer_id)
        rows = await screens.timeline(tx, group, after, limit)
        brand_id = (await screens.customer(tx, group))["brand_id"]
        shown = Shown(context.links, context.channels, tx.now)
        items = [TimelineMessage(**shown.message(row, brand_id, row["channel"])) for row in rows]
        return Done(d.TimelinePage(items=items, next=next_cursor(rows, limit, "occurred_at", "received_at")))

    return await answer(context, who, work)


@api.get("/history", response_model=d.CustomerHistory, responses=responses(400, 404), operation_id="getCustomerHistory")
async def get_history(
    customer_id: UUID, context: Context, who: Who, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """Who merged, split or kept them apart, and why; newest first."""
    after = read_cursor(cursor)

    async def work(tx: Transaction) -> Done:
        rows = await screens.customer_audit(tx, await _group(tx, customer_id), after, limit)
        return Done(d.CustomerHistory(items=[_event(row) for row in rows], next=next_cursor(rows, limit, "at")))

    return await answer(context, who, work)


@api.post(
    "/suggestions/{other_id}/dismiss", response_model=d.CustomerDocument, responses=CHANGES,
    operation_id="dismissSuggestion",
)  # fmt: skip
async def dismiss(
    customer_id: UUID, other_id: UUID, request: Request, context: Context, who: Actor,
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """They are not one: it is not suggested again, and nothing links them by itself."""

    async def work(tx: Transaction) -> Done:
        people, reasons = await _answer(tx, customer_id, other_id, who, if_match, "refused")
        await _note(tx, people, who, "customer.kept_apart", [customer_id, other_id], reasons)
        return await _shown(tx, customer_id)

    return await effect(context, who, request, idempotency_key, work)


@api.post(
    "/suggestions/{other_id}/confirm", response_model=d.CustomerDocument, responses=CHANGES,
    operation_id="confirmSuggestion",
)  # fmt: skip
async def confirm(
    customer_id: UUID, other_id: UUID, request: Request, context: Context, who: Actor,
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """They are one: their histories are shown as one from now on. Also what was dismissed before can be confirmed."""

    async def work(tx: Transaction) -> Done:
        people, reasons = await _answer(tx, customer_id, other_id, who, if_match, "confirmed")
        merge = people.merge(customer_id, other_id, "confirmed")
        assert merge is not None
        await customers.save(tx, people)
        await _note(tx, people, who, "customer.merged", [merge.survivor, merge.absorbed], reasons)
        return await _shown(tx, customer_id)

    return await effect(context, who, request, idempotency_key, work)


@api.post("/split", response_model=d.CustomerDocument, responses=CHANGES, operation_id="splitCustomer")
async def split(
    customer_id: UUID, request: Request, context: Context, who: Actor, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Takes whom one address brought out of those whom they were merged with, their conversations with them.

    Nothing links them by itself again.
    """

    async def work(tx: Transaction) -> Done:
        await _group(tx, customer_id)
        people = await customers.lock_groups(tx, [customer_id])
        await _matching(tx, customer_id, if_match)
        rest = people.split(customer_id)
        if rest is None:
            raise Problem(409, "not_merged", "Nobody was merged with them")
        await customers.save(tx, people)
        await suggestions.refuse(tx, people.by_id[customer_id].brand_id, customer_id, rest, who.actor)
        await _note(tx, people, who, "customer.split", [customer_id, rest], [])
        return await _shown(tx, customer_id)

    return await effect(context, who, request, idempotency_key, work)


async def _answer(
    tx: Transaction, customer_id: UUID, other_id: UUID, who: Caller, if_match: str | None, state: str
) -> tuple[People, list[str]]:
    """Both groups under lock and the reasons that were suggested.

    Raises Problem 404 where nothing is suggested of the two, 409 where they are one already, 412, 428.
    """
    await _group(tx, other_id)
    await _group(tx, customer_id)
    people = await customers.lock_groups(tx, [customer_id, other_id])
    await _matching(tx, customer_id, if_match)
    ones, others = ([c.id for c in people.group(id_)] for id_ in (customer_id, other_id))
    if ones == others:
        raise Problem(409, "already_one", "They are one customer already")
    reasons = await suggestions.answer(tx, ones, others, state, who.actor)
    if not reasons:
        raise not_found()
    return people, reasons


async def _group(tx: Transaction, customer_id: UUID) -> list[UUID]:
    """Raises Problem 404."""
    group = await screens.group_of(tx, customer_id)
    if not group:
        raise not_found()
    return group


async def _shown(tx: Transaction, customer_id: UUID) -> Done:
    group = await _group(tx, customer_id)
    suggested = [row for row in await suggestions.of_group(tx, group) if row["reasons"]]
    names = await screens.customer_names(tx, [row["root"] for row in suggested])
    document = d.CustomerDocument(
        **await screens.customer(tx, group),
        merged=group[1:],
        suggestions=[
            d.SuggestionDocument(
                customer_id=row["root"],
                name=names[row["root"]],
                reasons=sentences.of_suggestion(row["reasons"]),
                at=row["at"],
            )
            for row in suggested
        ],
    )
    return Done(document, version=_version(document))


def _version(document: d.CustomerDocument) -> int:
    """Of who they are and may be; what they write changes nothing of that."""
    seen: list[Any] = [document.id, document.merged, [(s.customer_id, s.reasons) for s in document.suggestions]]
    return int.from_bytes(hashlib.sha256(repr(seen).encode()).digest()[:6])


async def _matching(tx: Transaction, customer_id: UUID, if_match: str | None) -> None:
    """Raises Problem 404, 428, 412."""
    found = (await _shown(tx, customer_id)).version
    assert found is not None
    check_match(found, if_match)


def _event(row: dict[str, Any]) -> d.CustomerEvent:
    data = row.pop("data")
    reasons = sentences.of_suggestion(data["because"])
    return d.CustomerEvent(**row, customers=data["customers"], reasons=reasons)


async def _note(
    tx: Transaction, people: People, who: Caller, action: str, ids: Sequence[UUID], reasons: Sequence[str]
) -> None:
    brand_id = people.by_id[ids[0]].brand_id
    await audit.note(tx, brand_id, who.actor, action, {"customers": ids, "because": reasons})
