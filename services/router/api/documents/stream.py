"""Changes of conversations as they happen."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import ANNA, AT, ID, shown

CHANGE: dict[str, Any] = {
    "seq": 4711,
    "kind": "assigned",
    "brand_id": ID,
    "conversation_id": ID,
    "n": 7,
    "at": AT,
    "agent_id": ANNA,
    "language": "de",
}


class ConversationChange(BaseModel):
    model_config = shown(**CHANGE)

    seq: int = Field(description="Its place in the stream")
    kind: str = Field(description="queued, offered, assigned, requeued, answered, resolved, or changed")
    brand_id: UUID
    conversation_id: UUID
    n: int = Field(description="The conversation's version after it")
    at: datetime
    agent_id: UUID | None = Field(description="Who holds it, or held it until then")
    language: str | None


class Changes(BaseModel):
    model_config = shown(items=[CHANGE], seq=4711, resync=False)

    items: list[ConversationChange]
    seq: int = Field(description="Ask with this as `since` next")
    resync: bool = Field(description="Something between is not here: look at everything again")
