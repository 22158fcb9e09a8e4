"""The trace that a reply's and a call's way to the vendor belongs to"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for table in ("delivery", "call"):
        column = sa.Column("traceparent", sa.Text(), nullable=False, server_default="")
        op.add_column(table, column, schema="responder")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
