"""Operators' webhooks and what became of each alert."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import AT, ID, NEXT, shown

WEBHOOK: dict[str, Any] = {
    "id": ID,
    "handle": "operations",
    "url": "https://alerts.example/hook",
    "events": ["deadline.missed"],
    "brands": [],
    "enabled": True,
    "reason": "",
    "waiting": 0,
    "failed": 0,
}

DELIVERY: dict[str, Any] = {
    "event_id": ID,
    "event": "deadline.missed",
    "brand_id": ID,
    "at": AT,
    "state": "delivered",
    "attempts": 1,
    "next_at": AT,
    "status": 204,
    "reason": "",
    "settled_at": AT,
}


class WebhookDocument(BaseModel):
    model_config = shown(**WEBHOOK)

    id: UUID
    handle: str
    url: str
    events: list[str] = Field(description="Empty: all")
    brands: list[UUID] = Field(description="Empty: all")
    enabled: bool
    reason: str = Field(description="Why it is disabled")
    failing_since: datetime | None = Field(None, description="Since when nothing gets through")
    waiting: int
    failed: int


class WebhooksDocument(BaseModel):
    model_config = shown(items=[WEBHOOK])

    items: list[WebhookDocument]


class WebhookDeleted(BaseModel):
    model_config = shown(id=ID)

    id: UUID


class WebhookSecrets(BaseModel):
    """Two while one is being rotated: each call is signed by both."""

    model_config = shown(secrets=["whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="])

    secrets: list[str]


class WebhookTest(BaseModel):
    model_config = shown(event_id=ID)

    event_id: UUID = Field(description="Its `webhook-id`")


class DeliveryDocument(BaseModel):
    event_id: UUID = Field(description="The `webhook-id` of all its attempts")
    event: str
    brand_id: UUID | None
    at: datetime
    state: str = Field(description="waiting, delivered or failed")
    attempts: int
    next_at: datetime = Field(description="Of one that waits")
    status: int | None = Field(description="What the receiver answered last")
    reason: str
    settled_at: datetime | None


class DeliveryPage(BaseModel):
    model_config = shown(items=[DELIVERY], next=NEXT)

    items: list[DeliveryDocument]
    next: str | None


class ReplayedAlerts(BaseModel):
    model_config = shown(alerts=3)

    alerts: int = Field(description="How many are sent again")
