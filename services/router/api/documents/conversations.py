"""Conversations, their clocks, decisions and history."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import ANNA, AT, DUE, ID, NEXT, shown
from services.router.api.documents.messages import MESSAGE, TOLD, MessageDocument, TimelineMessage

SUMMARY: dict[str, Any] = {
    "id": ID,
    "brand_id": ID,
    "brand_name": "Alpenlicht",
    "inbox_id": ID,
    "inbox_name": "Alpenlicht on Messenger",
    "customer_id": ID,
    "customer_name": "Ina Kunde",
    "channel": "messenger",
    "state": "assigned",
    "language": "de",
    "agent_id": ANNA,
    "agent_name": "Anna",
    "subject": "",
    "due_at": DUE,
    "unanswered_since": AT,
    "version": 7,
}

CLOCK: dict[str, Any] = {
    "target": "first_response",
    "started_at": AT,
    "due_at": DUE,
    "seconds_left": 3600,
    "is_missed": False,
    "warn_at": "2026-11-23T09:30:00Z",
    "state": "running",
    "family": "contract",
    "policy": "social",
    "sentence": "1 h around the clock; due Mon 10:00 UTC",
}


class ClockDocument(BaseModel):
    target: str = Field(description="first_response, or next_response once they had an answer")
    started_at: datetime
    warn_at: datetime = Field(description="From then on it is near")
    due_at: datetime
    seconds_left: float = Field(description="Negative where it is missed; of one that ended, what was left then")
    is_missed: bool
    state: str = Field(description="running, met (answered), or stopped")
    ended_at: datetime | None = None
    family: str = Field(description="Whose rule: contract, or marketplace")
    policy: str = Field(description="By which policy; empty where none held")
    sentence: str


class MayWrite(BaseModel):
    allowed: bool
    reason: str
    until: datetime | None
    sentence: str
    text_limit: int = Field(description="Characters of one message; a longer text leaves as several")


class DecisionDocument(BaseModel):
    sentence: str
    evidence: dict[str, Any]


class ConversationSummary(BaseModel):
    id: UUID
    brand_id: UUID
    brand_name: str
    inbox_id: UUID
    inbox_name: str
    customer_id: UUID
    customer_name: str
    channel: str
    state: str
    language: str | None
    agent_id: UUID | None
    agent_name: str | None
    offered_until: datetime | None = Field(None, description="While it is held out to `agent_id`: when that lapses")
    subject: str
    due_at: datetime | None
    unanswered_since: datetime | None
    version: int


class ConversationDocument(ConversationSummary):
    model_config = shown(
        **SUMMARY,
        language_by="words",
        thread="t_1001",
        matter="order 4711",
        messages=[MESSAGE],
        clock=CLOCK,
        clocks=[CLOCK],
        may_write={
            "allowed": True, "reason": "response", "until": DUE, "sentence": "Free to write for a day.",
            "text_limit": 2000,
        },
        decision={"sentence": "Anna answers in German as a native speaker and was free.", "evidence": {}},
        timeline=[TOLD],
    )  # fmt: skip

    language_by: str
    thread: str | None
    matter: str | None
    messages: list[MessageDocument]
    clock: ClockDocument | None = Field(description="Of those that run the one that is due first")
    clocks: list[ClockDocument] = Field(description="Those that run, then the newest that ended")
    may_write: MayWrite
    decision: DecisionDocument | None
    timeline: list[TimelineMessage] = Field(description="The customer's newest 50 messages over all inboxes")


class ConversationPage(BaseModel):
    model_config = shown(items=[SUMMARY], next=NEXT)

    items: list[ConversationSummary]
    next: str | None


class HistoryEntry(BaseModel):
    n: int
    at: datetime
    kind: str
    actor: str
    data: dict[str, Any]


class HistoryDocument(BaseModel):
    model_config = shown(
        items=[
            {"n": 7, "at": AT, "kind": "assigned", "actor": "anna", "data": {"agent_id": ANNA, "because": "accepted"}}
        ]
    )

    items: list[HistoryEntry]


class Changed(BaseModel):
    """What a change led to."""

    model_config = shown(conversation_id=ID, state="assigned", version=8, agent_id=ANNA, message_id=ID)

    conversation_id: UUID
    state: str
    version: int
    agent_id: UUID | None = None
    message_id: UUID | None = None
