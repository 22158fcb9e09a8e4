"""A callback that was asked for."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import DUE, ID, shown


class CallbackDocument(BaseModel):
    model_config = shown(
        id=ID, conversation_id=ID, phone="+493023125123", zone="Europe/Berlin", state="scheduled", call_at=DUE,
        attempts=0, outcome="",
    )  # fmt: skip

    id: UUID
    conversation_id: UUID
    phone: str = Field(description="E.164")
    zone: str
    state: str = Field(
        description="scheduled, queued, calling, done (talked), written (they are written to instead), unreached, "
        "failed, withdrawn"
    )
    call_at: datetime | None = Field(description="Of a scheduled one: when agents are asked to call")
    attempts: int = Field(description="Calls so far that reached nobody")
    outcome: str = Field(description="Of the last call: talked, customer_absent, busy, machine, agent_absent, failed")
