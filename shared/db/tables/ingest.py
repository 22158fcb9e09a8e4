"""Schema `ingest`, written by ingest."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Index
from sqlalchemy import text as sql
from sqlmodel import SQLModel

from shared.db.tables.columns import big, document, instant, small, text, uuid

SCHEMA = {"schema": "ingest"}


class PollCursor(SQLModel, table=True):
    """How far an inbox has been polled; moved only by the holder of the lease with this epoch."""

    __tablename__ = "poll_cursor"
    __table_args__ = (SCHEMA,)
    inbox_id: UUID = uuid(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    cursor: str = text()
    epoch: int = big()
    polled_at: datetime = instant(nullable=False)
    error: str = text()


class MediaJob(SQLModel, table=True):
    """An attachment to fetch from its vendor: `waiting`, `stored` or `failed`."""

    __tablename__ = "media_job"
    __table_args__ = (Index("ix_media_job_waiting", "next_at", postgresql_where=sql("state = 'waiting'")), SCHEMA)
    message_id: UUID = uuid(primary_key=True)
    position: int = small(primary_key=True)
    brand_id: UUID = uuid(nullable=False)
    inbox_id: UUID = uuid(nullable=False)
    conversation_id: UUID = uuid(nullable=False)
    attachment: dict[str, Any] = document(nullable=False)
    state: str = text()
    attempts: int = small()
    next_at: datetime = instant(nullable=False)
    reason: str = text()
    created_at: datetime = instant(nullable=False)
