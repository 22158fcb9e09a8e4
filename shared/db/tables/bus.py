"""Schema `bus`, written by whoever runs a consumer, a relay or a lease."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from shared.db.tables.columns import big, binary, document, instant, number, small, text, uuid

SCHEMA = {"schema": "bus"}


class ConsumerOffset(SQLModel, table=True):
    """The next offset of a group's partition; the truth, while the broker's committed offset is a cache."""

    __tablename__ = "consumer_offset"
    __table_args__ = (SCHEMA,)
    group_id: str = text(primary_key=True)
    topic: str = text(primary_key=True)
    partition: int = number(primary_key=True)
    next_offset: int = big()
    owner_epoch: int = big()


class Outbox(SQLModel, table=True):
    """What must be published, in the order of its shard; `source` is the service whose relay publishes it."""

    __tablename__ = "outbox"
    __table_args__ = (
        Index("ix_outbox_waiting", "source", "shard", "id", postgresql_where=sql("published_at IS NULL")),
        Index("ix_outbox_unnumbered", "id", postgresql_where=sql("topic = 'routing' AND seq IS NULL")),
        Index("ix_outbox_seq", "seq", postgresql_where=sql("seq IS NOT NULL")),
        Index("ix_outbox_published", "published_at", postgresql_where=sql("published_at IS NOT NULL")),
        SCHEMA,
    )
    id: int = Field(sa_type=BigInteger, sa_column_args=(Identity(),), primary_key=True)
    source: str = text()
    shard: int = small()
    topic: str = text()
    key: str = text()
    headers: dict[str, Any] = document(nullable=False)
    value: bytes = binary(nullable=False)
    brand_id: UUID | None = uuid(nullable=True)
    created_at: datetime = instant(nullable=False)
    published_at: datetime | None = instant(nullable=True)
    # The place of a `routing` event in the live stream: in the order of commits, unlike `id`.
    seq: int | None = big(nullable=True)


class Lease(SQLModel, table=True):
    """Who may do a thing until when; every later write of the holder is fenced by `epoch`."""

    __tablename__ = "lease"
    __table_args__ = (SCHEMA,)
    name: str = text(primary_key=True)
    holder: str = text()
    epoch: int = big()
    until: datetime = instant(nullable=False)
