"""Who somebody is, how they sign in, and who else is there."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, Field

from services.router.api.documents.examples import ANNA, DUE, ID, shown


class Me(BaseModel):
    model_config = shown(actor="anna", name="Anna", role="agent", agent_id=ANNA, brands=[ID], is_development=False)

    actor: str
    name: str = Field(description="For people: the agent's name, else the actor")
    role: str
    agent_id: UUID | None
    brands: list[UUID]
    is_development: bool = Field(description="A development token of the embedded default; never on a real cell")


class OpenIdDocument(BaseModel):
    """What a public client needs beside the issuer's own discovery document."""

    issuer: str
    client_id: str | None
    scopes: str = Field(description="To ask for, by blanks")


class SignInDocument(BaseModel):
    """The ways to come by a token here."""

    model_config = shown(
        development_tokens=False,
        openid={"issuer": "https://id.example.com", "client_id": "dragoman-console", "scopes": "openid"},
    )

    development_tokens: bool = Field(description="Whether `dev-` and a handle is a token: never on a real cell")
    openid: OpenIdDocument | None


class PresenceDocument(BaseModel):
    model_config = shown(status="available", until=DUE)

    status: str
    until: datetime | None = Field(description="The lease ends then unless it is renewed")


class Colleague(BaseModel):
    agent_id: UUID
    name: str
    languages: list[str] = Field(description="Of the pools that they stand in")
    status: str = Field(description="available or away")
    load: int = Field(description="Units that they hold or that are held out to them")
    capacity: int


class Colleagues(BaseModel):
    model_config = shown(
        items=[{"agent_id": ANNA, "name": "Anna", "languages": ["de"], "status": "available", "load": 2, "capacity": 4}]
    )

    items: list[Colleague]
