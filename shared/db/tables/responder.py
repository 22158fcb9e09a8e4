"""Schema `responder`, written by the responder."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from shared.db.tables.columns import binary, document, instant, number, reference, small, text, uuid

SCHEMA = {"schema": "responder"}


class Delivery(SQLModel, table=True):
    """A reply on its way; its state is that of its worst part."""

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("brand_id", "reply_id"),
        Index(None, "conversation_id", "number"),
        SCHEMA,
    )
    reply_id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    inbox_id: UUID = uuid(nullable=False)
    account_id: UUID = uuid(nullable=False)
    channel: str = text()
    number: int = number()
    # The command as it came (JSON of SendReply).
    command: bytes = binary(nullable=False)
    state: str = text()
    reason: str = text()
    expires_at: datetime = instant(nullable=False)
    created_at: datetime = instant(nullable=False)
    # The last state that the router was told.
    told: str = text()
    # The trace that its vendor's calls belong to.
    traceparent: str = text()


class Part(SQLModel, table=True):
    """One vendor call of a reply."""

    __tablename__ = "part"
    __table_args__ = (
        UniqueConstraint("brand_id", "id"),
        UniqueConstraint("reply_id", "position"),
        reference(["brand_id", "reply_id"], "responder.delivery", ["brand_id", "reply_id"]),
        Index("ix_part_waiting", "account_id", "next_at", postgresql_where=sql("state = 'waiting'")),
        Index("ix_part_sending", "lease_until", postgresql_where=sql("state = 'sending'")),
        Index("ix_part_unknown", "next_at", postgresql_where=sql("state = 'unknown' AND next_at IS NOT NULL")),
        # Nothing of a conversation may overtake an unfinished part of it.
        Index(
            "ix_part_unfinished",
            "conversation_id",
            "number",
            "position",
            postgresql_where=sql("state IN ('waiting', 'sending', 'unknown')"),
        ),
        Index("ix_part_one_in_flight", "conversation_id", unique=True, postgresql_where=sql("state = 'sending'")),
        Index("ix_part_external", "inbox_id", "external_id", postgresql_where=sql("external_id IS NOT NULL")),
        Index("ix_part_peer", "inbox_id", "peer", "started_at"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    reply_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    inbox_id: UUID = uuid(nullable=False)
    account_id: UUID = uuid(nullable=False)
    number: int = number()
    position: int = small()
    kind: str = text()
    payload: dict[str, Any] = document(nullable=False)
    peer: str = text()
    text_hash: str = text()
    state: str = text()
    attempts: int = small()
    next_at: datetime | None = instant(nullable=True)
    lease_until: datetime | None = instant(nullable=True)
    holder: str = text()
    # When the first attempt began: what came before it cannot prove it.
    started_at: datetime | None = instant(nullable=True)
    accepted_at: datetime | None = instant(nullable=True)
    external_id: str | None = text(nullable=True)
    receipt: str = text()
    receipt_at: datetime | None = instant(nullable=True)
    reason: str = text()
    code: str = text()


class Attempt(SQLModel, table=True):
    """One try of a part."""

    __tablename__ = "attempt"
    __table_args__ = (reference(["brand_id", "part_id"], "responder.part", ["brand_id", "id"]), SCHEMA)
    part_id: UUID = uuid(primary_key=True)
    n: int = small(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    started_at: datetime = instant(nullable=False)
    ended_at: datetime | None = instant(nullable=True)
    outcome: str = text()
    code: str = text()


class Receipt(SQLModel, table=True):
    """What a vendor said, kept also where its part is not known yet: receipts and echoes (`kind`)."""

    __tablename__ = "receipt"
    __table_args__ = (
        Index(None, "inbox_id", "external_id"),
        Index("ix_receipt_held", "held_until", postgresql_where=sql("held_until IS NOT NULL")),
        SCHEMA,
    )
    inbox_id: UUID = uuid(primary_key=True)
    key: str = text(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    kind: str = text()
    state: str = text()
    at: datetime = instant(nullable=False)
    external_id: str | None = text(nullable=True)
    peer: str | None = text(nullable=True)
    watermark: datetime | None = instant(nullable=True)
    part_id: UUID | None = uuid(nullable=True)
    # Unmatched echoes wait until no attempt of their thread is open.
    held_until: datetime | None = instant(nullable=True)
    # The event's data as it came, where it is still needed.
    data: bytes | None = binary(nullable=True)


class Suppression(SQLModel, table=True):
    """An address to which an inbox must not write: it bounced for good, or its vendor says that it opted out."""

    __tablename__ = "suppression"
    __table_args__ = (SCHEMA,)
    inbox_id: UUID = uuid(primary_key=True)
    peer: str = text(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    reason: str = text()
    code: str = text()
    at: datetime = instant(nullable=False)


class Call(SQLModel, table=True):
    """A call that an agent asked for, with what the vendor said of both phones; `outcome` once it is over."""

    __tablename__ = "call"
    __table_args__ = (
        Index("ix_call_open", "account_id", "next_at", postgresql_where=sql("state <> 'ended'")),
        Index(None, "inbox_id", "external_id"),
        SCHEMA,
    )
    id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    inbox_id: UUID = uuid(nullable=False)
    account_id: UUID = uuid(nullable=False)
    channel: str = text()
    # The command as it came (JSON of PlaceCall).
    command: bytes = binary(nullable=False)
    state: str = text()
    next_at: datetime | None = instant(nullable=True)
    holder: str = text()
    external_id: str | None = text(nullable=True)
    # The vendor's last word of each phone, e.g. {"agent": {"state": "in-progress", "sequence": 2}}.
    legs: dict[str, Any] = document(nullable=False)
    outcome: str = text()
    seconds: int = number()
    code: str = text()
    expires_at: datetime = instant(nullable=False)
    created_at: datetime = instant(nullable=False)
    # When placing it last began: what the vendor began before that is another call.
    started_at: datetime | None = instant(nullable=True)
    ended_at: datetime | None = instant(nullable=True)
    # The trace that the placing of it belongs to.
    traceparent: str = text()
