"""The place of a routing event in the live stream"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("seq", sa.BigInteger(), nullable=True), schema="bus")
    op.create_index(
        "ix_outbox_unnumbered", "outbox", ["id"], schema="bus",
        postgresql_where=sa.text("topic = 'routing' AND seq IS NULL"),
    )  # fmt: skip
    op.create_index("ix_outbox_seq", "outbox", ["seq"], schema="bus", postgresql_where=sa.text("seq IS NOT NULL"))
    op.execute("CREATE SEQUENCE bus.change_seq")
    op.execute("GRANT SELECT, UPDATE ON SEQUENCE bus.change_seq TO dragoman_router")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
