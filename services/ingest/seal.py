"""A channel's items as records for the bus: their inbox resolved, their id and key derived."""

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from shared.accounts import Account
from shared.channels.contract import BadItem, Item
from shared.events import Data, DeadLetter, Event, OfAVendor, Record, encode
from shared.ids import derived_id, text_of_id

SOURCE = "ingest"
# What an event carries of its own item's bytes.
RAW_LIMIT = 65_536
# Below the million bytes that a broker takes: it would refuse more again and again, and everything behind would wait.
RECORD_LIMIT = 900_000
# Of what could not be read a dead letter carries so much, and refers to the whole; in Base64 it is a third more.
DEAD_LIMIT = 256_000
ADDRESS_LIMIT = 400


def seal(items: Sequence[Item | BadItem], account: Account, received_at: datetime) -> list[Record]:
    """One record per item; one that breaks the form, or whose inbox is not configured, is a dead letter."""
    return [_record(item, account, received_at) for item in items]


def _record(item: Item | BadItem, account: Account, received_at: datetime) -> Record:
    if isinstance(item, BadItem):
        return encode(dead(account, item.raw, item.code, item.error, received_at, item.address))
    try:
        record = encode(_event(item, account, received_at))
        # The key stands in the record twice; one that no bus could carry must not hold the neighbours back.
        size = len(record.value) + 2 * len(record.key.encode())
    except (ValueError, LookupError, TypeError) as error:
        text = f"the channel made an event that cannot be written: {type(error).__name__}"
        return encode(_unfit(item, account, "unwritable", text, received_at))
    if size <= RECORD_LIMIT:
        return record
    text = f"{size} bytes are more than an event may have"
    return encode(_unfit(item, account, "too_large", text, received_at, item.address))


def _unfit(
    item: Item, account: Account, code: str, error: str, received_at: datetime, address: str | None = None
) -> Event:
    """A dead letter of an item whose event no bus could carry; it keeps the item's own reference."""
    event = dead(account, item.data.raw if isinstance(item.data, OfAVendor) else b"", code, error, received_at, address)
    ref = getattr(item.data, "raw_ref", "")
    letter = event.data
    if not ref or not isinstance(letter, DeadLetter):
        return event
    return dataclasses.replace(event, data=replace(letter, headers={**letter.headers, "raw_ref": ref}))


def _event(item: Item, account: Account, received_at: datetime) -> Event:
    inbox = account.inboxes.get(item.address)
    if inbox is None:
        return _homeless(item, account, received_at)
    return Event(
        data=_carried(item.data),
        key=f"{text_of_id(inbox.id)}:{item.lane}",
        source=SOURCE,
        time=received_at,
        brand_id=inbox.brand_id,
        inbox_id=inbox.id,
        subject=item.lane,
        id=derived_id(inbox.id, type(item.data).__name__, item.data.keys[0]),
    )


def _carried(data: Data) -> Data:
    """As it goes on the bus: raw bytes that are text, as text.

    Events that can refer to too many of them do so already; of the few others the beginning tells enough.
    """
    if not isinstance(data, OfAVendor):
        return data
    raw = data.raw[:RAW_LIMIT]
    try:
        return replace(data, raw=b"", raw_text=raw.decode())
    except UnicodeDecodeError:
        return replace(data, raw=raw)


def _homeless(item: Item, account: Account, received_at: datetime) -> Event:
    """A dead letter that a replay turns into the event, once somebody has configured its inbox."""
    record = encode(Event(data=_carried(item.data), key=item.lane, source=SOURCE, time=received_at, subject=item.lane))
    letter = DeadLetter(
        topic=record.topic,
        key=item.lane,
        value=record.value,
        headers={**record.headers, "account": str(account.id), "address": item.address,
                 "ce_id": str(derived_id(account.id, item.address, type(item.data).__name__, item.data.keys[0]))},
        code="unknown_inbox",
        error="no inbox of this account has this address: configure it, then replay",
    )  # fmt: skip
    return Event(data=letter, key=str(account.id), source=SOURCE, time=received_at)


def dead(
    account: Account, raw: bytes, code: str, error: str, received_at: datetime, address: str | None = None
) -> Event:
    """A dead letter of something that never became an event; of very long ones the beginning, their length and hash."""
    inbox = account.inboxes.get(address or "")
    headers = {"channel": account.channel, "account": str(account.id), "address": (address or "")[:ADDRESS_LIMIT]}
    if len(raw) > DEAD_LIMIT:
        headers |= {"length": str(len(raw)), "raw_ref": hashlib.sha256(raw).hexdigest()}
    return Event(
        data=DeadLetter(topic="", key=str(account.id), value=raw[:DEAD_LIMIT], headers=headers, code=code, error=error),
        key=str(account.id),
        source=SOURCE,
        time=received_at,
        brand_id=inbox.brand_id if inbox else None,
        inbox_id=inbox.id if inbox else None,
    )
