"""Conversations: what an agent sees, and everything that they can do with one."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, Field

from services.router.api import documents as d
from services.router.api.context import (
    Api,
    Caller,
    Context,
    Done,
    IdempotencyKey,
    IfMatch,
    Who,
    act,
    check_text,
    locked,
    name_of,
    read,
)  # fmt: skip
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor
from services.router.api.problems import Problem, not_found, responses
from services.router.domain import sentences
from services.router.domain.conversation import (
    Assigned,
    Change,
    Conversation,
    Declined,
    LanguageSet,
    Message,
    NoteAdded,
    ReplyWritten,
    Resolved,
)  # fmt: skip
from services.router.domain.plan import Configuration
from services.router.inbound import enqueue
from services.router.store import agents, conversations, screens
from shared.channels.contract import Permission
from shared.db.transaction import Transaction
from shared.events import AuthorKind, ReplayDelivery, SendReply, WithdrawReply

api = APIRouter(prefix="/v1", tags=["conversations"])
# A reply that could not leave for this long is not worth sending any more.
REPLY_LASTS = timedelta(days=7)
TIMELINE = 50
CHANGES = responses(400, 404, 409, 412, 428)


@dataclass(frozen=True)
class Draft:
    """What an agent might write."""

    reply_context: bytes
    author_kind: AuthorKind = "agent"


class Reason(BaseModel):
    reason: str = Field("", max_length=500, examples=["lunch"])


class ReplyText(BaseModel):
    text: str = Field(min_length=1, max_length=50_000, examples=["Ihr Paket ist unterwegs und kommt morgen an."])
    resolve: bool = Field(False, description="Done with this once the vendor has taken the reply")


class NoteText(BaseModel):
    text: str = Field(min_length=1, max_length=50_000, examples=["Called the warehouse: it left yesterday"])


class Target(BaseModel):
    pool_id: UUID | None = None
    agent_id: UUID | None = None
    reason: str = Field("", max_length=500)


class Language(BaseModel):
    language: str = Field(pattern="^[a-z]{2,3}$", examples=["pl"])


@api.get(
    "/conversations", response_model=d.ConversationPage, responses=responses(400), operation_id="listConversations"
)
async def list_conversations(
    context: Context,
    who: Who,
    state: Annotated[Literal["waiting", "offered", "assigned", "resolved"] | None, Query()] = None,
    agent: Annotated[Literal["me"] | None, Query(description="Only what I hold")] = None,
    language: Annotated[str | None, Query(pattern="^[a-z]{2,3}$")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The most urgent first."""
    after = read_cursor(cursor)

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        rows = await screens.conversation_list(
            tx, state=state, agent_id=who.agent if agent else None, language=language, after=after, limit=limit
        )
        items = [_summary(row, configuration) for row in rows]
        return Done(d.ConversationPage(items=items, next=next_cursor(rows, limit, "sort")))

    return await read(context, who, work)


@api.get(
    "/conversations/{conversation_id}", response_model=d.ConversationDocument, responses=responses(404),
    operation_id="getConversation",
)  # fmt: skip
async def get_conversation(conversation_id: UUID, context: Context, who: Who) -> Response:
    """All of it: messages with receipts, clock, whether one may write, the decision, the customer's timeline."""

    async def work(tx: Transaction) -> Done:
        rows = await tx.fetch(
            "SELECT c.*, k.name AS customer_name FROM router.conversation AS c "
            "JOIN router.customer AS k ON k.id = c.customer_id WHERE c.id = $1",
            conversation_id,
        )
        if not rows:
            raise not_found()
        row = dict(rows[0])
        configuration = await context.cache.current(tx)
        timeline = await screens.timeline(tx, row["customer_id"], None, TIMELINE) or []
        clock = await screens.running_clock(tx, conversation_id)
        permission = _permission(context, configuration, row, tx)
        document = d.ConversationDocument(
            **_summary(row, configuration).model_dump(),
            language_by=row["language_by"],
            thread=row["thread"],
            matter=row["matter"],
            messages=[d.MessageDocument(**m) for m in await screens.messages(tx, conversation_id)],
            clock=_clock(clock, tx) if clock else None,
            may_write=d.MayWrite(
                allowed=permission.allowed,
                reason=permission.reason,
                until=permission.until,
                sentence=permission.sentence,
            ),
            decision=_decision(await screens.decisions(tx, conversation_id), row, configuration),
            timeline=[d.TimelineMessage(**m) for m in timeline],
        )
        return Done(document, version=row["version"])

    return await read(context, who, work)


@api.get(
    "/conversations/{conversation_id}/history", response_model=d.HistoryDocument, responses=responses(404),
    operation_id="getHistory",
)  # fmt: skip
async def get_history(conversation_id: UUID, context: Context, who: Who) -> Response:
    """Every change, in order."""

    async def work(tx: Transaction) -> Done:
        rows = await conversations.history(tx, conversation_id)
        if not rows:
            raise not_found()
        items = []
        for row in rows:
            data = msgspec.to_builtins(row.entry)
            items.append(d.HistoryEntry(n=row.n, at=row.at, kind=data.pop("kind"), actor=row.actor, data=data))
        return Done(d.HistoryDocument(items=items))

    return await read(context, who, work)


@api.post(
    "/conversations/{conversation_id}/accept", response_model=d.Changed, responses=CHANGES, operation_id="acceptOffer"
)
async def accept(
    conversation_id: UUID, request: Request, context: Context, who: Who, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Takes what is held out to me."""

    async def work(tx: Transaction) -> Done:
        change = Change.of(_offered(await locked(tx, conversation_id, if_match), who), tx.now)
        change.record(Assigned(agent_id=who.agent, because="accepted"), who.actor)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/decline", response_model=d.Changed, responses=CHANGES,
    operation_id="declineOffer",
)  # fmt: skip
async def decline(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[Reason, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Gives back what is held out to me; I am not asked again in this round."""
    check_text(body.reason)

    async def work(tx: Transaction) -> Done:
        change = Change.of(_offered(await locked(tx, conversation_id, if_match), who), tx.now)
        change.record(Declined(agent_id=who.agent, reason=body.reason), who.actor)
        enqueue(change, await context.cache.current(tx), "declined", tx.now)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/claim", response_model=d.Changed, responses=CHANGES,
    operation_id="claimConversation",
)  # fmt: skip
async def claim(
    conversation_id: UUID, request: Request, context: Context, who: Who, if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Takes a waiting conversation out of a queue of mine, where I have room."""

    async def work(tx: Transaction) -> Done:
        c = await locked(tx, conversation_id, if_match)
        configuration = await context.cache.current(tx)
        if c.state != "waiting":
            raise _wrong_state(c, "Only a waiting conversation can be taken")
        mine = {pool.id for pool in configuration.pools.values() if who.agent in pool.members}
        if not mine.intersection(pool for pool, _ in conversations.queue_rows(c, configuration)):
            raise Problem(403, "not_your_queue", "It waits in no queue of yours")
        await _check_room(tx, configuration, who.agent, c.weight)
        change = Change.of(c, tx.now)
        change.record(Assigned(agent_id=who.agent, because="claimed"), who.actor)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/reply", response_model=d.Changed, status_code=202, responses=CHANGES,
    operation_id="writeReply",
)  # fmt: skip
async def reply(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[ReplyText, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Accepts the reply for sending; its message shows what became of it."""
    check_text(body.text)

    async def work(tx: Transaction) -> Done:
        c = _held(await locked(tx, conversation_id, if_match), who)
        configuration = await context.cache.current(tx)
        permission = _permission_of(context, configuration, c, tx)
        if not permission.allowed:
            raise Problem(409, permission.reason, "The channel does not let us write now", permission.sentence)
        change = Change.of(c, tx.now)
        message = Message(
            kind="reply",
            author_kind="agent",
            author_id=who.agent_id,
            text=body.text,
            language=c.language,
            occurred_at=tx.now,
            received_at=tx.now,
            number=c.version + 1,
            state="queued",
            state_at=tx.now,
        )
        change.messages.append(message)
        change.record(ReplyWritten(message_id=message.id, agent_id=who.agent_id), who.actor)
        change.emit(
            SendReply(
                reply_id=message.id,
                conversation_id=c.id,
                inbox_id=c.inbox_id,
                number=c.version + 1,
                channel=c.channel,
                reply_context=c.reply_context,
                text=body.text,
                language=c.language,
                expires_at=permission.until or tx.now + REPLY_LASTS,
            )
        )
        if body.resolve:
            change.record(Resolved(because="answered", answered=True), who.actor)
        return await _save(tx, context, change, status=202, message_id=message.id)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/notes", response_model=d.Changed, status_code=201, responses=responses(400, 404),
    operation_id="addNote",
)  # fmt: skip
async def note(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[NoteText, Body()],
    idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """For colleagues; the customer never sees it."""
    check_text(body.text)

    async def work(tx: Transaction) -> Done:
        change = Change.of(await locked(tx, conversation_id, None, needs_match=False), tx.now)
        message = Message(
            kind="note",
            author_kind="agent",
            author_id=who.agent_id,
            text=body.text,
            occurred_at=tx.now,
            received_at=tx.now,
        )
        change.messages.append(message)
        change.record(NoteAdded(message_id=message.id), who.actor)
        return await _save(tx, context, change, status=201, message_id=message.id)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/transfer", response_model=d.Changed, responses=CHANGES,
    operation_id="transferConversation",
)  # fmt: skip
async def transfer(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[Target, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """To a colleague with room, or back into the queues of its language; age and clock stay."""
    check_text(body.reason)

    async def work(tx: Transaction) -> Done:
        c = _held(await locked(tx, conversation_id, if_match), who, waiting=who.leads)
        configuration = await context.cache.current(tx)
        change = Change.of(c, tx.now)
        if body.agent_id is None:
            enqueue(change, configuration, body.reason or "transferred", tx.now)
            return await _save(tx, context, change)
        agent = configuration.agents.get(body.agent_id)
        if agent is None or c.brand_id not in agent.brands:
            raise Problem(409, "no_such_agent", "No agent of this brand has this id")
        await _check_room(tx, configuration, agent.id, c.weight)
        change.record(Assigned(agent_id=agent.id, because=body.reason or "transferred"), who.actor)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/resolve", response_model=d.Changed, responses=CHANGES,
    operation_id="resolveConversation",
)  # fmt: skip
async def resolve(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[Reason, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Done, also where nothing had to be answered; the clock stops."""
    check_text(body.reason)

    async def work(tx: Transaction) -> Done:
        c = _held(await locked(tx, conversation_id, if_match), who, waiting=who.leads)
        change = Change.of(c, tx.now)
        # A reply on its way still has to meet the clock.
        answered = await _has_reply_on_its_way(tx, conversation_id)
        change.record(Resolved(because=body.reason or "resolved", answered=answered), who.actor)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/conversations/{conversation_id}/language", response_model=d.Changed, responses=CHANGES,
    operation_id="correctLanguage",
)  # fmt: skip
async def language(
    conversation_id: UUID, request: Request, context: Context, who: Who, body: Annotated[Language, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """It is another language: to the queues of that one, with its age and its clock."""

    async def work(tx: Transaction) -> Done:
        c = _held(await locked(tx, conversation_id, if_match), who, waiting=True)
        configuration = await context.cache.current(tx)
        change = Change.of(c, tx.now)
        change.record(LanguageSet(language=body.language, by="agent"), who.actor)
        change.explain("language", language=body.language, by="agent")
        enqueue(change, configuration, "wrong language", tx.now)
        return await _save(tx, context, change)

    return await act(context, who, request, idempotency_key, work)


@api.post(
    "/replies/{reply_id}/withdraw", response_model=d.Changed, status_code=202, responses=responses(400, 404),
    operation_id="withdrawReply",
)  # fmt: skip
async def withdraw(
    reply_id: UUID, request: Request, context: Context, who: Who, idempotency_key: IdempotencyKey = None
) -> Response:
    """Stops what has not left yet."""
    return await _command(reply_id, request, context, who, idempotency_key, WithdrawReply)


@api.post(
    "/replies/{reply_id}/replay", response_model=d.Changed, status_code=202, responses=responses(400, 404),
    operation_id="replayReply",
)  # fmt: skip
async def replay(
    reply_id: UUID, request: Request, context: Context, who: Who, idempotency_key: IdempotencyKey = None
) -> Response:
    """Tries a refused or unknown reply again; after *unknown* the customer may get it twice."""
    return await _command(reply_id, request, context, who, idempotency_key, ReplayDelivery)


async def _command(
    reply_id: UUID, request: Request, context: Api, who: Caller, key: str | None,
    command: type[WithdrawReply | ReplayDelivery],
) -> Response:  # fmt: skip
    async def work(tx: Transaction) -> Done:
        conversation_id = await screens.reply_conversation(tx, reply_id)
        if conversation_id is None:
            raise not_found()
        c = await locked(tx, conversation_id, None, needs_match=False)
        change = Change.of(c, tx.now)
        change.emit(command(reply_id=reply_id, conversation_id=c.id))
        await conversations.emit(tx, change)
        return Done(d.Changed(conversation_id=c.id, state=c.state, version=c.version, message_id=reply_id), 202)

    return await act(context, who, request, key, work)


async def _save(
    tx: Transaction, context: Api, change: Change, *, status: int = 200, message_id: UUID | None = None
) -> Done:
    await conversations.save(tx, [change], await context.cache.current(tx))
    tx.after_commit(context.dispatcher.hint)
    c = change.after
    document = d.Changed(
        conversation_id=c.id, state=c.state, version=c.version, agent_id=c.agent_id, message_id=message_id
    )
    return Done(document, status, c.version)


def _offered(c: Conversation, who: Caller) -> Conversation:
    if c.state != "offered" or c.agent_id != who.agent:
        raise _wrong_state(c, "It is not held out to you (any more)")
    return c


def _held(c: Conversation, who: Caller, *, waiting: bool = False) -> Conversation:
    """Only its holder, or somebody who leads, may change it."""
    if who.role == "brand":
        raise Problem(403, "not_allowed", "A brand can look, not answer")
    if waiting and c.is_open and (who.leads or c.agent_id in (None, who.agent_id)):
        return c
    if c.state != "assigned":
        raise _wrong_state(c, "Nobody holds it; accept or claim it first")
    if c.agent_id != who.agent_id and not who.leads:
        raise Problem(403, "not_yours", "Somebody else holds it")
    return c


def _wrong_state(c: Conversation, title: str) -> Problem:
    return Problem(409, "wrong_state", title, f"Its state is {c.state}", {"ETag": f'"{c.version}"'})


async def _check_room(tx: Transaction, configuration: Configuration, agent_id: UUID, weight: int) -> None:
    """Under the lock of the agent's presence, so that two who give to one agent cannot both find room."""
    found = (await agents.lock_with_loads(tx, [agent_id])).get(agent_id)
    agent = configuration.agents.get(agent_id)
    if agent is None or found is None or not found[0].is_there(tx.now):
        raise Problem(409, "not_there", "The agent is not there")
    if found[1] + weight > agent.capacity:
        raise Problem(409, "no_capacity", "The agent has no room for it")


async def _has_reply_on_its_way(tx: Transaction, conversation_id: UUID) -> bool:
    rows = await screens.messages(tx, conversation_id)
    return any(row["kind"] == "reply" and row["state"] == "queued" for row in rows)


def _summary(row: dict[str, Any], configuration: Configuration) -> d.ConversationSummary:
    names = d.ConversationSummary.model_fields.keys() - {"agent_name"}
    return d.ConversationSummary(
        **{name: row[name] for name in names}, agent_name=name_of(configuration, row["agent_id"])
    )


def _clock(row: dict[str, Any], tx: Transaction) -> d.ClockDocument:
    return d.ClockDocument(
        target=row["target"],
        started_at=row["started_at"],
        due_at=row["due_at"],
        seconds_left=(row["due_at"] - tx.now).total_seconds(),
        is_missed=row["due_at"] <= tx.now,
    )


def _permission(context: Api, configuration: Configuration, row: dict[str, Any], tx: Transaction) -> Permission:
    channel, inbox = context.channels.get(row["channel"]), configuration.inboxes.get(row["inbox_id"])
    if channel is None or inbox is None:
        return Permission(allowed=False, reason="no_channel", sentence="Its inbox is not configured any more.")
    return channel.may_write(Draft(row["reply_context"]), inbox, tx.now)


def _permission_of(context: Api, configuration: Configuration, c: Conversation, tx: Transaction) -> Permission:
    row = {"channel": c.channel, "inbox_id": c.inbox_id, "reply_context": c.reply_context}
    return _permission(context, configuration, row, tx)


def _decision(
    decisions: dict[str, dict[str, Any]], row: dict[str, Any], configuration: Configuration
) -> d.DecisionDocument | None:
    """The newest of who got it and why it waits; the language's evidence beside it."""
    agent, plan = decisions.get("agent"), decisions.get("plan")
    evidence: dict[str, Any] = {name: value for name, value in decisions.items() if value}
    if agent and (not plan or agent["n"] > plan["n"]) and row["state"] != "waiting":
        return d.DecisionDocument(sentence=sentences.of_agent(agent, configuration.agents), evidence=evidence)
    if plan:
        return d.DecisionDocument(sentence=sentences.of_waiting(plan), evidence=evidence)
    return None
