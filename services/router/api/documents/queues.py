"""What waits in which pool."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import AT, DUE, ID, shown


class QueueDocument(BaseModel):
    pool_id: UUID
    name: str
    language: str | None
    waiting: int
    oldest_at: datetime | None
    first_due_at: datetime | None
    agents_present: int = Field(description="Members who are there now")


class QueuesDocument(BaseModel):
    model_config = shown(
        items=[
            {
                "pool_id": ID, "name": "German", "language": "de", "waiting": 2, "oldest_at": AT, "first_due_at": DUE,
                "agents_present": 2,
            }
        ]
    )  # fmt: skip

    items: list[QueueDocument]
