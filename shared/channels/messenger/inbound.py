"""Messenger's webhooks: messages, postbacks, echoes, receipts as watermarks.

Source: Meta for Developers, "Messenger Platform - Webhooks" and its event references, Graph API v25.0.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from shared.accounts import Account
from shared.channels.contract import BadItem, Hook, Item, Received
from shared.channels.messenger.rules import Context
from shared.channels.meta.webhooks import guarded, instant, list_of, received, text_of
from shared.channels.text import clean, key, write_json
from shared.errors import BadPayload
from shared.events import (
    Address,
    Attachment,
    EchoReceived,
    MessageReceived,
    ReceiptReceived,
    ReceiptState,
    Unrecognised,
)

CHANNEL = "messenger"

# Known, and nobody needs to see them.
SILENT = frozenset(
    {"app_roles", "pass_thread_control", "take_thread_control", "request_thread_control", "account_linking",
     "response_feedback", "typing"}
)  # fmt: skip
Data = MessageReceived | Unrecognised | ReceiptReceived | EchoReceived


def receive(hook: Hook, account: Account) -> Received:
    """Every item of every entry; one that breaks the form holds nobody back.

    Raises BadPayload where the whole body is unreadable.
    """
    return received(hook, "page", partial(_items, own_app=str(account.settings.get("app_id", ""))))


def _items(entry: Any, own_app: str) -> Iterator[Item | BadItem]:
    if not isinstance(entry, dict) or not isinstance(entry.get("id"), str):
        yield BadItem(write_json(entry), "no_page", "the entry does not name its page")
        return
    page = clean(entry["id"])
    # `standby` items come while another app owns the thread; they are shown all the same.
    for name in ("messaging", "standby"):
        found = entry.get(name, [])
        if not isinstance(found, list):
            yield BadItem(write_json(entry), "no_list", f"`{name}` is not a list", page)
            continue
        for raw in found:
            yield from _item(page, raw, own_app)


def _item(page: str, raw: Any, own_app: str) -> Sequence[Item | BadItem]:
    def read(encoded: bytes) -> Sequence[Item]:
        data = _read(page, raw, encoded, own_app)
        return () if data is None else (Item(page, _lane(page, data), data),)

    return guarded(page, raw, read)


def _read(page: str, raw: dict[str, Any], encoded: bytes, own_app: str) -> Data | None:
    side = "sender" if _is_echo(raw) else "recipient"
    if text_of(raw[side]["id"]) != page:
        raise BadPayload("the item belongs to another page than its entry", code="other_page")
    for name, reader in READERS.items():
        if name in raw:
            return reader(raw, encoded, own_app)
    if SILENT & raw.keys():
        return None
    return _unrecognised(raw, encoded)


def _message(raw: dict[str, Any], encoded: bytes, own_app: str) -> Data:
    message = raw["message"]
    if message.get("is_echo"):
        return _echo(raw, encoded, own_app)
    if message.get("is_deleted"):
        return _unrecognised(raw, encoded, what="message_deleted")
    at = instant(raw["timestamp"])
    attachments = [_attachment(a) for a in list_of(message.get("attachments"))]
    reply = message.get("quick_reply") or {}
    text = text_of(message.get("text") or reply.get("payload") or "")
    if not text and not attachments:
        return _unrecognised(raw, encoded, what="message_without_content")
    return _received(raw, encoded, key("message", text_of(message["mid"])), at, text, attachments)


def _postback(raw: dict[str, Any], encoded: bytes, _own_app: str) -> MessageReceived:
    postback = raw["postback"]
    at = instant(raw["timestamp"])
    text = text_of(postback.get("title") or postback.get("payload") or "")
    # Older ones have no id.
    known_by = postback.get("mid") or f"{raw['sender']['id']}:{raw['timestamp']}:{postback.get('payload')}"
    return _received(raw, encoded, key("postback", text_of(known_by)), at, text, [])


def _received(
    raw: dict[str, Any], encoded: bytes, known_by: str, at: datetime, text: str, attachments: list[Attachment]
) -> MessageReceived:
    psid = text_of(raw["sender"]["id"])
    return MessageReceived(
        channel=CHANNEL,
        keys=[known_by],
        sender=Address(kind=CHANNEL, value=psid, verified_by="channel"),
        occurred_at=at,
        text=text,
        attachments=attachments,
        reply_context=Context(psid=psid, at=at).encode(),
        raw=encoded,
    )


def _echo(raw: dict[str, Any], encoded: bytes, own_app: str) -> EchoReceived:
    message = raw["message"]
    mid = text_of(message["mid"])
    return EchoReceived(
        channel=CHANNEL,
        keys=[key("echo", mid)],
        external_id=mid,
        peer=text_of(raw["recipient"]["id"]),
        occurred_at=instant(raw["timestamp"]),
        text=text_of(message.get("text") or ""),
        attachments=[_attachment(a) for a in list_of(message.get("attachments"))],
        reference=text_of(message["metadata"]) if message.get("metadata") else None,
        ours=bool(own_app) and str(message.get("app_id", "")) == own_app,
        raw=encoded,
    )


def _delivery(raw: dict[str, Any], _encoded: bytes, _own_app: str) -> ReceiptReceived:
    delivery = raw["delivery"]
    # Message ids may be missing; the watermark is what counts.
    return _receipt(raw, "delivered", delivery["watermark"], [text_of(m) for m in list_of(delivery.get("mids"))])


def _read_receipt(raw: dict[str, Any], _encoded: bytes, _own_app: str) -> ReceiptReceived:
    return _receipt(raw, "read", raw["read"]["watermark"], [])


def _receipt(raw: dict[str, Any], state: ReceiptState, watermark: Any, mids: list[str]) -> ReceiptReceived:
    psid = text_of(raw["sender"]["id"])
    at = instant(watermark)
    return ReceiptReceived(
        channel=CHANNEL,
        # Neither has an id of its own.
        keys=[key(state, psid, str(watermark), *mids)],
        state=state,
        at=at,
        external_ids=mids,
        peer=psid,
        watermark=at,
    )


def _unrecognised(raw: dict[str, Any], encoded: bytes, what: str = "") -> Unrecognised:
    kind = next((k for k in raw if k not in ("sender", "recipient", "timestamp")), "empty item")
    name = clean(what or kind)[:100]
    # Some plugins know their visitor by another reference only.
    psid = (raw.get("sender") or {}).get("id")
    return Unrecognised(
        channel=CHANNEL,
        keys=[key(name, *_marks(raw, raw.get(kind), encoded))],
        what=name,
        occurred_at=instant(raw["timestamp"]),
        sender=Address(kind=CHANNEL, value=text_of(psid), verified_by="channel") if psid else None,
        raw=encoded,
    )


def _marks(raw: dict[str, Any], value: Any, encoded: bytes) -> tuple[str, ...]:
    """What tells one such item from the next: the message that it is about and which change, else all of it."""
    if not isinstance(value, dict) or not isinstance(value.get("mid"), str):
        return (hashlib.sha256(encoded).hexdigest(),)
    change = (value.get("num_edit", ""), value.get("action", ""), raw["timestamp"])
    return (clean(value["mid"]), *(clean(str(mark)) for mark in change))


READERS: Mapping[str, Callable[[dict[str, Any], bytes, str], Data]] = {
    "message": _message,
    "postback": _postback,
    "delivery": _delivery,
    "read": _read_receipt,
}


def _attachment(raw: dict[str, Any]) -> Attachment:
    payload = raw.get("payload") or {}
    url = payload.get("url") or raw.get("url") or ""
    # A fallback's address may be anything; only what a browser could open is kept.
    url = url if isinstance(url, str) and url.startswith(("http://", "https://")) else ""
    name = " ".join(filter(None, (text_of(raw.get("title") or ""), clean(_place(payload.get("coordinates"))))))
    sticker = str(payload.get("sticker_id") or "")
    return Attachment(kind=text_of(raw["type"]), url=clean(url), name=name, external_id=clean(sticker))


def _place(coordinates: Any) -> str:
    """A location as people write it, empty where there is none."""
    return f"{coordinates['lat']}, {coordinates['long']}" if isinstance(coordinates, dict) else ""


def _is_echo(raw: dict[str, Any]) -> bool:
    message = raw.get("message")
    return isinstance(message, dict) and bool(message.get("is_echo"))


def _lane(page: str, data: Data) -> str:
    """The person that it is from or for; what names nobody is kept in order within its page."""
    if isinstance(data, EchoReceived | ReceiptReceived):
        return data.peer or page
    return data.sender.value if data.sender else page
