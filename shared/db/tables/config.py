"""Schema `config`, written by the router (admin API and `dragoman apply`), read by all."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import SQLModel

from shared.db.tables.columns import (
    binaries,
    binary,
    document,
    flag,
    instant,
    number,
    reference,
    text,
    texts,
    uuid,
    uuids,
)

SCHEMA = {"schema": "config"}


class Client(SQLModel, table=True):
    """The contract party; owns brands."""

    __tablename__ = "client"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    name: str = text()


class Brand(SQLModel, table=True):
    """A seller; the wall between histories."""

    __tablename__ = "brand"
    __table_args__ = (reference(["client_id"], "config.client", ["id"]), SCHEMA)
    id: UUID = uuid(primary_key=True)
    client_id: UUID = uuid(nullable=False)
    handle: str = text(unique=True)
    name: str = text()


class Account(SQLModel, table=True):
    """One set of credentials with a vendor; its inboxes may belong to several brands."""

    __tablename__ = "account"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    channel: str = text()
    name: str = text()
    settings: dict[str, Any] = document(nullable=False)


class Inbox(SQLModel, table=True):
    """An address inside an account, of one brand."""

    __tablename__ = "inbox"
    __table_args__ = (
        UniqueConstraint("brand_id", "id"),
        UniqueConstraint("account_id", "address"),
        reference(["brand_id"], "config.brand", ["id"]),
        reference(["account_id"], "config.account", ["id"]),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    account_id: UUID = uuid(nullable=False)
    handle: str = text(unique=True)
    channel: str = text()
    address: str = text()
    name: str = text()
    locale: str | None = text(nullable=True)
    country: str | None = text(nullable=True)
    settings: dict[str, Any] = document(nullable=False)


class Secret(SQLModel, table=True):
    """A sealed secret of an account; several values of a name are valid at once, newest first by id."""

    __tablename__ = "secret"
    __table_args__ = (
        Index(None, "account_id", "name"),
        reference(["account_id"], "config.account", ["id"]),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    account_id: UUID = uuid(nullable=False)
    name: str = text()
    sealed: bytes = binary(nullable=False)


class Agent(SQLModel, table=True):
    """A person who answers; `brands` are the ones that they may see."""

    __tablename__ = "agent"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    name: str = text()
    role: str = text()
    capacity: int = number()
    brands: list[UUID] = uuids(nullable=False)
    # E.164; only who has one is called.
    phone: str | None = text(nullable=True)
    # In which they are spoken to by machines.
    language: str | None = text(nullable=True)
    # What the OpenID issuer calls them; without it that is their handle.
    subject: str | None = text(nullable=True)
    # Who is not keeps their history, and neither gets in nor gets anything.
    is_active: bool = flag(nullable=False)


class Pool(SQLModel, table=True):
    """Agents who serve a language for some brands and channels; empty lists mean all."""

    __tablename__ = "pool"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    name: str = text()
    language: str | None = text(nullable=True)
    brands: list[UUID] = uuids(nullable=False)
    channels: list[str] = texts(nullable=False)


class PoolMember(SQLModel, table=True):
    """An agent in a pool, native or fluent in its language."""

    __tablename__ = "pool_member"
    __table_args__ = (
        reference(["pool_id"], "config.pool", ["id"]),
        reference(["agent_id"], "config.agent", ["id"]),
        SCHEMA,
    )
    pool_id: UUID = uuid(primary_key=True)
    agent_id: UUID = uuid(primary_key=True)
    level: str = text()


class Plan(SQLModel, table=True):
    """The ranked pools to try: `steps` is a list of {"pool": id, "after": share of the time allowed}."""

    __tablename__ = "plan"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    brand_id: UUID | None = uuid(nullable=True)
    language: str | None = text(nullable=True)
    channel: str | None = text(nullable=True)
    steps: list[dict[str, Any]] = document(nullable=False)


class Calendar(SQLModel, table=True):
    """Opening hours in a zone: `week` is seven lists of [begin, end] in minutes, Monday first; so is each of `dates`.

    `place` names the country, or a part of it, whose public holidays are closed.
    """

    __tablename__ = "calendar"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    name: str = text()
    zone: str = text()
    week: list[list[list[int]]] = document(nullable=False)
    place: str = text()
    dates: dict[str, list[list[int]]] = document(nullable=False)


class Policy(SQLModel, table=True):
    """Targets in seconds of a family's; the most specific of brand, channel and country holds in each."""

    __tablename__ = "policy"
    __table_args__ = (
        # A file that removes a calendar with its policies may do so in any order.
        reference(["calendar_id"], "config.calendar", ["id"], deferrable=True, initially="DEFERRED"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    brand_id: UUID | None = uuid(nullable=True)
    channel: str | None = text(nullable=True)
    country: str | None = text(nullable=True)
    first_response: int = number()
    warn_before: int = number()
    next_response: int | None = number(nullable=True)
    family: str = text()
    calendar_id: UUID | None = uuid(nullable=True)


class Webhook(SQLModel, table=True):
    """Where alerts are posted: those of `events` and `brands`, empty lists mean all; `sealed` secrets newest first."""

    __tablename__ = "webhook"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    handle: str = text(unique=True)
    url: str = text()
    events: list[str] = texts(nullable=False)
    brands: list[UUID] = uuids(nullable=False)
    sealed: list[bytes] = binaries(nullable=False)
    enabled: bool
    # Why it is disabled, and since when nothing gets through.
    reason: str = text()
    failing_since: datetime | None = instant(nullable=True)


class ApiKey(SQLModel, table=True):
    """A key of a program: its SHA-256, role, brands and end; one that the API made keeps who made it."""

    __tablename__ = "api_key"
    __table_args__ = (SCHEMA,)
    id: UUID = uuid(primary_key=True)
    name: str = text()
    digest: bytes = binary(unique=True)
    role: str = text()
    agent_id: UUID | None = uuid(nullable=True)
    brands: list[UUID] = uuids(nullable=False)
    expires_at: datetime | None = instant(nullable=True)
    # What of its role it may do; empty is all of it.
    scopes: list[str] = texts(nullable=False)
    # Of keys that the API made; those of the file have none.
    created_at: datetime | None = instant(nullable=True)
    created_by: str | None = text(nullable=True)
    revoked_at: datetime | None = instant(nullable=True)


class Revision(SQLModel, table=True):
    """One row whose number grows with every change of the configuration; caches compare it."""

    __tablename__ = "revision"
    __table_args__ = (SCHEMA,)
    id: int = number(primary_key=True)
    n: int = number()
