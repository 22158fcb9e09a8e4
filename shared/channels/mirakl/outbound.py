"""Answers in Mirakl's threads, and asking what became of one.

Source: Mirakl Marketplace APIs, seller OpenAPI document: M12 (answer to a thread), M10 (one thread).
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Files, Part, Try
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
from shared.events import Attachment, SendReply

SHORTEST, TEXT_LIMIT = 3, 50_000
# Of one message's files; text and files together may have 30 MB.
FILES_BYTES = 25_000_000
MEDIA_LIMIT = dict.fromkeys(("image", "audio", "video", "file"), FILES_BYTES)
# Its clock and ours.
SKEW = timedelta(minutes=5)


def render(reply: SendReply) -> tuple[Part, ...]:
    """Messages of 3 to 50 000 characters; the last text takes files along, more of them follow with their names.

    Raises Rejected for a shorter text without files, and for a file that we do not hold.
    """
    text, groups = clean(reply.text).strip(), _groups(reply.attachments)
    if len(text) < SHORTEST and not (groups and not text):
        raise Rejected(f"the marketplace takes no text below {SHORTEST} characters", code="text_too_short")
    payload = _payload(reply.reply_context)
    messages: list[tuple[str, list[Attachment]]] = [(piece, []) for piece in split(text, TEXT_LIMIT)]
    if messages and groups:
        messages[-1] = (messages[-1][0], groups.pop(0))
    # No file goes without a text; the brackets make the shortest name long enough.
    messages += [(f"({', '.join(map(_name, group))})", group) for group in groups]
    return tuple(
        Part("text", payload | {"body": body} | ({"files": msgspec.to_builtins(files)} if files else {}),
             payload["thread"], body)
        for body, files in messages
    )  # fmt: skip


def _groups(attachments: Sequence[Attachment]) -> list[list[Attachment]]:
    """As many files together as one message may have. Raises Rejected."""
    groups: list[list[Attachment]] = []
    size = 0
    for attachment in attachments:
        if not attachment.sha256:
            raise Rejected(
                "the marketplace takes uploads, and a file is not held here", code="attachment_without_bytes"
            )
        size += attachment.size or 0
        if not groups or size > FILES_BYTES:
            groups.append([])
            size = attachment.size or 0
        groups[-1].append(attachment)
    return groups


def _name(attachment: Attachment) -> str:
    return clean(attachment.name).strip() or "attachment"


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
    # A part that names its own content type and no file, as in the document's own example; else it is a 415.
    parts: list[Any] = [("message_input", (None, msgspec.json.encode(message), "application/json"))]
    parts += [("files", await _uploaded(stored, attempt.files)) for stored in payload.get("files", ())]
    with calling():
        response = await http.post(
            address(account, f"{thread_path(payload['thread'])}/message"),
            params={"shop_id": inbox.address},
            files=parts,
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


async def _uploaded(stored: Mapping[str, Any], files: Files | None) -> tuple[str, bytes, str]:
    """Name, bytes and type. Raises Rejected and Unavailable; nothing has been sent by then."""
    if files is None:
        raise Rejected("nothing can read the file", code="attachment_without_bytes")
    attachment = msgspec.convert(stored, Attachment)
    return _name(attachment), await files.read(attachment), attachment.media_type or "application/octet-stream"


async def ask(http: httpx.AsyncClient, attempt: Try, account: Account, inbox: Inbox) -> str | None:
    """The id of our newest message with the same text and files that is no other part's; None where there is none.

    Neither is one where ours is older than what it answers: an earlier answer in the same words proves nothing.
    Raises what `all_messages` raises, and BadPayload where one of ours cannot be read.
    """
    payload = attempt.part.payload
    messages = await all_messages(http, account, inbox, payload["thread"])
    since = attempt.started_at - SKEW
    if "after" in payload:
        since = max(since, instant(payload["after"]))
    try:
        said = [(instant(m["date_created"]), str(m["id"])) for m in messages if _says(m, payload)]
    except BREAKS_THE_FORM:
        # It might be this very message.
        raise BadPayload("a message of ours breaks the documented form", code="broken_item") from None
    found = [message for message in said if message[0] >= since and message[1] not in attempt.taken]
    return max(found, default=(None, None))[1]


def _says(message: Any, payload: Mapping[str, Any]) -> bool:
    """Whether the shop wrote it with as many files, and it reads like this, as it was sent or as it is shown."""
    if not isinstance(message, dict) or not isinstance(message.get("from"), dict):
        return False
    if message["from"].get("type") != "SHOP_USER":
        return False
    if len(message.get("attachments") or ()) != len(payload.get("files", ())):
        return False
    body = payload["body"]
    return text_hash(plain(message["body"])) in (text_hash(body), text_hash(plain(body)))
