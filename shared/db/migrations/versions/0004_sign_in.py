"""Agents' subjects at an OpenID issuer, who is active, and keys that the API makes"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"

Instant = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("agent", sa.Column("subject", sa.Text(), nullable=True), schema="config")
    op.add_column(
        "agent", sa.Column("is_active", sa.Boolean(), nullable=False, server_default=sa.true()), schema="config"
    )
    op.add_column(
        "api_key", sa.Column("scopes", sa.ARRAY(sa.Text()), nullable=False, server_default="{}"), schema="config"
    )
    op.add_column("api_key", sa.Column("created_at", Instant, nullable=True), schema="config")
    op.add_column("api_key", sa.Column("created_by", sa.Text(), nullable=True), schema="config")
    op.add_column("api_key", sa.Column("revoked_at", Instant, nullable=True), schema="config")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
