"""Replies: written, stopped while they have not left, and tried again where they did not go out."""

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Request, Response
from pydantic import Field, ValidationInfo, field_validator

from services.router.api.attachments import MOST_OF_A_REPLY, Named, named
from services.router.api.auth import Actor, Caller
from services.router.api.changes import CHANGES, done, save
from services.router.api.context import Api, Context
from services.router.api.documents import conversations as d
from services.router.api.permissions import author_kind, held_by, to_write
from services.router.api.problems import Problem, not_found, responses
from services.router.api.requests import Done, Form, IdempotencyKey, IfMatch, MaybeWords, effect, locked, matching
from services.router.domain.conversation import Change, Conversation, Message, ReplyWritten, Resolved
from services.router.store import audit, conversations, screens
from shared.accounts import Inbox
from shared.channels.contract import Permission
from shared.channels.media import expressible
from shared.db.transaction import Transaction
from shared.errors import Rejected
from shared.events import Attachment, ReplayDelivery, SendReply, WithdrawReply

api = APIRouter(prefix="/v1", tags=["replies"])
# A reply that could not leave for this long is not worth sending any more.
REPLY_LASTS = timedelta(days=7)
COMMANDS = responses(400, 404, 409)


class ReplyText(Form):
    attachments: list[Named] = Field([], max_length=MOST_OF_A_REPLY, description="Files of the conversation's brand")
    text: MaybeWords = Field(
        "",
        description="May be empty beside a file",
        examples=["Ihr Paket ist unterwegs und kommt morgen an."],
        validate_default=True,
    )
    resolve: bool = Field(False, description="Done with this; its clock still runs until the vendor took the reply")

    @field_validator("text")
    @classmethod
    def _something(cls, text: str, info: ValidationInfo) -> str:
        if not text and not info.data.get("attachments"):
            raise ValueError("a text or a file")
        return text


@api.post(
    "/conversations/{conversation_id}/reply", response_model=d.Changed, status_code=202, responses=CHANGES,
    operation_id="writeReply",
)  # fmt: skip
async def reply(
    conversation_id: UUID, request: Request, context: Context, who: Actor, body: Annotated[ReplyText, Body()],
    if_match: IfMatch = None, idempotency_key: IdempotencyKey = None,
) -> Response:  # fmt: skip
    """Accepts the reply for sending; its message shows what became of it.

    Files that the channel does not take leave as links in the text.
    """
    files = await _files(context, who, conversation_id, body)

    async def work(tx: Transaction) -> Done:
        c = held_by(await matching(tx, conversation_id, if_match), who)
        permission = await _permission(context, who, c, tx)
        message = _message(c, who, body.text, files, tx)
        command = _command(c, message, who, permission)
        _check_expressible(context, command, (await context.cache.current(tx)).inboxes[c.inbox_id])
        change = Change.of(c, tx.now)
        change.messages.append(message)
        change.record(ReplyWritten(message_id=message.id, agent_id=who.agent_id), who.actor)
        change.emit(command)
        if body.resolve:
            change.record(Resolved(because="answered", answered=True), who.actor)
        return await save(tx, context, change, status=202, message_id=message.id)

    return await effect(context, who, request, idempotency_key, work)


async def _files(context: Api, who: Caller, conversation_id: UUID, body: ReplyText) -> list[Attachment]:
    """Read before the conversation is locked, for a store may take its time. Raises Problem 404, 422, 503."""
    if not body.attachments:
        return []
    async with context.database.transaction(brands=who.brands) as tx:
        found = await screens.conversation(tx, conversation_id)
    if found is None:
        raise not_found()
    return await named(context, found["brand_id"], body.attachments)


async def _permission(context: Api, who: Caller, c: Conversation, tx: Transaction) -> Permission:
    """Raises Problem 409 where the vendor does not let us write now, or the customer wants no messages."""
    row = {"id": c.id, "channel": c.channel, "inbox_id": c.inbox_id, "reply_context": c.reply_context}
    permission = await to_write(context, who, row, await context.cache.current(tx), tx)
    if not permission.allowed:
        raise Problem(409, permission.reason, "The channel does not let us write now", permission.sentence)
    return permission


def _message(c: Conversation, who: Caller, text: str, files: list[Attachment], tx: Transaction) -> Message:
    return Message(
        kind="reply",
        author_kind=author_kind(who),
        author_id=who.agent_id,
        text=text,
        attachments=files,
        language=c.language,
        occurred_at=tx.now,
        received_at=tx.now,
        # Its entry's place in the history orders the replies of a conversation.
        number=c.version + 1,
        state="queued",
        state_at=tx.now,
    )


def _command(c: Conversation, message: Message, who: Caller, permission: Permission) -> SendReply:
    return SendReply(
        reply_id=message.id,
        conversation_id=c.id,
        inbox_id=c.inbox_id,
        number=c.version + 1,
        channel=c.channel,
        reply_context=c.reply_context,
        text=message.text,
        attachments=list(message.attachments),
        language=c.language,
        author_kind=author_kind(who),
        expires_at=permission.until or message.occurred_at + REPLY_LASTS,
        heard_at=c.last_inbound_at,
    )


def _check_expressible(context: Api, command: SendReply, inbox: Inbox) -> None:
    """Raises Problem 409 for what the channel could never send; the responder renders it again."""
    channel = context.channels[command.channel]

    def link(attachment: Attachment) -> str:
        return context.links.of(inbox.brand_id, attachment, command.expires_at)

    try:
        channel.render(expressible(command, channel, inbox, link))
    except Rejected as error:
        raise Problem(409, error.code, "The channel cannot carry this reply", str(error)) from None


@api.post(
    "/replies/{reply_id}/withdraw", response_model=d.Changed, status_code=202, responses=COMMANDS,
    operation_id="withdrawReply",
)  # fmt: skip
async def withdraw(
    reply_id: UUID, request: Request, context: Context, who: Actor, idempotency_key: IdempotencyKey = None
) -> Response:
    """Stops what has not left yet; the reply's own state is the condition, so there is no `If-Match`."""

    async def work(tx: Transaction) -> Done:
        c = await _own_reply(tx, reply_id, who, ("queued",))
        return await _order(tx, c, who, WithdrawReply(reply_id=reply_id, conversation_id=c.id), "reply.withdrawn")

    return await effect(context, who, request, idempotency_key, work)


@api.post(
    "/replies/{reply_id}/replay", response_model=d.Changed, status_code=202, responses=COMMANDS,
    operation_id="replayReply",
)  # fmt: skip
async def replay(
    reply_id: UUID, request: Request, context: Context, who: Actor, idempotency_key: IdempotencyKey = None
) -> Response:
    """Tries a refused or unknown reply again; after *unknown* the customer may get it twice.

    The reply's own state is the condition, so there is no `If-Match`.
    """

    async def work(tx: Transaction) -> Done:
        c = await _own_reply(tx, reply_id, who, ("refused", "unknown"))
        await _permission(context, who, c, tx)
        return await _order(tx, c, who, ReplayDelivery(reply_id=reply_id, conversation_id=c.id), "reply.replayed")

    return await effect(context, who, request, idempotency_key, work)


async def _own_reply(tx: Transaction, reply_id: UUID, who: Caller, states: tuple[str, ...]) -> Conversation:
    """The conversation of the reply, under lock.

    Raises Problem 404, 403 where the caller neither wrote it, holds the conversation, nor leads, 409 in another state.
    """
    found = await screens.reply(tx, reply_id)
    if found is None:
        raise not_found()
    c = await locked(tx, found["conversation_id"])
    # Read again: its state may have moved while we waited for the lock.
    found = await screens.reply(tx, reply_id) or found
    if not who.leads and who.agent_id not in {found["author_id"], c.agent_id} - {None}:
        raise Problem(403, "not_yours", "It is somebody else's reply")
    if found["state"] not in states:
        raise Problem(409, "wrong_state", "It is too late, or too early, for that", f"Its state is {found['state']}")
    return c


async def _order(
    tx: Transaction, c: Conversation, who: Caller, command: WithdrawReply | ReplayDelivery, action: str
) -> Done:
    change = Change.of(c, tx.now)
    change.emit(command)
    await conversations.emit(tx, change)
    await audit.note(tx, c.brand_id, who.actor, action, {"reply": command.reply_id, "conversation": c.id})
    return done(c, status=202, message_id=command.reply_id)
