"""What a WhatsApp message says: its text and its files, by type.

Source: Meta for Developers, "WhatsApp Cloud API - Webhooks: messages", Graph API v25.0.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.channels.meta.webhooks import list_of, text_of
from shared.channels.text import clean, read_json
from shared.errors import BadPayload
from shared.events import Attachment

# Ours for the vendor's; older payloads say `voice` for a voice message.
MEDIA = {"image": "image", "video": "video", "audio": "audio", "voice": "audio", "document": "file",
         "sticker": "sticker"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Content:
    text: str = ""
    attachments: Sequence[Attachment] = ()


def content(raw: Mapping[str, Any]) -> Content | None:
    """None for a type that we do not show. Raises BadPayload, and what a broken form raises."""
    kind = text_of(raw["type"])
    reader = READERS.get(kind)
    found = _media(kind, raw[kind]) if kind in MEDIA else reader(raw) if reader else None
    if found is None:
        return None
    if "referral" not in raw and "context" not in raw:
        return found
    also = [*_referral(raw.get("referral")), *_product(raw.get("context"))]
    return Content(found.text, [*found.attachments, *also])


def _text(raw: Mapping[str, Any]) -> Content:
    return Content(text_of(raw["text"]["body"]))


def _media(kind: str, media: Mapping[str, Any]) -> Content:
    """A file by its id: its address is short-lived and asked for when it is fetched."""
    file = Attachment(
        kind=MEDIA[kind],
        external_id=text_of(media["id"]),
        name=text_of(media.get("filename") or ""),
        media_type=text_of(media.get("mime_type") or ""),
    )
    return Content(text_of(media.get("caption") or ""), [file])


def _location(raw: Mapping[str, Any]) -> Content:
    place = raw["location"]
    point = f"{float(place['latitude'])}, {float(place['longitude'])}"
    words = [text_of(place.get(name) or "") for name in ("name", "address")]
    return Content("", [Attachment(kind="location", name=_joined(*words, point), url=_web(place.get("url")))])


def _contacts(raw: Mapping[str, Any]) -> Content | None:
    found = [_contact(card) for card in list_of(raw["contacts"])]
    return Content("", [Attachment(kind="contact", name=name) for name in found]) if all(found) and found else None


def _contact(card: Mapping[str, Any]) -> str:
    """Name, numbers and addresses, in one line; empty for a card in a form of its own."""
    name = (card.get("name") or {}).get("formatted_name") or ""
    phones = [phone.get("phone") or phone.get("wa_id") or "" for phone in list_of(card.get("phones"))]
    emails = [email.get("email") or "" for email in list_of(card.get("emails"))]
    return _joined(*(text_of(word) for word in (name, *phones, *emails)))


def _button(raw: Mapping[str, Any]) -> Content:
    return Content(text_of(raw["button"].get("text") or raw["button"].get("payload") or ""))


def _interactive(raw: Mapping[str, Any]) -> Content | None:
    """The words of what they chose; ids and payloads are programs'."""
    chosen = raw.get("interactive") or {}
    kind = chosen.get("type")
    if kind == "button_reply":
        return Content(text_of(chosen[kind]["title"]))
    if kind == "list_reply":
        words = (chosen[kind]["title"], chosen[kind].get("description") or "")
        return Content("\n".join(filter(None, map(text_of, words))))
    if kind == "nfm_reply":
        lines = [text_of(chosen[kind].get("body") or ""), *_form(text_of(chosen[kind]["response_json"]))]
        return Content("\n".join(filter(None, lines)))
    return None


def _form(response: str) -> list[str]:
    """One line a field of a filled-in form; as it came where it is no object."""
    try:
        fields = read_json(response.encode())
    except BadPayload:
        return [response]
    if not isinstance(fields, dict):
        return [response]
    # The token is the flow's own.
    return [f"{clean(name)}: {clean(str(value))}" for name, value in fields.items() if name != "flow_token"]


def _order(raw: Mapping[str, Any]) -> Content:
    order = raw["order"]
    items = [
        Attachment(
            kind="order",
            name=clean(f"{i['quantity']} × {i['product_retailer_id']}, {i.get('item_price')} {i.get('currency')}"),
        )
        for i in list_of(order["product_items"])
    ]
    return Content(text_of(order.get("text") or ""), items)


def _referral(referral: Mapping[str, Any] | None) -> list[Attachment]:
    """The advertisement or post that they came from."""
    if not referral:
        return []
    words = [text_of(referral.get(name) or "") for name in ("headline", "body")]
    return [Attachment(kind="link", name=_joined(*words), url=_web(referral.get("source_url")))]


def _product(context: Mapping[str, Any] | None) -> list[Attachment]:
    """The article that they ask about."""
    product = (context or {}).get("referred_product")
    return [Attachment(kind="product", name=text_of(product["product_retailer_id"]))] if product else []


def _web(url: Any) -> str:
    """Only what a browser could open is kept."""
    return clean(url) if isinstance(url, str) and url.startswith(("http://", "https://")) else ""


def _joined(*words: str) -> str:
    return ", ".join(filter(None, words))


READERS: Mapping[str, Callable[[Mapping[str, Any]], Content | None]] = {
    "text": _text,
    "location": _location,
    "contacts": _contacts,
    "button": _button,
    "interactive": _interactive,
    "order": _order,
}
