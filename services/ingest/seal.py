"""A channel's items as records for the bus: their inbox resolved, their id and key derived."""

from collections.abc import Sequence
from datetime import datetime

from shared.accounts import Account
from shared.channels.contract import BadItem, Item
from shared.events import DeadLetter, Event, Record, encode
from shared.ids import derived_id

SOURCE = "ingest"
# Below the million bytes that a broker takes.
RECORD_LIMIT = 900_000
# Of what could not be read so much is kept; in Base64 it becomes a third more.
DEAD_LIMIT = 256_000


def seal(items: Sequence[Item | BadItem], account: Account, received_at: datetime) -> list[Record]:
    """One record per item; one that breaks the form, or whose inbox is not configured, is a dead letter."""
    return [_record(item, account, received_at) for item in items]


def _record(item: Item | BadItem, account: Account, received_at: datetime) -> Record:
    record = encode(_event(item, account, received_at))
    if len(record.value) <= RECORD_LIMIT:
        return record
    # The brokers would refuse it again and again, and everything behind it would wait.
    text = f"{len(record.value)} bytes are more than an event may have"
    raw = item.raw if isinstance(item, BadItem) else item.data.raw if hasattr(item.data, "raw") else b""
    return encode(dead(account, raw, "too_large", text, received_at, item.address))


def _event(item: Item | BadItem, account: Account, received_at: datetime) -> Event:
    if isinstance(item, BadItem):
        return dead(account, item.raw, item.code, item.error, received_at, item.address)
    inbox = account.inboxes.get(item.address)
    if inbox is None:
        return _homeless(item, account, received_at)
    return Event(
        data=item.data,
        key=f"{inbox.id}:{item.lane}",
        source=SOURCE,
        time=received_at,
        brand_id=inbox.brand_id,
        inbox_id=inbox.id,
        subject=item.lane,
        id=derived_id(inbox.id, type(item.data).__name__, item.data.keys[0]),
    )


def _homeless(item: Item, account: Account, received_at: datetime) -> Event:
    """A dead letter that a replay turns into the event, once somebody has configured its inbox."""
    record = encode(Event(data=item.data, key=item.lane, source=SOURCE, time=received_at, subject=item.lane))
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
    """A dead letter of something that never became an event."""
    inbox = account.inboxes.get(address or "")
    headers = {"channel": account.channel, "account": str(account.id), "address": address or ""}
    return Event(
        data=DeadLetter(topic="", key=str(account.id), value=raw[:DEAD_LIMIT], headers=headers, code=code, error=error),
        key=str(account.id),
        source=SOURCE,
        time=received_at,
        brand_id=inbox.brand_id if inbox else None,
        inbox_id=inbox.id if inbox else None,
    )
