"""What travels between the services: facts in the past tense and commands as orders.

On the bus an event is a CloudEvents 1.0 message in binary mode: the attributes below as `ce_` headers, the data as
JSON. Within `.v1` only optional fields are added; readers ignore fields that they do not know.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from shared.errors import BadPayload, UnknownEvent
from shared.ids import new_id, text_of_id
from shared.topics import Topic

ReceiptState = Literal["sent", "delivered", "read", "failed"]
AuthorKind = Literal["agent", "automatic"]


class Data(msgspec.Struct, frozen=True, omit_defaults=True):
    """The JSON of an event."""


class Address(Data, frozen=True, kw_only=True):
    """One address of a person on one kind of channel, e.g. `messenger` and a page-scoped id."""

    kind: str
    value: str
    name: str = ""
    verified_by: Literal["channel", "dmarc", "agent"] | None = None


class Attachment(Data, frozen=True, kw_only=True):
    """A file. Held by the vendor it has a `url` (which may expire) or an `external_id`, held by us a `sha256`.

    `size` in bytes, `media_type` as the vendor declares it or, with `sha256`, as its bytes say; `error` tells why it
    cannot be had.
    """

    kind: str
    url: str = ""
    name: str = ""
    size: int | None = None
    external_id: str = ""
    media_type: str = ""
    sha256: str = ""
    error: str = ""


class OfAVendor(Data, frozen=True, kw_only=True):
    """What a vendor told us, with the bytes of this one item: in `raw_text` where they are text, else in `raw`.

    On the bus text stands as it is; as Base64, like all bytes, it would be a third longer.
    """

    raw: bytes = b""
    raw_text: str = ""

    @property
    def original(self) -> bytes:
        return self.raw or self.raw_text.encode()


# inbound: ingest -> router


class MessageReceived(OfAVendor, frozen=True, kw_only=True):
    """A customer (or the marketplace's staff) wrote. `keys` make it known once."""

    channel: str
    keys: list[str]
    sender: Address
    occurred_at: datetime
    text: str = ""
    attachments: list[Attachment] = []
    thread: str | None = None
    author: Literal["customer", "operator"] = "customer"
    locale: str | None = None
    country: str | None = None
    matter: str | None = None
    subject: str = ""
    reply_context: bytes = b""
    # Further addresses of the sender that the vendor vouches for in the same request.
    also: list[Address] = []
    # SHA-256 of the whole item in the object store, where it is too large for an event.
    raw_ref: str = ""
    # Written by a machine (out of office, a notice): shown, but it starts no clock and opens nothing again.
    automatic: bool = False


class Unrecognised(OfAVendor, frozen=True, kw_only=True):
    """Authentic, of a type that we do not handle yet; a person sees it as "not supported yet"."""

    channel: str
    keys: list[str]
    what: str
    occurred_at: datetime
    sender: Address | None = None
    thread: str | None = None
    raw_ref: str = ""


class CallbackRequested(OfAVendor, frozen=True, kw_only=True):
    """Somebody wants to be called back. `preferred_at` is an instant, `zone` the customer's IANA zone."""

    channel: str
    keys: list[str]
    sender: Address
    occurred_at: datetime
    language: str | None = None
    preferred_at: datetime | None = None
    zone: str = ""
    text: str = ""
    matter: str | None = None


class IdentityChanged(OfAVendor, frozen=True, kw_only=True):
    """The vendor says that a person's address is another one from now on."""

    channel: str
    keys: list[str]
    sender: Address
    before: Address
    occurred_at: datetime


class OptOutChanged(OfAVendor, frozen=True, kw_only=True):
    """A person does not want messages from this inbox any more, or wants them again."""

    channel: str
    keys: list[str]
    sender: Address
    opted_out: bool
    occurred_at: datetime
    # Of what we start alone: whoever writes is answered all the same.
    marketing_only: bool = False


class MediaStored(Data, frozen=True, kw_only=True):
    """The file of a message's attachment at `position` is in the object store; `media_type` is what its bytes say."""

    message_id: UUID
    conversation_id: UUID
    position: int
    sha256: str
    size: int
    media_type: str
    name: str = ""


class MediaFailed(Data, frozen=True, kw_only=True):
    """It cannot be had: `reason` is our word (`too_large`, `gone`, `private_address`, ...)."""

    message_id: UUID
    conversation_id: UUID
    position: int
    reason: str


# media: router -> ingest


class FetchMedia(Data, frozen=True, kw_only=True):
    """Fetch a message's attachment from its vendor into the object store."""

    message_id: UUID
    conversation_id: UUID
    position: int
    attachment: Attachment


# receipts: ingest -> responder


class ReceiptReceived(Data, frozen=True, kw_only=True):
    """What the vendor says of parts that it took: by id, by our reference, or all of `peer` up to `watermark`."""

    channel: str
    keys: list[str]
    state: ReceiptState
    at: datetime
    external_ids: list[str] = []
    reference: str | None = None
    peer: str | None = None
    watermark: datetime | None = None
    code: str = ""


class EchoReceived(OfAVendor, frozen=True, kw_only=True):
    """The brand's side wrote: we ourselves, or somebody in the vendor's own inbox. `ours` when the vendor says so."""

    channel: str
    keys: list[str]
    external_id: str
    peer: str
    occurred_at: datetime
    text: str = ""
    attachments: list[Attachment] = []
    reference: str | None = None
    ours: bool = False


class CallProgressed(Data, frozen=True, kw_only=True):
    """A call that we placed moved on. `reference` is our call's id, `leg` whose phone, `sequence` the vendor's order.

    `state` is the vendor's word; `answered_by` as its answering-machine detection says, `seconds` talked.
    """

    channel: str
    keys: list[str]
    reference: str
    external_id: str
    leg: Literal["agent", "customer"]
    state: str
    at: datetime
    sequence: int | None = None
    answered_by: str = ""
    seconds: int | None = None
    code: str = ""


# outbound: router -> responder


class SendReply(Data, frozen=True, kw_only=True):
    """Everything that sending needs; `reply_context` is the channel's own value, nobody else looks inside."""

    reply_id: UUID
    conversation_id: UUID
    inbox_id: UUID
    number: int
    channel: str
    reply_context: bytes
    text: str
    language: str | None = None
    attachments: list[Attachment] = []
    author_kind: AuthorKind = "agent"
    expires_at: datetime
    # When the customer last wrote: what was held against their address before that is forgiven.
    heard_at: datetime | None = None


class PlaceCall(Data, frozen=True, kw_only=True):
    """Call the agent, tell them who waits (`whisper`, in the agent's `language`), then bridge the customer."""

    call_id: UUID
    conversation_id: UUID
    inbox_id: UUID
    agent_id: UUID
    number: int
    channel: str
    agent_phone: str
    customer_phone: str
    whisper: str
    language: str
    expires_at: datetime


class WithdrawReply(Data, frozen=True, kw_only=True):
    """Do not send what has not left yet."""

    reply_id: UUID
    conversation_id: UUID


class WithdrawCall(Data, frozen=True, kw_only=True):
    """Do not call, or hang up, unless the customer has answered."""

    call_id: UUID
    conversation_id: UUID


class ReplayDelivery(Data, frozen=True, kw_only=True):
    """Try a refused or unknown reply again, from the first part that was not accepted."""

    reply_id: UUID
    conversation_id: UUID


# results: responder -> router


class ReplyAccepted(Data, frozen=True, kw_only=True):
    """The vendor took every part."""

    reply_id: UUID
    conversation_id: UUID
    at: datetime
    external_ids: list[str] = []


class ReplyProgressed(Data, frozen=True, kw_only=True):
    """The vendor's receipts moved the reply on."""

    reply_id: UUID
    conversation_id: UUID
    state: ReceiptState
    at: datetime
    code: str = ""


class ReplyRefused(Data, frozen=True, kw_only=True):
    """It will not go out: `reason` is our word (`window_closed`, `withdrawn`, `expired`, ...), `code` the vendor's."""

    reply_id: UUID
    conversation_id: UUID
    at: datetime
    reason: str
    code: str = ""


class ReplyUnknown(Data, frozen=True, kw_only=True):
    """It may have been sent; nobody could tell."""

    reply_id: UUID
    conversation_id: UUID
    at: datetime
    reason: str


class ReplyMadeElsewhere(Data, frozen=True, kw_only=True):
    """The brand answered in the vendor's own inbox or with another tool."""

    inbox_id: UUID
    channel: str
    keys: list[str]
    peer: str
    external_id: str
    occurred_at: datetime
    text: str = ""
    attachments: list[Attachment] = []


class CallEnded(Data, frozen=True, kw_only=True):
    """How a call ended, once: `seconds` talked, `code` the vendor's."""

    call_id: UUID
    conversation_id: UUID
    outcome: Literal["talked", "customer_absent", "machine", "busy", "agent_absent", "failed", "withdrawn"]
    at: datetime
    seconds: int = 0
    code: str = ""


# routing: router -> everybody


class ConversationEvent(Data, frozen=True, kw_only=True):
    """A change of one conversation: `n` is its version after that, `agent_id` who holds it or held it until then."""

    conversation_id: UUID
    n: int
    at: datetime
    language: str | None = None
    agent_id: UUID | None = None
    reason: str = ""


class ConversationQueued(ConversationEvent, frozen=True, kw_only=True):
    """Waits in the queues of its plan's first step."""


class ConversationOffered(ConversationEvent, frozen=True, kw_only=True):
    """Held out to an agent."""


class ConversationAssigned(ConversationEvent, frozen=True, kw_only=True):
    """Held by an agent."""


class ConversationRequeued(ConversationEvent, frozen=True, kw_only=True):
    """Back in the queue with its age."""


class ConversationAnswered(ConversationEvent, frozen=True, kw_only=True):
    """A reply was written."""


class ConversationResolved(ConversationEvent, frozen=True, kw_only=True):
    """Done for now."""


class ConversationChanged(ConversationEvent, frozen=True, kw_only=True):
    """Anything else: a message, a note, a language corrected, a receipt."""


# alerts: router -> everybody


class DeadlineNear(Data, frozen=True, kw_only=True):
    """A clock passed its warning."""

    conversation_id: UUID
    clock_id: UUID
    target: str
    due_at: datetime
    at: datetime
    agent_id: UUID | None = None
    language: str | None = None
    what_to_do: str = ""
    # Whose rule (`contract`, `marketplace`) by which policy; names for people; the whole of it in a sentence.
    family: str = ""
    policy: str = ""
    brand: str = ""
    inbox: str = ""
    channel: str = ""
    agent: str = ""
    late_seconds: float = 0.0
    sentence: str = ""
    links: dict[str, str] = {}


class DeadlineMissed(DeadlineNear, frozen=True, kw_only=True):
    """A clock ran out; `due_at` says when, `at` when it was found."""


class QueueStalled(Data, frozen=True, kw_only=True):
    """Conversations wait in a pool that nobody serves."""

    pool_id: UUID
    waiting: int
    oldest_at: datetime
    at: datetime


class AccountHealth(Data, frozen=True, kw_only=True):
    """An account works or not; `reason` names what a person has to mend."""

    account_id: UUID
    state: Literal["healthy", "broken", "suspicious"]
    reason: str
    at: datetime


class WebhookDisabled(Data, frozen=True, kw_only=True):
    """A webhook gets no alerts any more, until a person enables it."""

    webhook_id: UUID
    webhook: str
    reason: str
    at: datetime


# dead: as source


class DeadLetter(Data, frozen=True, kw_only=True):
    """An item that could not be read or handled, as it was, with what was wrong."""

    topic: str
    key: str
    value: bytes
    headers: dict[str, str]
    code: str
    error: str


TOPICS: Mapping[type[Data], Topic] = {
    MessageReceived: Topic.INBOUND,
    Unrecognised: Topic.INBOUND,
    CallbackRequested: Topic.INBOUND,
    IdentityChanged: Topic.INBOUND,
    OptOutChanged: Topic.INBOUND,
    MediaStored: Topic.INBOUND,
    MediaFailed: Topic.INBOUND,
    FetchMedia: Topic.MEDIA,
    ReceiptReceived: Topic.RECEIPTS,
    EchoReceived: Topic.RECEIPTS,
    CallProgressed: Topic.RECEIPTS,
    SendReply: Topic.OUTBOUND,
    PlaceCall: Topic.OUTBOUND,
    WithdrawReply: Topic.OUTBOUND,
    WithdrawCall: Topic.OUTBOUND,
    ReplayDelivery: Topic.OUTBOUND,
    ReplyAccepted: Topic.RESULTS,
    ReplyProgressed: Topic.RESULTS,
    ReplyRefused: Topic.RESULTS,
    ReplyUnknown: Topic.RESULTS,
    ReplyMadeElsewhere: Topic.RESULTS,
    CallEnded: Topic.RESULTS,
    ConversationQueued: Topic.ROUTING,
    ConversationOffered: Topic.ROUTING,
    ConversationAssigned: Topic.ROUTING,
    ConversationRequeued: Topic.ROUTING,
    ConversationAnswered: Topic.ROUTING,
    ConversationResolved: Topic.ROUTING,
    ConversationChanged: Topic.ROUTING,
    DeadlineNear: Topic.ALERTS,
    DeadlineMissed: Topic.ALERTS,
    QueueStalled: Topic.ALERTS,
    AccountHealth: Topic.ALERTS,
    WebhookDisabled: Topic.ALERTS,
    DeadLetter: Topic.DEAD,
}


def _name(cls: type[Data]) -> str:
    words = "".join(f".{c.lower()}" if c.isupper() else c for c in cls.__name__).lstrip(".")
    return f"dragoman.{words}.v1"


TYPE_NAMES: Mapping[type[Data], str] = {cls: _name(cls) for cls in TOPICS}
_CLASSES = {name: cls for cls, name in TYPE_NAMES.items()}
_DECODERS = {name: msgspec.json.Decoder(cls) for name, cls in _CLASSES.items()}
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The envelope. `key` gives locality on the bus, `time` is when the fact became known to us (ingest: received)."""

    data: Data
    key: str
    source: str
    time: datetime
    brand_id: UUID | None = None
    inbox_id: UUID | None = None
    subject: str = ""
    id: UUID = field(default_factory=new_id)
    traceparent: str = ""
    # Where a bus with partitions had it.
    partition: int | None = field(default=None, compare=False)

    @property
    def type(self) -> str:
        return TYPE_NAMES[type(self.data)]

    @property
    def topic(self) -> Topic:
        return TOPICS[type(self.data)]


@dataclass(frozen=True, slots=True)
class Record:
    """An event as the bus holds it."""

    topic: str
    key: str
    headers: Mapping[str, str]
    value: bytes
    partition: int | None = field(default=None, compare=False)


def encode(event: Event) -> Record:
    """The event as key, `ce_` headers and JSON."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": str(event.id),
        "ce_type": event.type,
        "ce_source": event.source,
        "ce_time": event.time.isoformat(),
        "content-type": "application/json",
    }
    if event.subject:
        headers["ce_subject"] = event.subject
    if event.brand_id:
        headers["ce_brandid"] = text_of_id(event.brand_id)
    if event.inbox_id:
        headers["ce_inboxid"] = text_of_id(event.inbox_id)
    if event.traceparent:
        headers["traceparent"] = event.traceparent
    return Record(event.topic, event.key, headers, _encode(event.data))


def decode(record: Record) -> Event:
    """The event of a record.

    Raises UnknownEvent for a type that this build does not know, BadPayload for anything that breaks the form.
    """
    headers = record.headers
    name = headers.get("ce_type", "")
    decoder = _DECODERS.get(name)
    if decoder is None:
        if name.startswith("dragoman."):
            raise UnknownEvent(f"the event type {name} is not known to this build: deploy the reader first")
        raise BadPayload("the record has no event type of ours", code="no_event_type")
    try:
        return Event(
            data=decoder.decode(record.value),
            key=record.key,
            source=headers["ce_source"],
            time=datetime.fromisoformat(headers["ce_time"]),
            brand_id=_uuid(headers.get("ce_brandid")),
            inbox_id=_uuid(headers.get("ce_inboxid")),
            subject=headers.get("ce_subject", ""),
            id=UUID(headers["ce_id"]),
            traceparent=headers.get("traceparent", ""),
            partition=record.partition,
        )
    except (msgspec.DecodeError, KeyError, ValueError) as error:
        # The decoder's text may quote the payload, so only its class is told.
        raise BadPayload(f"unreadable {name}: {type(error).__name__}", code="unreadable_event") from None


def _uuid(text: str | None) -> UUID | None:
    return UUID(text) if text else None
