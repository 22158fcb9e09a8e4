"""Alembic's migrations: they expand first and contract one release later."""
