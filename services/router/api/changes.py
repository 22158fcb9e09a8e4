"""What agents do with a conversation: take it, give it back or on, correct it, note, be done with it."""

from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from pydantic import Field, model_validator

from services.router.api.auth import Actor, Caller
from services.router.api.calling import begin
from services.router.api.context import Api, Context
from services.router.api.documents import conversations as d
from services.router.api.documents.examples import ID
from services.router.api.permissions import author_kind, give, known_to, offered_to, open_to, wrong_state
from services.router.api.problems import Problem, responses
from services.router.api.requests import Done, Form, IdempotencyKey, IfMatch, Why, Words, effect, locked, matching
from services.router.domain.conversation import (
    Assigned,
    Change,
    Conversation,
    Declined,
    LanguageSet,
    Message,
    NoteAdded,
    Resolved,
)
from services.router.domain.plan import Configuration, by_hand
from services.router.queueing import dismiss, enqueue
from services.router.store import conversations, screens
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1/conversations/{conversation_id}", tags=["conversations"])
CHANGES = responses(400, 404, 409, 412, 413, 428)


class Reason(Form):
    reason: Why = Field("", examples=["lunch"])


class NoteText(Form):
    text: Words = Field(examples=["Called the warehouse: it left yesterday"])


class Target(Form):
    """A colleague or a pool; neither is back to the queues of its language."""

    pool_id: UUID | None = Field(None, examples=[ID])
    agent_id: UUID | None = None
    reason: Why = Field("", examples=["knows about warranties"])

    @model_validator(mode="after")
    def _one(self) -> Self:
        if self.pool_id and self.agent_id:
            raise ValueError("a pool or an agent, not both")
        return self


class Language(Form):
    language: str = Field(pattern="^[a-z]{2,3}$", examples=["pl"])


async def save(
    tx: Transaction, context: Api, change: Change, *, status: int = 200, message_id: UUID | None = None
) -> Done:
    """Writes the change and lets dispatch look; the answer with its new version."""
    await conversations.save(tx, [change], await context.cache.current(tx))
    tx.after_commit(context.dispatcher.hint)
    return done(change.after, status=status, message_id=message_id)


def done(c: Conversation, *, status: int = 200, message_id: UUID | None = None) -> Done:
    document = d.Changed(
        conversation_id=c.id, state=c.state, version=c.version, agent_id=c.agent_id, message_id=message_id
    )
    return Done(document, status, c.version)


@api.post("/accept", response_model=d.Changed, responses=CHANGES, operation_id="acceptOffer")
async def accept(
    conversation_id: UUID, request: Request, context: Context, who: Actor, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Takes what is held out to me; its units have been mine since the offer. Of a line that calls I am called now."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(offered_to(await matching(tx, conversation_id, if_match), who), tx.now)
        change.record(Assigned(agent_id=who.agent, because="accepted"), who.actor)
        await begin(tx, context, await context.cache.current(tx), change, who)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


@api.post("/decline", response_model=d.Changed, responses=CHANGES, operation_id="declineOffer")
async def decline(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[Reason, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Gives back what is held out to me; I am not asked again in this round."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(offered_to(await matching(tx, conversation_id, if_match), who), tx.now)
        change.record(Declined(agent_id=who.agent, reason=body.reason), who.actor)
        enqueue(change, await context.cache.current(tx), "declined", tx.now, pool_id=change.after.plan_id)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


@api.post("/claim", response_model=d.Changed, responses=CHANGES, operation_id="claimConversation")
async def claim(
    conversation_id: UUID, request: Request, context: Context, who: Actor, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Takes a waiting conversation out of a queue of mine, where I have room."""

    async def work(tx: Transaction) -> Done:
        c = await matching(tx, conversation_id, if_match)
        if c.state != "waiting":
            raise wrong_state(c, "Only a waiting conversation can be taken")
        configuration = await context.cache.current(tx)
        pool = _queue_of(c, configuration, who.agent)
        await give(tx, configuration, c, who.agent)
        change = Change.of(c, tx.now)
        change.record(Assigned(agent_id=who.agent, because="claimed"), who.actor)
        change.explain("agent", agent=who.agent, how="claimed", pool=pool)
        await begin(tx, context, configuration, change, who)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


def _queue_of(c: Conversation, configuration: Configuration, agent_id: UUID) -> str:
    """The handle of the agent's first pool in whose queue it waits. Raises Problem 403."""
    for pool_id, _ in conversations.queue_rows(c, configuration):
        pool = configuration.pools[pool_id]
        if agent_id in pool.members:
            return pool.handle
    raise Problem(403, "not_your_queue", "It waits in no queue of yours")


@api.post("/transfer", response_model=d.Changed, responses=CHANGES, operation_id="transferConversation")
async def transfer(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[Target, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """To a colleague with room, to a pool, or back into the queues of its language; age and clock stay."""

    async def work(tx: Transaction) -> Done:
        c = open_to(await matching(tx, conversation_id, if_match), who)
        configuration = await context.cache.current(tx)
        change = Change.of(c, tx.now)
        if body.agent_id:
            await _hand_over(tx, configuration, change, who, body.agent_id, body.reason)
        else:
            _put_back(configuration, change, body.pool_id, body.reason)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


async def _hand_over(
    tx: Transaction, configuration: Configuration, change: Change, who: Caller, agent_id: UUID, reason: str
) -> None:
    if change.after.agent_id == agent_id:
        raise Problem(409, "already_theirs", "This agent has it already")
    await give(tx, configuration, change.after, agent_id)
    change.record(Assigned(agent_id=agent_id, because=reason or "transferred"), who.actor)
    giver = configuration.agents.get(who.agent_id) if who.agent_id else None
    by = giver.name if giver else who.actor
    change.explain("agent", agent=agent_id, how="transferred", by=by, because=reason)


def _put_back(configuration: Configuration, change: Change, pool_id: UUID | None, reason: str) -> None:
    c = change.after
    if pool_id and by_hand(configuration, pool_id, c.brand_id, c.channel) is None:
        raise Problem(409, "no_such_pool", "No pool with this id serves this brand and channel")
    enqueue(change, configuration, reason or "transferred", change.now, pool_id=pool_id)


@api.post("/resolve", response_model=d.Changed, responses=CHANGES, operation_id="resolveConversation")
async def resolve(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[Reason, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Done, also where nothing had to be answered; the clock stops."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(open_to(await matching(tx, conversation_id, if_match), who), tx.now)
        # A reply on its way still has to meet the clock.
        answered = await screens.has_reply_on_its_way(tx, conversation_id)
        change.record(Resolved(because=body.reason or "resolved", answered=answered), who.actor)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


@api.post("/no-reply-needed", response_model=d.Changed, responses=CHANGES, operation_id="sayNoReplyNeeded")
async def no_reply_needed(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[Reason, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """What they wrote last needs no answer, such as thanks: its clocks stop, and it waits for nobody any more."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(known_to(await matching(tx, conversation_id, if_match), who), tx.now)
        if change.after.unanswered_since is None:
            raise Problem(409, "nothing_unanswered", "Nothing in it waits for an answer")
        dismiss(change, body.reason, who.actor)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


@api.post("/language", response_model=d.Changed, responses=CHANGES, operation_id="correctLanguage")
async def language(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[Language, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """It is another language: to the queues of that one, with its age and its clock."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(known_to(await matching(tx, conversation_id, if_match), who), tx.now)
        change.record(LanguageSet(language=body.language, by="agent"), who.actor)
        change.explain("language", language=body.language, by="agent")
        enqueue(change, await context.cache.current(tx), "wrong language", tx.now)
        return await save(tx, context, change)

    return await effect(context, who, request, idempotency_key, work)


@api.post(
    "/notes", response_model=d.Changed, status_code=201, responses=responses(400, 404, 409, 413),
    operation_id="addNote",
)  # fmt: skip
async def note(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[NoteText, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """For colleagues; the customer never sees it. It changes no state, so whoever sees it may write one at any time."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(await locked(tx, conversation_id), tx.now)
        message = Message(
            kind="note",
            author_kind=author_kind(who),
            author_id=who.agent_id,
            text=body.text,
            occurred_at=tx.now,
            received_at=tx.now,
        )
        change.messages.append(message)
        change.record(NoteAdded(message_id=message.id), who.actor)
        return await save(tx, context, change, status=201, message_id=message.id)

    return await effect(context, who, request, idempotency_key, work)
