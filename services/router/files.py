"""The files of messages: asked for once a message is stored, settled when ingest has them, shown by signed links."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.router.domain.conversation import AttachmentSettled, Change, Message
from services.router.facts import Case, Facts, marks
from services.router.store.seen import Mark
from shared.channels.contract import Channel
from shared.db.transaction import Transaction
from shared.errors import BadPayload
from shared.events import Attachment, Event, FetchMedia, MediaFailed, MediaStored
from shared.links import SHOWN_FOR, Links

Settled = MediaStored | MediaFailed
ACTOR = "ingest"
# What a vendor calls an attachment but is no file: it is shown as it was told.
NO_FILES = frozenset(
    {
        "location", "contact", "contacts", "fallback", "template", "share", "link", "reel", "ig_reel", "post",
        "ig_post", "product", "story_mention", "order",
    }
)  # fmt: skip


def is_fetched(channel: Channel | None, attachment: Attachment) -> bool:
    """Whether its bytes are the vendor's so far and can be had."""
    if channel is None or channel.locate is None or attachment.kind in NO_FILES:
        return False
    has_place = attachment.url.startswith(("http://", "https://")) or bool(attachment.external_id)
    return has_place and not attachment.sha256 and not attachment.error


def fetch(change: Change, message: Message, channel: Channel) -> None:
    """Orders what is to be fetched of a new message; the order leaves with the message's own transaction."""
    for position, attachment in enumerate(message.attachments):
        if is_fetched(channel, attachment):
            order = FetchMedia(
                message_id=message.id, conversation_id=change.after.id, position=position, attachment=attachment
            )
            change.emit(order, key=str(change.after.brand_id))


def of_stored_messages(batch: Sequence[Event], known: set[Mark]) -> list[Settled]:
    """What the batch newly tells of stored messages' files."""
    return [e.data for e in batch if isinstance(e.data, Settled) and not known.intersection(marks(e))]


async def load(tx: Transaction, facts: Facts, told: Sequence[Settled]) -> None:
    """The attachments of the messages that are told of; their conversations are under lock."""
    if not told:
        return
    rows = await tx.fetch(
        "SELECT id, attachments FROM router.message WHERE id = ANY ($1::uuid[]) AND conversation_id = ANY ($2::uuid[])",
        sorted({data.message_id for data in told}),
        list(facts.changes),
    )
    facts.attachments |= {row["id"]: msgspec.convert(row["attachments"], list[Attachment]) for row in rows}


def stored(case: Case, facts: Facts) -> UUID:
    """The attachment names its bytes. Raises BadPayload where there is no such message."""
    data = case.event.data
    assert isinstance(data, MediaStored)
    before = _attachment(case, data, facts)
    after = msgspec.structs.replace(
        before, sha256=data.sha256, size=data.size, media_type=data.media_type, name=before.name or data.name
    )
    return _settle(data, after, facts)


def failed(case: Case, facts: Facts) -> UUID:
    """The attachment says why it cannot be had. Raises BadPayload where there is no such message."""
    data = case.event.data
    assert isinstance(data, MediaFailed)
    return _settle(data, msgspec.structs.replace(_attachment(case, data, facts), error=data.reason), facts)


def _attachment(case: Case, data: Settled, facts: Facts) -> Attachment:
    change, attachments = facts.changes.get(data.conversation_id), facts.attachments.get(data.message_id, [])
    if change is None or change.after.brand_id != case.inbox.brand_id or not 0 <= data.position < len(attachments):
        raise BadPayload("no message of ours has this attachment", code="unknown_attachment")
    return attachments[data.position]


def _settle(data: Settled, after: Attachment, facts: Facts) -> UUID:
    facts.attachments[data.message_id][data.position] = after
    facts.settled.add(data.message_id)
    entry = AttachmentSettled(
        message_id=data.message_id, position=data.position, sha256=after.sha256, reason=after.error
    )
    facts.changes[data.conversation_id].record(entry, ACTOR)
    return data.message_id


async def save(tx: Transaction, facts: Facts) -> None:
    """One statement for all messages whose attachments changed."""
    if not facts.settled:
        return
    ids = sorted(facts.settled)
    await tx.execute(
        "UPDATE router.message AS m SET attachments = r.attachments "
        "FROM unnest($1::uuid[], $2::jsonb[]) AS r (id, attachments) WHERE m.id = r.id",
        ids,
        # In a list of documents a list would be taken for a nested array.
        [msgspec.Raw(msgspec.json.encode(facts.attachments[id_])) for id_ in ids],
    )


@dataclass(frozen=True, slots=True)
class Shown:
    """Shows the attachments of message rows at one instant."""

    links: Links
    channels: Mapping[str, Channel]
    now: datetime

    def message(self, row: Mapping[str, Any], brand_id: UUID, channel: str) -> dict[str, Any]:
        """The row with its attachments as people see them."""
        attachments = msgspec.convert(row["attachments"], list[Attachment])
        return {**row, "attachments": [self._attachment(a, brand_id, self.channels.get(channel)) for a in attachments]}

    def _attachment(self, attachment: Attachment, brand_id: UUID, channel: Channel | None) -> dict[str, Any]:
        same = {name: getattr(attachment, name) for name in ("kind", "url", "name", "size", "media_type", "sha256")}
        if attachment.sha256:
            href = self.links.of(brand_id, attachment, self.now + SHOWN_FOR)
            return {**same, "state": "stored", "href": href, "error": ""}
        state = "failed" if attachment.error else "pending" if is_fetched(channel, attachment) else "elsewhere"
        return {**same, "state": state, "href": None, "error": attachment.error}
