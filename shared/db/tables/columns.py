"""Column types that every table shares."""

from typing import Any

from sqlalchemy import ARRAY, BigInteger, Boolean, ForeignKeyConstraint, Integer, LargeBinary, SmallInteger, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Instant = TIMESTAMP(timezone=True)


def uuid(**options: Any) -> Any:
    return Field(sa_type=PGUUID(as_uuid=True), **options)


def uuids(**options: Any) -> Any:
    return Field(sa_type=ARRAY(PGUUID(as_uuid=True)), **options)


def text(**options: Any) -> Any:
    return Field(sa_type=Text, **options)


def texts(**options: Any) -> Any:
    return Field(sa_type=ARRAY(Text), **options)


def instant(**options: Any) -> Any:
    return Field(sa_type=Instant, **options)


def document(**options: Any) -> Any:
    return Field(sa_type=JSONB, **options)


def binary(**options: Any) -> Any:
    return Field(sa_type=LargeBinary, **options)


def binaries(**options: Any) -> Any:
    return Field(sa_type=ARRAY(LargeBinary), **options)


def flag(**options: Any) -> Any:
    return Field(sa_type=Boolean, **options)


def number(**options: Any) -> Any:
    return Field(sa_type=Integer, **options)


def small(**options: Any) -> Any:
    return Field(sa_type=SmallInteger, **options)


def big(**options: Any) -> Any:
    return Field(sa_type=BigInteger, **options)


def reference(columns: list[str], target: str, targets: list[str], **options: Any) -> ForeignKeyConstraint:
    """A composite reference: `reference(["brand_id", "customer_id"], "router.customer", ["brand_id", "id"])`."""
    return ForeignKeyConstraint(columns, [f"{target}.{column}" for column in targets], **options)
