"""Answers in Mirakl's threads, and asking what became of one.

Source: Mirakl Marketplace Platform, seller OpenAPI: M12 (answer to a thread), M10 (one thread).
"""

from datetime import timedelta
from typing import Any

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Part, Try
from shared.channels.http import calling, error_of_status, instant, retry_after
from shared.channels.mirakl.inbound import Context, get, plain
from shared.channels.text import clean, read_json, split, text_hash
from shared.errors import AccountBroken, BadPayload, OutcomeUnknown, Rejected, Throttled
from shared.events import SendReply

SHORTEST, TEXT_LIMIT = 3, 50_000
# The platform names no wait when it throttles.
THROTTLED_FOR = timedelta(seconds=30)
# Its clock and ours.
SKEW = timedelta(seconds=30)


def render(reply: SendReply) -> tuple[Part, ...]:
    """One message of 3 to 50 000 characters. Raises Rejected for a shorter one, and for files."""
    if reply.attachments:
        raise Rejected("attachments to a marketplace's thread are not supported yet", code="attachments_unsupported")
    text = clean(reply.text).strip()
    if len(text) < SHORTEST:
        raise Rejected("the marketplace takes no text below three characters", code="text_too_short")
    try:
        context = msgspec.json.decode(reply.reply_context, type=Context)
    except msgspec.DecodeError:
        raise Rejected("the reply does not say which thread it answers", code="no_reply_context") from None
    payload = {"thread": context.thread, "to": context.to}
    return tuple(Part("text", {**payload, "body": piece}, context.thread, piece) for piece in split(text, TEXT_LIMIT))


async def send(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str:
    """The new message's id. There is no idempotency key: OutcomeUnknown is followed by `ask`."""
    payload = attempt.part.payload
    message: dict[str, Any] = {"body": payload["body"], "to": payload["to"]}
    with calling():
        response = await http.post(
            f"{account.settings['url']}/api/inbox/threads/{payload['thread']}/message",
            params={"shop_id": inbox.address},
            # A file name makes it a part of its own with a content type, which the platform insists on.
            files={"message_input": ("message_input.json", msgspec.json.encode(message), "application/json")},
            headers={"Authorization": account.secret("api_key"), "Accept": "application/json"},
        )
    if response.status_code == 429:
        wait = retry_after(response) or THROTTLED_FOR
        raise Throttled("the marketplace answered 429", code="http_429", retry_after=wait)
    if response.status_code == 403:
        raise AccountBroken("the key may not answer for this shop", code="http_403")
    if response.status_code != 201:
        raise error_of_status(response)
    try:
        message_id = read_json(response.content)["message_id"]
    except (BadPayload, KeyError, TypeError):
        message_id = None
    if not message_id:
        raise OutcomeUnknown("the marketplace answered 201 without a message id", code="no_message_id")
    return str(message_id)


async def ask(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str | None:
    """Our own message with the same text, newer than the first attempt; None where the thread has none."""
    path = f"/api/inbox/threads/{attempt.part.payload['thread']}"
    thread = await get(http, account, path, {"shop_id": inbox.address})
    wanted = text_hash(attempt.part.payload["body"])
    for message in thread.get("messages") or ():
        try:
            is_ours = message["from"]["type"] == "SHOP_USER"
            at = instant(message["date_created"])
            if is_ours and at >= attempt.started_at - SKEW and text_hash(plain(message["body"])) == wanted:
                return str(message["id"])
        except (KeyError, TypeError, ValueError):
            continue
    return None
