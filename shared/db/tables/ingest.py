"""Schema `ingest`, written by ingest."""

from datetime import datetime
from uuid import UUID

from sqlmodel import SQLModel

from shared.db.tables.columns import big, instant, text, uuid

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
