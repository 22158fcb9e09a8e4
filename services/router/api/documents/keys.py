"""Programs' keys."""

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import AT, ID, shown

KEY: dict[str, Any] = {
    "id": ID,
    "name": "shop-server",
    "role": "brand",
    "scopes": ["callbacks"],
    "brands": [ID],
    "expires_at": "2027-01-01T00:00:00Z",
    "created_at": AT,
    "created_by": "ada",
}


class ApiKeyDocument(BaseModel):
    """A program's key, without what opens anything."""

    model_config = shown(**KEY)

    id: UUID
    name: str
    role: str
    scopes: list[str] = Field(description="Empty is all that its role may")
    brands: list[UUID]
    agent_id: UUID | None = Field(None, description="As whom it acts")
    expires_at: datetime | None = None
    created_at: datetime | None = Field(None, description="None for one of the configuration file")
    created_by: str | None = None
    revoked_at: datetime | None = None


class ApiKeyCreated(ApiKeyDocument):
    """The only answer that shows the key."""

    model_config = shown(**KEY, key="dragoman_u9YlZ3Zt0uJr2m8Qm6G3Zk1T0nq0oV4yR5bX7cD8eFg")

    key: str | None = Field(description="To be kept where secrets are kept; None where this answer is a repeated one")


class ApiKeysDocument(BaseModel):
    model_config = shown(items=[KEY])

    items: list[ApiKeyDocument]
