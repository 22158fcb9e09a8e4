"""WhatsApp's webhooks: messages, statuses, echoes of the phone's own app, numbers that change, marketing opt-outs.

Source: Meta for Developers, "WhatsApp Cloud API - Webhooks reference", Graph API v25.0.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from shared.accounts import Account
from shared.channels.contract import BadItem, Hook, Item, Received
from shared.channels.meta.graph import number
from shared.channels.meta.webhooks import guarded, instant, list_of, received, text_of
from shared.channels.text import clean, key, write_json
from shared.channels.whatsapp.contents import content
from shared.channels.whatsapp.people import Contacts, Person, contacts_of, person
from shared.channels.whatsapp.rules import Context
from shared.channels.whatsapp.verdicts import VERDICTS
from shared.events import (
    EchoReceived,
    IdentityChanged,
    MessageReceived,
    OptOutChanged,
    ReceiptReceived,
    ReceiptState,
    Unrecognised,
)

CHANNEL = "whatsapp"
# Known, and nobody needs to see them: templates, quality and settings of the account, copies of what was before.
SILENT_FIELDS = frozenset(
    {"account_alerts", "account_review_update", "account_settings_update", "account_update", "automatic_events",
     "business_capability_update", "business_status_update", "business_username_update", "flows",
     "group_lifecycle_update", "group_participants_update", "group_settings_update", "group_status_update", "history",
     "message_template_components_update", "message_template_quality_update", "message_template_status_update",
     "partner_solutions", "payment_configuration_update", "phone_number_name_update", "phone_number_quality_update",
     "security", "smb_app_state_sync", "template_category_update", "template_correct_category_detection",
     "tracking_events"}
)  # fmt: skip
STATES: Mapping[str, ReceiptState] = {
    "sent": "sent", "delivered": "delivered", "read": "read", "played": "read", "failed": "failed",
}  # fmt: skip
SILENT_STATES = frozenset({"deleted", "warning"})
# The chat was opened, and a key of the encryption is another one.
SILENT_TYPES = frozenset({"request_welcome"})
SILENT_SYSTEM_TYPES = frozenset({"customer_identity_changed"})
# What carries no time of its own counts from its arrival.
NO_TIME = datetime.fromtimestamp(0, UTC)
# The same words as for the vendor's other products.
WORDS = {"edit": "message_edit", "revoke": "message_deleted"}

Raw = dict[str, Any]
# An item's bytes, itself, the number that it came to, and the people of its request.
Reader = Callable[[bytes, Raw, str, Contacts], Iterator[Item]]


def receive(hook: Hook, _account: Account) -> Received:
    """Every item of every change of every entry; one that breaks the form holds nobody back.

    Raises BadPayload where the whole body is unreadable.
    """
    return received(hook, "whatsapp_business_account", _of_entry)


def _of_entry(entry: Any) -> Iterator[Item | BadItem]:
    changes = entry.get("changes") if isinstance(entry, dict) else None
    if not isinstance(changes, list):
        yield BadItem(write_json(entry), "no_changes", "the entry has no list of changes")
        return
    for change in changes:
        yield from _of_change(entry, change)


def _of_change(entry: Raw, change: Any) -> Iterator[Item | BadItem]:
    field = change.get("field") if isinstance(change, dict) else None
    value = change.get("value") if isinstance(change, dict) else None
    if not isinstance(field, str) or not isinstance(value, dict):
        yield BadItem(write_json(change), "no_field", "the change does not say what changed")
        return
    if field in SILENT_FIELDS:
        return
    metadata = value.get("metadata")
    own = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    readers = FIELDS.get(field)
    if readers is None:
        address = own if isinstance(own, str) else entry.get("id")
        address = clean(address) if isinstance(address, str) else ""
        yield from guarded(address, change, lambda encoded: _unknown_change(encoded, entry, field, address))
        return
    if not isinstance(own, str):
        yield BadItem(write_json(change), "no_number", "the change does not name the number that it came to")
        return
    yield from _of_value(value, clean(own), readers)


def _of_value(value: Raw, own: str, readers: Mapping[str, Reader]) -> Iterator[Item | BadItem]:
    contacts = contacts_of(value)
    for name, read in readers.items():
        found = value.get(name) or []
        if not isinstance(found, list):
            yield BadItem(write_json(value), "no_list", f"`{name}` is not a list", own)
            continue
        if name == "errors" and (value.get("messages") or value.get("statuses")):
            # They belong to a message, which tells of them itself.
            continue
        for raw in found:
            yield from guarded(own, raw, _reading(read, raw, own, contacts))


def _reading(read: Reader, raw: Any, own: str, contacts: Contacts) -> Callable[[bytes], Iterator[Item]]:
    return lambda encoded: read(encoded, raw, own, contacts)


def _message(encoded: bytes, raw: Raw, own: str, contacts: Contacts) -> Iterator[Item]:
    kind = text_of(raw["type"])
    if kind in SILENT_TYPES:
        return
    sender = person(raw.get("from"), raw.get("from_user_id"), contacts)
    if kind == "system":
        yield from _system(encoded, raw, own, sender)
        return
    if kind == "reaction":
        yield from _reaction(encoded, raw, own, sender)
        return
    # Whoever writes in a group cannot be answered alone; some types come with an error in place of their object.
    is_hollow = raw.get("group_id") or (raw.get("errors") and kind not in raw)
    said = None if is_hollow else content(raw)
    if said is None or not (said.text or said.attachments):
        yield Item(own, sender.peer, _unrecognised(encoded, raw, sender, _what(raw, kind)))
        return
    at = instant(raw["timestamp"])
    message_id = text_of(raw["id"])
    context = Context(phone=sender.phone, user_id=sender.user_id, at=at, message_id=message_id)
    first, *also = sender.addresses
    data = MessageReceived(
        channel=CHANNEL,
        keys=[key("message", message_id)],
        sender=first,
        also=also,
        occurred_at=at,
        text=said.text,
        attachments=list(said.attachments),
        reply_context=context.encode(),
        raw=encoded,
    )
    yield Item(own, sender.peer, data)


def _reaction(encoded: bytes, raw: Raw, own: str, sender: Person) -> Iterator[Item]:
    """Shown, but nobody has to answer it; one that is taken back is nothing to see."""
    emoji = text_of(raw["reaction"].get("emoji") or "")
    if not emoji:
        return
    first, *also = sender.addresses
    data = MessageReceived(
        channel=CHANNEL,
        keys=[key("message", text_of(raw["id"]))],
        sender=first,
        also=also,
        occurred_at=instant(raw["timestamp"]),
        text=emoji,
        raw=encoded,
        automatic=True,
    )
    yield Item(own, sender.peer, data)


def _system(encoded: bytes, raw: Raw, own: str, sender: Person) -> Iterator[Item]:
    """Another number, another business-scoped id, or both at once; each is one change."""
    system = raw["system"]
    kind = text_of(system["type"])
    if kind in SILENT_SYSTEM_TYPES:
        return
    at, message_id = instant(raw["timestamp"]), text_of(raw["id"])
    # Older payloads name the old number here, and put another word for the new one.
    before = person(system["customer"], raw.get("from_user_id"), {}) if system.get("customer") else sender
    phone, user_id = system.get("wa_id") or system.get("new_wa_id"), system.get("user_id")
    after = person(phone, user_id, {}).addresses if phone or user_id else ()
    news = {address.kind: address for address in after}
    changes = [(old, news[old.kind]) for old in before.addresses if old.kind in news]
    changes = [(old, new) for old, new in changes if old.value != new.value]
    for old, new in changes:
        data = IdentityChanged(
            channel=CHANNEL,
            keys=[key(f"{old.kind}_changed", message_id)],
            sender=new,
            before=old,
            occurred_at=at,
            raw=encoded,
        )
        yield Item(own, sender.peer, data)
    if not changes:
        yield Item(own, sender.peer, _unrecognised(encoded, raw, sender, f"system_{kind}"))


def _status(encoded: bytes, raw: Raw, own: str, contacts: Contacts) -> Iterator[Item]:
    told = text_of(raw["status"])
    if told in SILENT_STATES:
        return
    message_id, at = text_of(raw["id"]), instant(raw["timestamp"])
    # Neither may be there; the message's id is enough then.
    phone, user_id = raw.get("recipient_id"), raw.get("recipient_user_id")
    to = person(phone, user_id, contacts) if phone or user_id else None
    peer = to.peer if to else None
    state = STATES.get(told)
    if state is None:
        yield Item(own, peer or own, _unrecognised(encoded, raw, to, f"status_{told}"))
        return
    reference = raw.get("biz_opaque_callback_data")
    data = ReceiptReceived(
        channel=CHANNEL,
        keys=[key(told, message_id)],
        state=state,
        at=at,
        external_ids=[message_id],
        reference=text_of(reference) if reference else None,
        peer=peer,
        code=_code(raw) if state == "failed" else "",
    )
    yield Item(own, peer or own, data)


def _code(raw: Raw) -> str:
    """Our word for why it failed, the vendor's number where we have none."""
    code = _error_code(raw)
    verdict = VERDICTS.of(code)
    return verdict[1] if verdict else f"code_{code}" if code is not None else "failed"


def _echo(encoded: bytes, raw: Raw, own: str, contacts: Contacts) -> Iterator[Item]:
    """Somebody of the brand wrote in the phone's own app."""
    to = person(raw.get("to"), raw.get("to_user_id"), contacts)
    said = content(raw)
    message_id = text_of(raw["id"])
    if said is None:
        yield Item(own, to.peer, _unrecognised(encoded, raw, to, f"echo_{_what(raw, text_of(raw['type']))}"))
        return
    data = EchoReceived(
        channel=CHANNEL,
        keys=[key("echo", message_id)],
        external_id=message_id,
        peer=to.peer,
        occurred_at=instant(raw["timestamp"]),
        text=said.text,
        attachments=list(said.attachments),
        raw=encoded,
    )
    yield Item(own, to.peer, data)


def _preference(encoded: bytes, raw: Raw, own: str, contacts: Contacts) -> Iterator[Item]:
    """Whoever stops offers and announcements may be answered all the same when they write."""
    sender = person(raw.get("wa_id"), raw.get("user_id"), contacts)
    at, value = instant(raw["timestamp"]), text_of(raw["value"])
    known = {"stop": True, "resume": False}
    if raw["category"] != "marketing_messages" or value not in known:
        yield Item(own, sender.peer, _unrecognised(encoded, raw, sender, "user_preference"))
        return
    data = OptOutChanged(
        channel=CHANNEL,
        keys=[key(f"marketing_{value}", sender.peer, str(raw["timestamp"]))],
        sender=sender.addresses[0],
        opted_out=known[value],
        marketing_only=True,
        occurred_at=at,
        raw=encoded,
    )
    yield Item(own, sender.peer, data)


def _error(encoded: bytes, raw: Raw, own: str, _contacts: Contacts) -> Iterator[Item]:
    """Trouble of the number or the account, about no message: a person has to look at it."""
    data = Unrecognised(
        channel=CHANNEL,
        keys=[key("error", own, hashlib.sha256(encoded).hexdigest())],
        what=f"error_{number(raw.get('code'))}",
        occurred_at=NO_TIME,
        raw=encoded,
    )
    yield Item(own, own, data)


def _unknown_change(encoded: bytes, entry: Raw, field: str, address: str) -> Iterator[Item]:
    at = instant(entry.get("time") or 0)
    data = Unrecognised(
        channel=CHANNEL,
        keys=[key("change", at.isoformat(), hashlib.sha256(encoded).hexdigest())],
        what=clean(field)[:100],
        occurred_at=at,
        raw=encoded,
    )
    yield Item(address, address, data)


def _unrecognised(encoded: bytes, raw: Raw, sender: Person | None, what: str) -> Unrecognised:
    id_ = raw.get("id")
    # Preferences have no id.
    mark = text_of(id_) if id_ else hashlib.sha256(encoded).hexdigest()
    return Unrecognised(
        channel=CHANNEL,
        keys=[key(clean(what)[:100], mark)],
        what=clean(what)[:100],
        occurred_at=instant(raw["timestamp"]),
        sender=sender.addresses[0] if sender else None,
        raw=encoded,
    )


def _what(raw: Raw, kind: str) -> str:
    """What a person is told that we cannot show."""
    if raw.get("group_id"):
        return "group_message"
    if kind == "interactive":
        return f"interactive_{(raw.get('interactive') or {}).get('type', 'unsupported')}"
    if kind == "unsupported":
        inner = (raw.get("unsupported") or {}).get("type") or _error_code(raw)
        return f"unsupported_{inner}" if inner else kind
    return WORDS.get(kind, kind)


def _error_code(raw: Raw) -> int | None:
    errors = list_of(raw.get("errors"))
    return number(errors[0].get("code")) if errors else None


FIELDS: Mapping[str, Mapping[str, Reader]] = {
    "messages": {"messages": _message, "statuses": _status, "errors": _error},
    "smb_message_echoes": {"message_echoes": _echo},
    "user_preferences": {"user_preferences": _preference},
}
