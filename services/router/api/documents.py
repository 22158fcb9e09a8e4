"""What the API shows; tables are not API models."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

ID = "01936f5a-7c00-7000-8000-000000000001"


class Me(BaseModel):
    actor: str
    role: str
    agent_id: UUID | None
    brands: list[UUID]
    is_development: bool = Field(description="A development token of the embedded default; never on a real cell")


class PresenceDocument(BaseModel):
    status: str
    until: datetime | None = Field(description="The lease ends then unless it is renewed")


class Attachment(BaseModel):
    kind: str
    url: str = ""
    name: str = ""


class MessageDocument(BaseModel):
    id: UUID
    conversation_id: UUID
    kind: str = Field(description="inbound, reply, note, unrecognised, or elsewhere (the brand answered there)")
    author_kind: str
    author_id: UUID | None
    text: str
    language: str | None
    attachments: list[Attachment]
    occurred_at: datetime
    received_at: datetime
    state: str | None = Field(description="Of a reply: queued, accepted, sent, delivered, read, refused, unknown, …")
    state_at: datetime | None
    reason: str


class TimelineMessage(MessageDocument):
    channel: str
    inbox_id: UUID


class ClockDocument(BaseModel):
    target: str
    started_at: datetime
    due_at: datetime
    seconds_left: float = Field(description="Negative where it is missed")
    is_missed: bool


class MayWrite(BaseModel):
    allowed: bool
    reason: str
    until: datetime | None
    sentence: str


class DecisionDocument(BaseModel):
    sentence: str
    evidence: dict[str, Any]


class ConversationSummary(BaseModel):
    id: UUID
    brand_id: UUID
    inbox_id: UUID
    customer_id: UUID
    customer_name: str
    channel: str
    state: str
    language: str | None
    agent_id: UUID | None
    agent_name: str | None
    subject: str
    due_at: datetime | None
    unanswered_since: datetime | None
    version: int


class ConversationDocument(ConversationSummary):
    language_by: str
    thread: str | None
    matter: str | None
    messages: list[MessageDocument]
    clock: ClockDocument | None
    may_write: MayWrite
    decision: DecisionDocument | None
    timeline: list[TimelineMessage] = Field(description="The customer's newest 50 messages over all inboxes")


class ConversationPage(BaseModel):
    items: list[ConversationSummary]
    next: str | None


class TimelinePage(BaseModel):
    items: list[TimelineMessage]
    next: str | None


class Address(BaseModel):
    kind: str
    value: str
    name: str
    verified_by: str | None


class CustomerDocument(BaseModel):
    id: UUID
    brand_id: UUID
    name: str
    country: str | None
    languages: dict[str, int]
    addresses: list[Address]


class HistoryEntry(BaseModel):
    n: int
    at: datetime
    kind: str
    actor: str
    data: dict[str, Any]


class HistoryDocument(BaseModel):
    items: list[HistoryEntry]


class QueueDocument(BaseModel):
    pool_id: UUID
    name: str
    language: str | None
    waiting: int
    oldest_at: datetime | None
    first_due_at: datetime | None


class QueuesDocument(BaseModel):
    items: list[QueueDocument]


class Changed(BaseModel):
    """What a change led to."""

    conversation_id: UUID
    state: str
    version: int
    agent_id: UUID | None = None
    message_id: UUID | None = None


class DeadSummary(BaseModel):
    id: UUID
    brand_id: UUID | None
    topic: str
    key: str
    code: str
    error: str
    count: int
    size: int
    first_at: datetime
    last_at: datetime
    replayed_at: datetime | None


class DeadPage(BaseModel):
    items: list[DeadSummary]
    next: str | None


class DeadDocument(BaseModel):
    id: UUID
    topic: str
    key: str
    code: str
    error: str
    headers: dict[str, str]
    value_base64: str = Field(description="The item as it came; it may hold what a customer wrote")


class Replayed(BaseModel):
    id: UUID
    replayed: bool
