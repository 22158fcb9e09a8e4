"""Customers over all their addresses."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import ANNA, AT, ID, NEXT, shown
from services.router.api.documents.messages import TOLD, TimelineMessage


class TimelinePage(BaseModel):
    model_config = shown(items=[TOLD], next=NEXT)

    items: list[TimelineMessage]
    next: str | None


class Address(BaseModel):
    kind: str
    value: str
    name: str
    verified_by: str | None = Field(description="channel, dmarc or agent; null where it is only claimed")
    customer_id: UUID = Field(description="Whom this address brought: to be split off where it is not theirs")


class SuggestionDocument(BaseModel):
    customer_id: UUID
    name: str
    reasons: list[str] = Field(description="Sentences")
    at: datetime


class CustomerDocument(BaseModel):
    """One customer over all their addresses; asked for by any of `merged`, the survivor is shown."""

    model_config = shown(
        id=ID,
        brand_id=ID,
        name="Ina Kunde",
        country="DE",
        languages={"de": 3},
        addresses=[
            {
                "kind": "phone",
                "value": "+4915112345678",
                "name": "Ina Kunde",
                "verified_by": "channel",
                "customer_id": ID,
            }
        ],
        merged=[ANNA],
        suggestions=[{"customer_id": ANNA, "name": "Ina Kunde", "reasons": ["Both have the same name."], "at": AT}],
    )

    id: UUID
    brand_id: UUID
    name: str
    country: str | None
    languages: dict[str, int]
    addresses: list[Address]
    merged: list[UUID] = Field(description="Customers who were found to be this one")
    suggestions: list[SuggestionDocument] = Field(description="Who may be the same: confirm or dismiss")


class CustomerEvent(BaseModel):
    id: UUID
    at: datetime
    actor: str
    action: str = Field(description="customer.merged, customer.split, or customer.kept_apart")
    customers: list[UUID]
    reasons: list[str] = Field(description="Sentences")


class CustomerHistory(BaseModel):
    model_config = shown(
        items=[
            {"id": ID, "at": AT, "actor": "anna", "action": "customer.merged", "customers": [ID, ANNA],
             "reasons": ["Both have the same name."]}
        ],
        next=NEXT,
    )  # fmt: skip

    items: list[CustomerEvent]
    next: str | None
