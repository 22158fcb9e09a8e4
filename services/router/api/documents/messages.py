"""Messages and their files."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import ANNA, AT, ID, shown

MESSAGE: dict[str, Any] = {
    "id": ID,
    "conversation_id": ID,
    "kind": "reply",
    "author_kind": "agent",
    "author_id": ANNA,
    "text": "Ihr Paket ist unterwegs und kommt morgen an.",
    "language": "de",
    "attachments": [],
    "occurred_at": AT,
    "received_at": AT,
    "state": "delivered",
    "state_at": AT,
    "reason": "",
}

TOLD: dict[str, Any] = MESSAGE | {"channel": "messenger", "inbox_id": ID}


class Attachment(BaseModel):
    kind: str = Field(description="image, audio, video, file, or what the vendor calls it")
    url: str = Field("", description="At the vendor, where it may be gone")
    name: str = ""
    size: int | None = Field(None, description="Bytes")
    media_type: str = Field("", description="As the bytes say, once it is stored")
    sha256: str = ""
    state: str = Field("", description="stored, pending, failed, or elsewhere (only the vendor has it)")
    href: str | None = Field(None, description="Of a stored one: works for 15 minutes, without a token")
    error: str = Field("", description="Why it failed: too_large, private_address, gone, ...")


class Uploaded(BaseModel):
    """A file that a reply may name."""

    model_config = shown(brand_id=ID, sha256="0" * 64, name="label.pdf", media_type="application/pdf", size=48213)

    brand_id: UUID
    sha256: str
    name: str
    media_type: str = Field(description="As the bytes say, whatever was declared")
    size: int


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
