"""Messenger's Send API.

Source: Meta for Developers, "Messenger Platform - Send API" and "Error codes", Graph API v25.0.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Part, Try
from shared.channels.http import calling
from shared.channels.messenger.rules import WINDOW, Context
from shared.channels.meta.graph import COMMON, Codes, Verdicts, answer_of, bearer, root
from shared.channels.text import clean, split
from shared.clock import utc_now
from shared.errors import AccountBroken, OutcomeUnknown, Rejected, Throttled, WindowClosed
from shared.events import Attachment, SendReply

TEXT_LIMIT = 2000
# Above that the vendor answers with a code of the 36000s.
MEDIA_LIMIT = dict.fromkeys(("image", "audio", "video", "file"), 25_000_000)
ATTACHMENTS = {"image": "image", "audio": "audio", "video": "video"}

VERDICTS: Codes = {
    **COMMON,
    (10, 2018278): (WindowClosed, "window_closed"),
    (10, 1545041): (WindowClosed, "window_closed"),
    (10, 1893063): (AccountBroken, "page_restricted"),
    (10, None): (AccountBroken, "permission_missing"),
    (3, None): (AccountBroken, "permission_missing"),
    (200, None): (AccountBroken, "permission_missing"),
    (230, None): (AccountBroken, "permission_missing"),
    (298, None): (AccountBroken, "permission_missing"),
    (368, None): (AccountBroken, "blocked_by_policy"),
    (None, 2018027): (AccountBroken, "development_mode"),
    (None, 2018028): (AccountBroken, "development_mode"),
    (None, 2018108): (AccountBroken, "development_mode"),
    (None, 2018300): (Rejected, "thread_held_by_another_app"),
    (551, None): (Rejected, "person_unavailable"),
    (100, 2018001): (Rejected, "no_such_person"),
    (100, 2018008): (Rejected, "attachment_unreachable"),
    (100, None): (Rejected, "bad_parameter"),
    (341, None): (Throttled, "rate_limit"),
    # Documented to come although the message was sent, as are 1 and 2.
    (1200, None): (OutcomeUnknown, "vendor_trouble"),
}
# All about files that are too large or of a kind that is not taken.
RANGES = {range(36_000, 37_000): (Rejected, "attachment_refused")}


def render(reply: SendReply) -> tuple[Part, ...]:
    """Texts of at most 2000 characters, then each attachment by itself.

    Raises Rejected for an empty reply, a file without an address, and a `reply_context` that is not this channel's.
    """
    context = Context.decode(reply.reply_context)
    base = {"psid": context.psid, "at": context.at.isoformat(), "by_person": reply.author_kind == "agent"}
    texts = [
        Part("text", {**base, "message": {"text": piece}}, context.psid, piece)
        for piece in split(clean(reply.text), TEXT_LIMIT)
    ]
    files = [Part("attachment", {**base, "message": _attached(a)}, context.psid) for a in reply.attachments]
    if not texts and not files:
        raise Rejected("a reply needs a text or an attachment", code="empty_reply")
    return (*texts, *files)


def _attached(attachment: Attachment) -> dict[str, Any]:
    """The attachment of a message; one that we hold gets its address at the moment of the call."""
    if attachment.sha256:
        stored = msgspec.to_builtins(attachment)
        return {"attachment": {"type": ATTACHMENTS.get(attachment.kind, "file"), "payload": {"stored": stored}}}
    if not attachment.url.startswith(("http://", "https://")):
        raise Rejected("the vendor fetches files from their address, and one has none", code="attachment_without_url")
    kind = ATTACHMENTS.get(attachment.kind, "file")
    return {"attachment": {"type": kind, "payload": {"url": attachment.url, "is_reusable": False}}}


async def send(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str:
    """One message; the vendor's message id. Raises what VERDICTS says, OutcomeUnknown for an answer without an id."""
    token = account.secret(f"page_token:{inbox.address}")
    payload = attempt.part.payload
    body: dict[str, Any] = {
        "recipient": {"id": payload["psid"]},
        "message": {**_addressed(payload["message"], attempt), "metadata": attempt.reference},
        **_messaging_type(payload, inbox),
    }
    with calling():
        response = await http.post(f"{root(account)}/{inbox.address}/messages", json=body, headers=bearer(token))
    message_id = answer_of(response, Verdicts(VERDICTS, RANGES)).get("message_id")
    if not isinstance(message_id, str) or not message_id:
        raise OutcomeUnknown("the vendor answered 200 without a message id", code="no_message_id")
    return message_id


def _addressed(message: Mapping[str, Any], attempt: Try) -> Mapping[str, Any]:
    """The message with an address that the vendor can fetch now. Raises Rejected where there is none."""
    stored = message.get("attachment", {}).get("payload", {}).get("stored")
    if stored is None:
        return message
    if attempt.files is None:
        raise Rejected("nothing can make an address for the file", code="attachment_without_url")
    url = attempt.files.link(msgspec.convert(stored, Attachment))
    return {"attachment": {**message["attachment"], "payload": {"url": url, "is_reusable": False}}}


def _messaging_type(payload: Mapping[str, Any], inbox: Inbox) -> dict[str, str]:
    """What fits the window at the moment of the call.

    A page without the feature never uses the tag: the vendor would take that for a missing permission of the account,
    and not for a window that has just closed.
    """
    is_over = utc_now() >= datetime.fromisoformat(payload["at"]) + WINDOW
    if is_over and payload["by_person"] and inbox.settings.get("human_agent"):
        return {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
    return {"messaging_type": "RESPONSE"}
