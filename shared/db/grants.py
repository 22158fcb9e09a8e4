"""Who may do what in the database, as the migrations grant it: a schema has one writer, and some tables few readers."""

READ = frozenset({"SELECT"})
WRITE = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"})
NOTHING = frozenset[str]()

INGEST, ROUTER, API, RESPONDER = ROLES = ("dragoman_ingest", "dragoman_router", "dragoman_api", "dragoman_responder")
# What a role may do to every table of a schema.
SCHEMAS: dict[tuple[str, str], frozenset[str]] = {
    (INGEST, "config"): READ,
    (ROUTER, "config"): WRITE,
    (API, "config"): READ,
    (RESPONDER, "config"): READ,
    (INGEST, "bus"): WRITE,
    (ROUTER, "bus"): WRITE,
    (RESPONDER, "bus"): WRITE,
    (INGEST, "ingest"): WRITE,
    (ROUTER, "router"): WRITE,
    (API, "router"): WRITE,
    (RESPONDER, "responder"): WRITE,
}
# And to these instead.
TABLES: dict[tuple[str, str], frozenset[str]] = {
    (API, "config.secret"): NOTHING,
    (INGEST, "config.api_key"): NOTHING,
    (RESPONDER, "config.api_key"): NOTHING,
    (API, "bus.outbox"): frozenset({"SELECT", "INSERT"}),
    (API, "router.webhook_delivery"): NOTHING,
}


def granted(role: str, table: str) -> frozenset[str]:
    """What the role may do to a table, which is named with its schema."""
    found = TABLES.get((role, table))
    return SCHEMAS.get((role, table.partition(".")[0]), NOTHING) if found is None else found
