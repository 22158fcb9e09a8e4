"""Callbacks: asked for by a shop's server, called by whoever accepts, withdrawn."""

from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from pydantic import AwareDatetime, Field, StringConstraints

from services.router import callbacks
from services.router.api.auth import Actor, Asker, AskerOrWho, Caller
from services.router.api.calling import begin, calls
from services.router.api.changes import CHANGES, save
from services.router.api.context import Context
from services.router.api.documents import callbacks as d
from services.router.api.documents.conversations import Changed
from services.router.api.permissions import held_by
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import (
    Done,
    Form,
    IdempotencyKey,
    IfMatch,
    MaybeWords,
    answer,
    effect,
    locked,
    matching,
)
from services.router.domain.callbacks import wished_for
from services.router.domain.conversation import Change
from services.router.inbound import Inbound
from services.router.metrics import CALLBACKS_REFUSED
from services.router.store import callbacks as wishes
from services.router.store import conversations
from shared import callbacks as rules_
from shared.accounts import Inbox
from shared.callbacks import Number, Rules
from shared.db.transaction import Transaction
from shared.errors import InboxMisconfigured, PoisonEvent, Rejected
from shared.events import Address, CallbackRequested, Event
from shared.ids import new_id

api = APIRouter(prefix="/v1", tags=["callbacks"])
T = TypeVar("T")
Short = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f]*$")]
DAY = 24 * 3600


class CallbackRequest(Form):
    phone: str = Field(
        max_length=40,
        description="With + and the country's prefix; a person's telephone in a country that the brand calls",
        examples=["+493023125123"],
    )
    name: Short = Field("", examples=["Ina Kunde"])
    brand_id: UUID | None = Field(None, description="Needed where the key is good for several brands")
    language: Annotated[str, StringConstraints(pattern="^[a-z]{2,3}$")] | None = Field(
        None, description="In which they want to be spoken to; else it is made out", examples=["de"]
    )
    preferred_at: AwareDatetime | None = Field(
        None, description="Not before this instant; as soon as possible where it is left out"
    )
    zone: Annotated[str, StringConstraints(max_length=64)] = Field(
        "", description="The customer's IANA time zone; the number's own where that has one", examples=["Europe/Berlin"]
    )
    text: MaybeWords = Field("", examples=["Meine Lieferung ist unvollständig."])
    matter: Short | None = Field(None, description="What it is about, such as an order", examples=["A-1007"])


@api.post(
    "/callback-requests", response_model=d.CallbackDocument, status_code=202, responses=responses(400, 404, 409),
    operation_id="requestCallback",
)  # fmt: skip
async def request_callback(
    request: Request, context: Context, who: Asker, body: Annotated[CallbackRequest, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Somebody wants to be called: kept once this is answered, and called in their hours by an agent of their language.

    For a shop's server, with a key of its brand. A request of a customer who waits for a call already changes its time.
    """
    brand_id = _brand(who, body.brand_id)

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        inboxes = [i for i in configuration.inboxes.values() if i.brand_id == brand_id and calls(context, i)]
        inbox, number = _checked(inboxes, lambda rules: rules_.number(body.phone, body.zone, rules, tx.now))
        rules = rules_.rules_of(inbox)
        _allowed(lambda: wished_for(body.preferred_at, tx.now, rules))
        await _check_limits(tx, rules, brand_id, number)
        facts = await Inbound(context.cache, list(context.channels.values())).take(
            tx, [_event(body, who, inbox, number, tx)]
        )
        (callback,) = [w for w in facts.callbacks.values() if facts.changes[w.conversation_id].messages]
        tx.after_commit(context.dispatcher.hint)
        return Done(_document(callback), 202)

    try:
        return await effect(context, who, request, idempotency_key, work)
    except PoisonEvent as error:
        # What the caller can mend was checked before: only the configuration is left.
        raise InboxMisconfigured(str(error), code=error.code) from error


def _brand(who: Caller, wanted: UUID | None) -> UUID:
    """Raises Problem 404 for another brand, 422 where it must be said which one."""
    if wanted is None and len(who.brands) != 1:
        raise Problem(422, "brand_needed", "Say for which brand, as `brand_id`")
    brand_id = wanted or who.brands[0]
    if brand_id not in who.brands:
        raise not_found()
    return brand_id


def _checked(inboxes: list[Inbox], check: Callable[[Rules], Number]) -> tuple[Inbox, Number]:
    """The brand's line for this number: one in its own country, else the first that calls there. Raises Problem."""
    if not inboxes:
        raise Problem(409, "no_line", "The brand has no telephone line")
    found: list[tuple[Inbox, Number]] = []
    refused: Rejected | None = None
    for inbox in sorted(inboxes, key=lambda i: i.address):
        try:
            found.append((inbox, check(rules_.rules_of(inbox))))
        except Rejected as error:
            refused = error
    if not found:
        assert refused is not None
        raise _refusal(refused)
    return next((f for f in found if f[0].country == f[1].country), found[0])


def _allowed(check: Callable[[], T]) -> T:
    try:
        return check()
    except Rejected as error:
        raise _refusal(error) from None


def _refusal(error: Rejected) -> Problem:
    CALLBACKS_REFUSED.labels(error.code).inc()
    return Problem(422, error.code, "This call cannot be made", str(error))


async def _check_limits(tx: Transaction, rules: Rules, brand_id: UUID, number: Number) -> None:
    """Raises Problem 429: whoever asks ever again, or makes others be called, is stopped."""
    await wishes.count_alone(tx, brand_id)
    of_number, of_brand = (await wishes.asked(tx, [(brand_id, number.e164)]))[brand_id, number.e164]
    for count, most, code in (
        (of_number, rules.a_day_per_number, "too_many_for_this_number"),
        (of_brand, rules.a_day, "too_many_for_this_brand"),
    ):
        if count >= most:
            CALLBACKS_REFUSED.labels(code).inc()
            raise Problem(429, code, "Too many calls were asked for within a day", headers={"Retry-After": str(DAY)})


def _event(body: CallbackRequest, who: Caller, inbox: Inbox, number: Number, tx: Transaction) -> Event:
    data = CallbackRequested(
        channel=inbox.channel,
        keys=[f"callback:{new_id()}"],
        # Whoever asks, the answer goes to this number alone: it is its owner who is called, so theirs is the history.
        sender=Address(kind="phone", value=number.e164, name=body.name.strip(), verified_by="channel"),
        occurred_at=tx.now,
        language=body.language,
        preferred_at=body.preferred_at,
        zone=number.zone,
        text=body.text,
        matter=body.matter or None,
    )
    return Event(
        data=data, key=f"{inbox.id}:{number.e164}", source=who.actor, time=tx.now, brand_id=inbox.brand_id,
        inbox_id=inbox.id,
    )  # fmt: skip


def _document(callback: wishes.Callback) -> d.CallbackDocument:
    return d.CallbackDocument(
        id=callback.id,
        conversation_id=callback.conversation_id,
        phone=callback.phone,
        zone=callback.zone,
        state=callback.state,
        call_at=callback.next_at if callback.state == "scheduled" else None,
        attempts=callback.attempts,
        outcome=callback.outcome,
    )


@api.get(
    "/callback-requests/{callback_id}", response_model=d.CallbackDocument, responses=responses(404),
    operation_id="getCallback",
)  # fmt: skip
async def get_callback(callback_id: UUID, context: Context, who: AskerOrWho) -> Response:
    """How it stands."""

    async def work(tx: Transaction) -> Done:
        callback = await wishes.get(tx, callback_id)
        if callback is None:
            raise not_found()
        return Done(_document(callback))

    return await answer(context, who, work)


@api.post(
    "/callback-requests/{callback_id}/withdraw", response_model=d.CallbackDocument, status_code=202,
    responses=responses(400, 404, 409), operation_id="withdrawCallback",
)  # fmt: skip
async def withdraw_callback(
    callback_id: UUID, request: Request, context: Context, who: Asker, idempotency_key: IdempotencyKey = None
) -> Response:
    """They do not want the call any more; one that is under way ends unless the customer has answered.

    Its own state is the condition, so there is no `If-Match`.
    """

    async def work(tx: Transaction) -> Done:
        found = await wishes.get(tx, callback_id)
        if found is None:
            raise not_found()
        c = await locked(tx, found.conversation_id)
        callback = await wishes.get(tx, callback_id) or found
        if not callback.is_open:
            raise Problem(409, "wrong_state", "It is over already", f"Its state is {callback.state}")
        change = Change.of(c, tx.now)
        callbacks.withdraw(change, callback, who.actor)
        await wishes.save(tx, [callback])
        if change.entries:
            await conversations.save(tx, [change], await context.cache.current(tx))
        else:
            await conversations.emit(tx, change)
        return Done(_document(callback), 202)

    return await effect(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/call", response_model=Changed, status_code=202, responses=CHANGES,
    operation_id="callCustomer",
)  # fmt: skip
async def call(
    conversation_id: UUID, request: Request, context: Context, who: Actor, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Calls my telephone and then the customer's: once more, or for what was handed over to me."""

    async def work(tx: Transaction) -> Done:
        c = held_by(await matching(tx, conversation_id, if_match), who)
        if c.agent_id != who.agent:
            raise Problem(403, "not_yours", "Somebody else holds it")
        configuration = await context.cache.current(tx)
        change = Change.of(c, tx.now)
        if not await begin(tx, context, configuration, change, who):
            raise Problem(409, "nobody_to_call", "There is nobody to call in this conversation")
        return await save(tx, context, change, status=202)

    return await effect(context, who, request, idempotency_key, work)
