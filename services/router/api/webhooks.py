"""For operators: where alerts are posted, what got through, and sending again what did not."""

import secrets as randomness
from typing import Annotated, Any, Literal, Self
from uuid import UUID

import msgspec
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from services.router.api.auth import Admin, Caller
from services.router.api.context import Api, Context
from services.router.api.documents import webhooks as d
from services.router.api.documents.examples import ID
from services.router.api.pages import EARLIEST, LATEST, Cursor, Limit, next_cursor, read_cursor
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, Form, IdempotencyKey, Why, act
from services.router.configuration.webhooks import Secret, Url
from services.router.domain import signing
from services.router.domain.alerts import AlertName
from services.router.domain.plan import Configuration
from services.router.store import audit, webhooks
from shared.db.transaction import Transaction
from shared.errors import Rejected
from shared.guard import parsed
from shared.ids import derived_id, new_id

api = APIRouter(prefix="/v1/webhooks", tags=["operations"])
ONE = "/{webhook_id}"
ACTS = responses(400, 404, 409, 413)
TEST = "webhook.test"
State = Annotated[Literal["waiting", "delivered", "failed"] | None, Query()]


class NewWebhook(Form):
    """Without `events` or `brands` all of them; without `secret` we make one."""

    handle: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")] = Field(examples=["operations"])
    url: Url
    events: list[AlertName] = Field([], max_length=20, examples=[["deadline.missed"]])
    brands: list[UUID] = Field([], max_length=1000)
    secret: Secret | None = None


class Again(Form):
    """One alert, or those since an instant (before `until`) that did not get through."""

    event_id: UUID | None = Field(None, examples=[ID])
    since: AwareDatetime | None = Field(None, ge=EARLIEST, le=LATEST)
    until: AwareDatetime | None = Field(None, ge=EARLIEST, le=LATEST)

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.event_id is None) == (self.since is None) or (self.until and self.event_id):
            raise ValueError("either `event_id`, or `since` with or without `until`")
        return self


def _may(who: Caller, brands: list[UUID], configuration: Configuration) -> bool:
    """Whether all that the webhook is told of is the caller's."""
    return set(brands or configuration.brand_names) <= set(who.brands)


async def _found(tx: Transaction, context: Api, who: Caller, webhook_id: UUID, *, lock: bool = False) -> dict[str, Any]:
    """Raises Problem 404 for an unknown one, and for one that tells of brands which are not the caller's."""
    row = await webhooks.webhook(tx, webhook_id, lock=lock)
    if row is None or not _may(who, row["brands"], await context.cache.current(tx)):
        raise not_found()
    return row


async def _document(tx: Transaction, row: dict[str, Any]) -> d.WebhookDocument:
    figures = (await webhooks.figures(tx, [row["id"]])).get(row["id"], {})
    return _shown(row, figures)


def _shown(row: Any, figures: Any) -> d.WebhookDocument:
    names = d.WebhookDocument.model_fields.keys() - {"waiting", "failed"}
    return d.WebhookDocument(**{"waiting": 0, "failed": 0, **figures}, **{name: row[name] for name in names})


def _json(document: Any) -> Response:
    return Response(document.model_dump_json(), media_type="application/json")


@api.get("", response_model=d.WebhooksDocument, responses=responses(), operation_id="listWebhooks")
async def list_webhooks(context: Context, who: Admin) -> Response:
    """Those that tell of no other brands than mine."""

    async def work(tx: Transaction) -> d.WebhooksDocument:
        configuration = await context.cache.current(tx)
        rows = [row for row in await webhooks.webhooks(tx) if _may(who, row["brands"], configuration)]
        figures = await webhooks.figures(tx, [row["id"] for row in rows])
        return d.WebhooksDocument(items=[_shown(row, figures.get(row["id"], {})) for row in rows])

    return _json(await context.router_database.retrying(work))


@api.post(
    "", response_model=d.WebhookDocument, status_code=201, responses=responses(400, 404, 409, 413),
    operation_id="createWebhook",
)  # fmt: skip
async def create(
    request: Request, context: Context, who: Admin, body: Annotated[NewWebhook, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Its secret is not in the answer: read it from `/secret`."""

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        if not set(body.brands) <= configuration.brand_names.keys() or not _may(who, body.brands, configuration):
            raise not_found()
        _check(context, body.url)
        id_ = derived_id("webhook", body.handle)
        sealed = context.vault.seal(body.secret.get_secret_value() if body.secret else _secret())
        events = list(dict.fromkeys(body.events))
        if not await webhooks.insert(
            tx, webhook_id=id_, handle=body.handle, url=body.url, events=events, brands=body.brands, sealed=[sealed]
        ):
            raise Problem(409, "handle_taken", "There is a webhook of this handle")
        await audit.note(tx, None, who.actor, "webhook.created", {"webhook": id_})
        return Done(await _document(tx, await _found(tx, context, who, id_)), 201)

    return await act(context.router_database, None, who, request, idempotency_key, work)


def _check(context: Api, url: str) -> None:
    """Raises Problem 422 for an address that no alert would ever be sent to."""
    try:
        context.receivers.check_url(parsed(url))
    except Rejected as error:
        raise Problem(422, error.code, "No alert will be sent there", str(error)) from None


def _secret() -> str:
    return signing.secret_of(randomness.token_bytes(32))


@api.get(ONE, response_model=d.WebhookDocument, responses=responses(404), operation_id="getWebhook")
async def get(webhook_id: UUID, context: Context, who: Admin) -> Response:
    """Whether it is enabled, and how much waits or failed."""

    async def work(tx: Transaction) -> d.WebhookDocument:
        return await _document(tx, await _found(tx, context, who, webhook_id))

    return _json(await context.router_database.retrying(work))


@api.delete(ONE, response_model=d.WebhookDeleted, responses=responses(404), operation_id="deleteWebhook")
async def delete(webhook_id: UUID, context: Context, who: Admin) -> Response:
    """With all that it was told, or is to be told."""

    async def work(tx: Transaction) -> d.WebhookDeleted:
        await _found(tx, context, who, webhook_id, lock=True)
        await webhooks.delete(tx, webhook_id)
        await audit.note(tx, None, who.actor, "webhook.deleted", {"webhook": webhook_id})
        return d.WebhookDeleted(id=webhook_id)

    return _json(await context.router_database.retrying(work))


@api.get(ONE + "/secret", response_model=d.WebhookSecrets, responses=responses(404), operation_id="readWebhookSecret")
async def read_secret(webhook_id: UUID, context: Context, who: Admin) -> Response:
    """What signs, the newest first; that somebody read it stands in the audit."""

    async def work(tx: Transaction) -> d.WebhookSecrets:
        row = await _found(tx, context, who, webhook_id)
        await audit.note(tx, None, who.actor, "webhook.secret_read", {"webhook": webhook_id})
        return d.WebhookSecrets(secrets=[context.vault.open(sealed) for sealed in row["sealed"]])

    answer = _json(await context.router_database.retrying(work))
    answer.headers["Cache-Control"] = "no-store"
    return answer


@api.post(ONE + "/rotate", response_model=d.WebhookDocument, responses=ACTS, operation_id="rotateWebhookSecret")
async def rotate(
    webhook_id: UUID, request: Request, context: Context, who: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """A new secret; until the next rotation the one before signs too."""

    async def work(tx: Transaction) -> Done:
        row = await _found(tx, context, who, webhook_id, lock=True)
        await webhooks.set_secrets(tx, webhook_id, [context.vault.seal(_secret()), row["sealed"][0]])
        await audit.note(tx, None, who.actor, "webhook.rotated", {"webhook": webhook_id})
        return Done(await _document(tx, row))

    return await act(context.router_database, None, who, request, idempotency_key, work)


@api.post(ONE + "/enable", response_model=d.WebhookDocument, responses=ACTS, operation_id="enableWebhook")
async def enable(
    webhook_id: UUID, request: Request, context: Context, who: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """From now on; what it missed is sent by `/replay`."""

    async def work(tx: Transaction) -> Done:
        await _found(tx, context, who, webhook_id, lock=True)
        await webhooks.enable(tx, webhook_id)
        await audit.note(tx, None, who.actor, "webhook.enabled", {"webhook": webhook_id})
        return Done(await _document(tx, await _found(tx, context, who, webhook_id)))

    return await act(context.router_database, None, who, request, idempotency_key, work)


class Disable(Form):
    reason: Why = Field("", examples=["moving to another system"])


@api.post(ONE + "/disable", response_model=d.WebhookDocument, responses=ACTS, operation_id="disableWebhook")
async def disable(
    webhook_id: UUID, request: Request, context: Context, who: Admin, body: Annotated[Disable, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Alerts are kept for a replay, and not sent."""

    async def work(tx: Transaction) -> Done:
        await _found(tx, context, who, webhook_id, lock=True)
        await webhooks.disable(tx, webhook_id, body.reason or f"by {who.actor}")
        await audit.note(tx, None, who.actor, "webhook.disabled", {"webhook": webhook_id})
        return Done(await _document(tx, await _found(tx, context, who, webhook_id)))

    return await act(context.router_database, None, who, request, idempotency_key, work)


@api.post(
    ONE + "/test", response_model=d.WebhookTest, status_code=202, responses=ACTS, operation_id="testWebhook"
)  # fmt: skip
async def send_test(
    webhook_id: UUID, request: Request, context: Context, who: Admin, idempotency_key: IdempotencyKey = None
) -> Response:
    """Sends a `webhook.test`; its delivery tells what the receiver answered."""

    async def work(tx: Transaction) -> Done:
        row = await _found(tx, context, who, webhook_id)
        if not row["enabled"]:
            raise Problem(409, "disabled", "It is disabled; enable it first", row["reason"])
        id_ = new_id()
        content = {"type": TEST, "timestamp": tx.now, "data": {"webhook_id": webhook_id, "webhook": row["handle"]}}
        alert = webhooks.Alert(
            webhook_id=webhook_id, event_id=id_, brand_id=None, event=TEST, at=tx.now, body=msgspec.json.encode(content)
        )
        await webhooks.add(tx, [alert])
        tx.after_commit(context.hint_webhooks)
        return Done(d.WebhookTest(event_id=id_), 202)

    return await act(context.router_database, None, who, request, idempotency_key, work)


@api.get(
    ONE + "/deliveries", response_model=d.DeliveryPage, responses=responses(400, 404), operation_id="listDeliveries"
)  # fmt: skip
async def list_deliveries(
    webhook_id: UUID, context: Context, who: Admin, state: State = None, cursor: Cursor = None, limit: Limit = 50
) -> Response:
    """What it was told, and what the receiver answered last; the newest first, kept for 30 days."""
    after = read_cursor(cursor)

    async def work(tx: Transaction) -> d.DeliveryPage:
        await _found(tx, context, who, webhook_id)
        rows = await webhooks.deliveries(tx, webhook_id, state, after, limit)
        items = [d.DeliveryDocument(**{name: row[name] for name in d.DeliveryDocument.model_fields}) for row in rows]
        return d.DeliveryPage(items=items, next=next_cursor(rows, limit, "at"))

    return _json(await context.router_database.retrying(work))


@api.post(
    ONE + "/replay", response_model=d.ReplayedAlerts, status_code=202, responses=ACTS, operation_id="replayAlerts"
)  # fmt: skip
async def replay(
    webhook_id: UUID, request: Request, context: Context, who: Admin, body: Annotated[Again, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Sends again, with the same `webhook-id`: a receiver that has it already knows it."""

    async def work(tx: Transaction) -> Done:
        row = await _found(tx, context, who, webhook_id, lock=True)
        if not row["enabled"]:
            raise Problem(409, "disabled", "It is disabled; enable it first", row["reason"])
        count = await webhooks.replay(tx, webhook_id, body.event_id, body.since, body.until)
        if body.event_id is not None and not count:
            raise not_found()
        await audit.note(tx, None, who.actor, "webhook.replayed", {"webhook": webhook_id, "alerts": count})
        tx.after_commit(context.hint_webhooks)
        return Done(d.ReplayedAlerts(alerts=count), 202)

    return await act(context.router_database, None, who, request, idempotency_key, work)
