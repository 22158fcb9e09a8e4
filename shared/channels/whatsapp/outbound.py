"""WhatsApp's messages out: texts, and files by upload or by address.

Source: Meta for Developers, "WhatsApp Cloud API - Messages", Graph API v25.0.
"""

from typing import Any

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Part, Try
from shared.channels.http import calling
from shared.channels.meta.graph import answer_of, bearer, root
from shared.channels.text import clean, split
from shared.channels.whatsapp.media import TOKEN, upload
from shared.channels.whatsapp.rules import Context
from shared.channels.whatsapp.verdicts import VERDICTS
from shared.errors import OutcomeUnknown, Rejected
from shared.events import Attachment, SendReply

TEXT_LIMIT = 4096
TYPES = {"image": "image", "audio": "audio", "video": "video"}


def render(reply: SendReply) -> tuple[Part, ...]:
    """Texts of at most 4096 characters, then each attachment by itself; the first quotes what it answers.

    Raises Rejected for an empty reply, a file without an address, and a `reply_context` that is not this channel's.
    """
    context = Context.decode(reply.reply_context)
    texts = [
        ("text", {"type": "text", "text": {"body": piece, "preview_url": False}}, piece)
        for piece in split(clean(reply.text), TEXT_LIMIT)
    ]
    files = [("attachment", _attached(attachment), "") for attachment in reply.attachments]
    messages = [*texts, *files]
    if not messages:
        raise Rejected("a reply needs a text or an attachment", code="empty_reply")
    return tuple(
        Part(kind, {**_to(context), **_quoting(context if n == 0 else None), **message}, context.peer, text)
        for n, (kind, message, text) in enumerate(messages)
    )


def _to(context: Context) -> dict[str, str]:
    """By number where there is one; whoever hides it is reached by their business-scoped id."""
    return {"to": context.phone.removeprefix("+")} if context.phone else {"recipient": context.user_id}


def _quoting(context: Context | None) -> dict[str, Any]:
    return {"context": {"message_id": context.message_id}} if context and context.message_id else {}


def _attached(attachment: Attachment) -> dict[str, Any]:
    """The message of a file; one that we hold is uploaded when the call is made."""
    kind = TYPES.get(attachment.kind, "document")
    named = {"filename": clean(attachment.name)} if kind == "document" and attachment.name else {}
    if attachment.sha256:
        return {"type": kind, kind: {"stored": msgspec.to_builtins(attachment), **named}}
    if not attachment.url.startswith(("http://", "https://")):
        raise Rejected("the vendor fetches files from their address, and one has none", code="attachment_without_url")
    return {"type": kind, kind: {"link": attachment.url, **named}}


async def send(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str:
    """One message; the vendor's message id. Raises what VERDICTS says, OutcomeUnknown for an answer without an id."""
    headers = bearer(account.secret(TOKEN))
    message = dict(attempt.part.payload)
    file = message[message["type"]]
    if "stored" in file:
        media_id = await upload(http, file["stored"], attempt, account, inbox)
        message[message["type"]] = {"id": media_id, **{n: v for n, v in file.items() if n != "stored"}}
    body = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        **message,
        # Comes back with every status.
        "biz_opaque_callback_data": attempt.reference,
    }
    with calling():
        response = await http.post(f"{root(account)}/{inbox.address}/messages", json=body, headers=headers)
    messages = answer_of(response, VERDICTS).get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    message_id = first.get("id") if isinstance(first, dict) else None
    if not isinstance(message_id, str) or not message_id:
        raise OutcomeUnknown("the vendor answered 200 without a message id", code="no_message_id")
    return message_id
