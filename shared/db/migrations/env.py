"""How Alembic reaches the database: the caller hands over an open connection."""

from alembic import context
from sqlalchemy import Connection
from sqlalchemy.schema import SchemaItem

from shared.db.tables import SCHEMAS, metadata


def ours(item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: SchemaItem | None) -> bool:
    """Only our schemas count, and not Alembic's own table."""
    return not (kind == "table" and (name == "alembic_version" or getattr(item, "schema", None) not in SCHEMAS))


connection: Connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    include_schemas=True,
    include_object=ours,
    version_table_schema="bus",
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
