"""Answers in Mirakl's threads, and asking what became of one.

Source: Mirakl Marketplace APIs, seller OpenAPI document: M12 (answer to a thread), M10 (one thread).
"""

from datetime import timedelta
from typing import Any

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Part, Try
from shared.channels.http import calling, instant
from shared.channels.mirakl.inbound import (
    BREAKS_THE_FORM,
    Context,
    address,
    all_messages,
    error_of,
    headers,
    plain,
    thread_path,
)
from shared.channels.text import clean, read_json, split, text_hash
from shared.errors import BadPayload, OutcomeUnknown, Rejected
from shared.events import SendReply

SHORTEST, TEXT_LIMIT = 3, 50_000
# Its clock and ours.
SKEW = timedelta(minutes=5)


def render(reply: SendReply) -> tuple[Part, ...]:
    """One message of 3 to 50 000 characters. Raises Rejected for a shorter one, and for files."""
    if reply.attachments:
        raise Rejected("attachments to a marketplace's thread are not supported yet", code="attachments_unsupported")
    text = clean(reply.text).strip()
    if len(text) < SHORTEST:
        raise Rejected(f"the marketplace takes no text below {SHORTEST} characters", code="text_too_short")
    payload = _payload(reply.reply_context)
    pieces = split(text, TEXT_LIMIT)
    return tuple(Part("text", {**payload, "body": piece}, payload["thread"], piece) for piece in pieces)


def _payload(reply_context: bytes) -> dict[str, Any]:
    """Thread and recipients, and when what is answered was written, by the platform's clock."""
    try:
        context = msgspec.json.decode(reply_context, type=Context)
    except msgspec.DecodeError:
        context = Context("", [])
    if not context.thread or not context.to:
        raise Rejected("the reply does not say which thread it answers", code="no_reply_context")
    after = {"after": context.at.isoformat()} if context.at else {}
    return {"thread": context.thread, "to": context.to, **after}


async def send(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str:
    """The new message's id. There is no idempotency key: OutcomeUnknown is followed by `ask`."""
    payload = attempt.part.payload
    message = {"body": payload["body"], "to": payload["to"]}
    with calling():
        response = await http.post(
            address(account, f"{thread_path(payload['thread'])}/message"),
            params={"shop_id": inbox.address},
            # A part that names its own content type and no file, as in the document's own example; else it is a 415.
            files={"message_input": (None, msgspec.json.encode(message), "application/json")},
            headers=headers(account),
        )
    if response.status_code != 201:
        raise error_of(response, sent=True)
    try:
        message_id = read_json(response.content)["message_id"]
    except (BadPayload, KeyError, TypeError):
        message_id = None
    if not message_id:
        raise OutcomeUnknown("the marketplace answered 201 without a message id", code="no_message_id")
    return str(message_id)


async def ask(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str | None:
    """The id of our newest message with the same text that is no other part's; None where the thread has none since.

    Neither has it where ours is older than what it answers: an earlier answer in the same words proves nothing.
    Raises what `all_messages` raises, and BadPayload where one of ours cannot be read.
    """
    payload = attempt.part.payload
    messages = await all_messages(http, account, inbox, payload["thread"])
    since = attempt.started_at - SKEW
    if "after" in payload:
        since = max(since, instant(payload["after"]))
    try:
        said = [(instant(m["date_created"]), str(m["id"])) for m in messages if _says(m, payload["body"])]
    except BREAKS_THE_FORM:
        # It might be this very message.
        raise BadPayload("a message of ours breaks the documented form", code="broken_item") from None
    found = [message for message in said if message[0] >= since and message[1] not in attempt.taken]
    return max(found, default=(None, None))[1]


def _says(message: Any, body: str) -> bool:
    """Whether the shop wrote it and it reads like this, as it was sent or as the platform shows it."""
    if not isinstance(message, dict) or not isinstance(message.get("from"), dict):
        return False
    if message["from"].get("type") != "SHOP_USER":
        return False
    return text_hash(plain(message["body"])) in (text_hash(body), text_hash(plain(body)))
