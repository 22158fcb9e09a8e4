"""Messages to WhatsApp and SMS: one call each, its status sent back to an address that names our part.

Source: Twilio, "Messages resource", API version 2010-04-01.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Files, Part, Try
from shared.channels.text import clean, split, text_hash
from shared.channels.twilio import wire
from shared.channels.twilio.inbound import REFERENCE, SID
from shared.channels.twilio.rules import Context, Product
from shared.errors import OutcomeUnknown, Rejected, Unavailable
from shared.events import Attachment, SendReply

# Characters; more is refused with 21617.
TEXT_LIMIT = 1600
# By itself the vendor tries a status again only where it could not connect; this has it come back after any failure.
TRY_AGAIN = "#rc=5&rp=all"
MESSAGES = "Messages.json"
# A call in doubt is looked for among that peer's newest messages: its clock and ours may differ.
SKEW = timedelta(minutes=1)
PAGE_SIZE = "100"
MOST_PAGES = 10


def render(reply: SendReply, *, product: Product) -> tuple[Part, ...]:
    """Texts of at most 1600 characters, then the files, as many in a message as the channel takes.

    Raises Rejected for an empty reply, a file without an address, and a `reply_context` that is not this channel's.
    """
    to = Context.decode(reply.reply_context).to
    pieces = split(clean(reply.text), TEXT_LIMIT)
    texts = [Part("text", {"to": to, "body": piece}, to, piece) for piece in pieces]
    files = [Part("files", {"to": to, "files": group}, to) for group in _groups(reply.attachments, product)]
    if not texts and not files:
        raise Rejected("a reply needs a text or an attachment", code="empty_reply")
    return (*texts, *files)


def _groups(attachments: Sequence[Attachment], product: Product) -> list[list[dict[str, Any]]]:
    groups: list[list[dict[str, Any]]] = []
    size = 0
    for attachment in attachments:
        if not attachment.sha256 and not attachment.url.startswith(("http://", "https://")):
            raise Rejected(
                "the vendor fetches files from their address, and one has none", code="attachment_without_url"
            )
        size += attachment.size or 0
        if not groups or len(groups[-1]) == product.files or size > product.files_bytes:
            groups.append([])
            size = attachment.size or 0
        groups[-1].append(msgspec.to_builtins(attachment))
    return groups


async def send(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox, *, product: Product) -> str:
    """One message; the vendor's id. Raises what the vendor's code says, OutcomeUnknown for an answer without an id."""
    payload = attempt.part.payload
    form: dict[str, str | Sequence[str]] = {
        "To": product.prefix + payload["to"],
        "From": product.prefix + inbox.address,
        **_content(payload, attempt.files),
    }
    service = inbox.settings.get("messaging_service_sid")
    if service:
        form["MessagingServiceSid"] = str(service)
    if attempt.hook_url:
        query = urlencode({REFERENCE: attempt.reference})
        form["StatusCallback"] = f"{attempt.hook_url}?{query}{TRY_AGAIN}"
    sid = (await wire.post(http, account, MESSAGES, form)).get("sid")
    if not isinstance(sid, str) or not SID.fullmatch(sid):
        raise OutcomeUnknown("the vendor took the message without giving its id", code="no_message_id")
    return sid


def _content(payload: Mapping[str, Any], files: Files | None) -> dict[str, str | list[str]]:
    if "body" in payload:
        return {"Body": payload["body"]}
    return {"MediaUrl": [_address(msgspec.convert(each, Attachment), files) for each in payload["files"]]}


def _address(attachment: Attachment, files: Files | None) -> str:
    """Where the vendor can fetch the file now. Raises Rejected where that is nowhere."""
    if not attachment.sha256:
        return attachment.url
    if files is None:
        raise Rejected("nothing can make an address for the file", code="attachment_without_url")
    return files.link(attachment)


async def ask(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox, *, product: Product) -> str | None:
    """The id of the peer's newest message that says the same and is no other part's; None where there is none."""
    payload = attempt.part.payload
    since = attempt.started_at - SKEW
    query = {"To": product.prefix + payload["to"], "From": product.prefix + inbox.address, "PageSize": PAGE_SIZE}
    async for message in _newest_first(http, account, query):
        if _created(message) < since:
            return None
        sid = str(message.get("sid"))
        if sid not in attempt.taken and _says_the_same(message, payload):
            return sid
    return None


async def _newest_first(
    http: httpx.AsyncClient, account: Account, query: Mapping[str, str]
) -> AsyncIterator[Mapping[str, Any]]:
    """Raises Unavailable where the list cannot be read: nobody may conclude then that something is not in it."""
    page = await wire.get(http, account, MESSAGES, query)
    for _ in range(MOST_PAGES):
        messages, following = page.get("messages"), page.get("next_page_uri")
        if not isinstance(messages, list) or not all(isinstance(m, dict) for m in messages):
            raise Unavailable("the vendor's list of messages is none", code="unreadable_list")
        for message in messages:
            yield message
        if not following:
            return
        page = await wire.follow(http, account, str(following))
    raise Unavailable("the vendor's list of messages goes on and on", code="unreadable_list")


def _created(message: Mapping[str, Any]) -> datetime:
    try:
        return parsedate_to_datetime(str(message.get("date_created")))
    except ValueError:
        raise Unavailable("a message of the vendor's list has no date", code="unreadable_list") from None


def _says_the_same(message: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    if not str(message.get("direction")).startswith("outbound"):
        return False
    body = str(message.get("body") or "")
    if "body" in payload:
        return text_hash(body) == text_hash(payload["body"])
    return not body and str(message.get("num_media")) == str(len(payload["files"]))
