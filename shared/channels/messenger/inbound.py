"""Messenger's webhooks: messages, postbacks, echoes, receipts as watermarks.

Source: Meta for Developers, "Messenger Platform - Webhooks" and its event references, Graph API v25.0.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.accounts import Account
from shared.channels.contract import Answer, BadItem, Hook, Item, Received
from shared.channels.messenger.rules import Context
from shared.channels.signatures import check_hmac_sha256
from shared.channels.text import clean, key, read_json, write_json
from shared.errors import BadPayload, BadSignature
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
TAKEN = Answer(200, b"EVENT_RECEIVED")
RAW_LIMIT = 65_536
# Numbers above this are milliseconds; both units have been seen in either place.
MILLISECONDS_FROM = 10**12

# Known, and nobody needs to see them.
SILENT = frozenset(
    {"app_roles", "pass_thread_control", "take_thread_control", "request_thread_control", "account_linking",
     "response_feedback", "typing"}
)  # fmt: skip
Data = MessageReceived | Unrecognised | ReceiptReceived | EchoReceived


def verify(hook: Hook, account: Account) -> None:
    """Raises BadSignature. GET is the handshake with the verify token, POST is signed by the app's secret."""
    if hook.method == "GET":
        given = hook.parameter("hub.verify_token").encode("utf-8", "replace")
        tokens = account.secrets.get("verify_token", ())
        if hook.parameter("hub.mode") != "subscribe" or not any(
            hmac.compare_digest(given, token.encode()) for token in tokens
        ):
            raise BadSignature("the verify token is not this account's", code="wrong_verify_token")
        return
    check_hmac_sha256(
        hook.body, hook.headers.get("x-hub-signature-256", ""), account.secrets.get("app_secret", ()), prefix="sha256="
    )


def receive(hook: Hook, account: Account) -> Received:
    """Every item of every entry; one that breaks the form holds nobody back.

    Raises BadPayload where the whole body is unreadable.
    """
    if hook.method == "GET":
        # The challenge as it came, without the quotes that JSON would put round it.
        return Received((), Answer(200, clean(hook.parameter("hub.challenge")).encode()))
    body = read_json(hook.body)
    if not isinstance(body, dict):
        raise BadPayload("the body is not an object", code="not_an_object")
    if body.get("object") != "page":
        # One callback URL may serve several products of the app; the others are not ours.
        return Received((), TAKEN)
    entries = body.get("entry")
    if not isinstance(entries, list):
        raise BadPayload("the body has no list of entries", code="no_entries")
    own_app = str(account.settings.get("app_id", ""))
    return Received([item for entry in entries for item in _items(entry, own_app)], TAKEN)


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


def _item(page: str, raw: Any, own_app: str) -> Iterator[Item | BadItem]:
    encoded = write_json(raw)
    try:
        data = _read(page, raw, encoded, own_app)
    except BadPayload as error:
        yield BadItem(encoded, error.code, str(error), page)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        # Only the class: the text may quote the customer.
        yield BadItem(encoded, "broken_item", f"the item breaks the documented form: {type(error).__name__}", page)
    else:
        if data is not None:
            yield Item(page, _lane(page, data), data)


def _read(page: str, raw: dict[str, Any], encoded: bytes, own_app: str) -> Data | None:
    side = "sender" if _is_echo(raw) else "recipient"
    if _text(raw[side]["id"]) != page:
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
    at = _instant(raw["timestamp"])
    attachments = [_attachment(a) for a in _list(message.get("attachments"))]
    reply = message.get("quick_reply") or {}
    text = _text(message.get("text") or reply.get("payload") or "")
    if not text and not attachments:
        return _unrecognised(raw, encoded, what="message_without_content")
    return _received(raw, encoded, key("message", _text(message["mid"])), at, text, attachments)


def _postback(raw: dict[str, Any], encoded: bytes, _own_app: str) -> MessageReceived:
    postback = raw["postback"]
    at = _instant(raw["timestamp"])
    text = _text(postback.get("title") or postback.get("payload") or "")
    # Older ones have no id.
    known_by = postback.get("mid") or f"{raw['sender']['id']}:{raw['timestamp']}:{postback.get('payload')}"
    return _received(raw, encoded, key("postback", _text(known_by)), at, text, [])


def _received(
    raw: dict[str, Any], encoded: bytes, known_by: str, at: datetime, text: str, attachments: list[Attachment]
) -> MessageReceived:
    psid = _text(raw["sender"]["id"])
    return MessageReceived(
        channel=CHANNEL,
        keys=[known_by],
        sender=Address(kind=CHANNEL, value=psid, verified_by="channel"),
        occurred_at=at,
        text=text,
        attachments=attachments,
        reply_context=Context(psid=psid, at=at).encode(),
        raw=encoded[:RAW_LIMIT],
    )


def _echo(raw: dict[str, Any], encoded: bytes, own_app: str) -> EchoReceived:
    message = raw["message"]
    mid = _text(message["mid"])
    return EchoReceived(
        channel=CHANNEL,
        keys=[key("echo", mid)],
        external_id=mid,
        peer=_text(raw["recipient"]["id"]),
        occurred_at=_instant(raw["timestamp"]),
        text=_text(message.get("text") or ""),
        attachments=[_attachment(a) for a in _list(message.get("attachments"))],
        reference=_text(message["metadata"]) if message.get("metadata") else None,
        ours=bool(own_app) and str(message.get("app_id", "")) == own_app,
        raw=encoded[:RAW_LIMIT],
    )


def _delivery(raw: dict[str, Any], _encoded: bytes, _own_app: str) -> ReceiptReceived:
    delivery = raw["delivery"]
    # Message ids may be missing; the watermark is what counts.
    return _receipt(raw, "delivered", delivery["watermark"], [_text(m) for m in _list(delivery.get("mids"))])


def _read_receipt(raw: dict[str, Any], _encoded: bytes, _own_app: str) -> ReceiptReceived:
    return _receipt(raw, "read", raw["read"]["watermark"], [])


def _receipt(raw: dict[str, Any], state: ReceiptState, watermark: Any, mids: list[str]) -> ReceiptReceived:
    psid = _text(raw["sender"]["id"])
    at = _instant(watermark)
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
        occurred_at=_instant(raw["timestamp"]),
        sender=Address(kind=CHANNEL, value=_text(psid), verified_by="channel") if psid else None,
        raw=encoded[:RAW_LIMIT],
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
    name = " ".join(filter(None, (_text(raw.get("title") or ""), clean(_place(payload.get("coordinates"))))))
    sticker = str(payload.get("sticker_id") or "")
    return Attachment(kind=_text(raw["type"]), url=clean(url), name=name, external_id=clean(sticker))


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


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise BadPayload("a text is not a text", code="not_text")
    return clean(value)


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list | None):
        raise BadPayload("a list is not a list", code="not_list")
    return value or []


def _instant(value: Any) -> datetime:
    number = int(value)
    return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS_FROM else number, UTC)
