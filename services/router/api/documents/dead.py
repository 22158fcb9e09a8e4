"""What could not be read or handled."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import AT, ID, NEXT, shown

DEAD: dict[str, Any] = {
    "id": ID,
    "topic": "inbound",
    "key": "inbox:lane",
    "code": "unknown_inbox",
    "error": "the inbox is not configured",
}


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
    model_config = shown(
        items=[{**DEAD, "brand_id": ID, "count": 1, "size": 512, "first_at": AT, "last_at": AT, "replayed_at": AT}],
        next=NEXT,
    )

    items: list[DeadSummary]
    next: str | None


class DeadDocument(BaseModel):
    model_config = shown(**DEAD, headers={"ce_type": "dragoman.message.received.v1"}, value_base64="e30=")

    id: UUID
    topic: str
    key: str
    code: str
    error: str
    headers: dict[str, str]
    value_base64: str = Field(description="The item as it came; it may hold what a customer wrote")


class Replayed(BaseModel):
    model_config = shown(id=ID, replayed=True)

    id: UUID
    replayed: bool
