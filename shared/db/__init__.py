"""PostgreSQL: connections, the one transaction, leases, table definitions and migrations."""
