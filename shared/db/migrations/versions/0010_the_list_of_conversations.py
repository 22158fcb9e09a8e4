"""The list of conversations, by index whatever it is filtered by"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for filters in ([], ["state"], ["language"], ["state", "language"]):
        columns = ["brand_id", *filters, "due_at", "id"]
        op.create_index(op.f(f"ix_conversation_{'_'.join(columns)}"), "conversation", columns, schema="router")
    op.create_index(
        "ix_conversation_held", "conversation", ["agent_id", "brand_id", "due_at", "id"], schema="router",
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    )  # fmt: skip
    # The one above serves whatever this one did.
    op.drop_index("ix_conversation_agent", table_name="conversation", schema="router")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
