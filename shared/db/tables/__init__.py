"""Every table, one module per schema; Alembic compares the database with them.

A schema has one writer. `brand_id` stands on every row but agents' and instance settings, and references are
composite, so the database itself refuses one across brands.
"""

from shared.db.tables import bus, config, ingest, responder, router
from shared.db.tables.columns import metadata

SCHEMAS = ("config", "ingest", "router", "responder", "bus")

__all__ = ["SCHEMAS", "bus", "config", "ingest", "metadata", "responder", "router"]
