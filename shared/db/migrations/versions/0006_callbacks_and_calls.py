"""Callbacks: the end of the customer's hours, and when a call began to be placed"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column(
        "call", sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True), schema="responder"
    )
    op.drop_index("ix_callback_due", table_name="callback", schema="router")
    op.create_index(
        "ix_callback_due", "callback", ["next_at"], schema="router",
        postgresql_where=sa.text("state IN ('scheduled', 'queued')"),
    )  # fmt: skip


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
