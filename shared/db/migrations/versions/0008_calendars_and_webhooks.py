"""Calendars, policies of two families, what clocks go by, and webhooks"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

INSTANT = postgresql.TIMESTAMP(timezone=True)
GRANTS = """
GRANT SELECT ON config.calendar, config.webhook TO dragoman_ingest, dragoman_api, dragoman_responder;
GRANT SELECT, INSERT, UPDATE, DELETE ON config.calendar, config.webhook, router.webhook_delivery TO dragoman_router;
"""


def upgrade() -> None:
    op.create_table(
        "calendar",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("week", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("dates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendar")),
        sa.UniqueConstraint("handle", name=op.f("uq_calendar_handle")),
        schema="config",
    )
    op.add_column("policy", sa.Column("next_response", sa.Integer(), nullable=True), schema="config")
    op.add_column("policy", sa.Column("family", sa.Text(), nullable=False, server_default="contract"), schema="config")
    op.add_column("policy", sa.Column("calendar_id", sa.UUID(), nullable=True), schema="config")
    op.create_foreign_key(
        op.f("fk_policy_calendar_id"), "policy", "calendar", ["calendar_id"], ["id"], source_schema="config",
        referent_schema="config", deferrable=True, initially="DEFERRED",
    )  # fmt: skip
    op.create_table(
        "webhook",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("events", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("brands", sa.ARRAY(sa.UUID()), nullable=False),
        sa.Column("sealed", sa.ARRAY(sa.LargeBinary()), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failing_since", INSTANT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")),
        sa.UniqueConstraint("handle", name=op.f("uq_webhook_handle")),
        schema="config",
    )
    op.create_table(
        "webhook_delivery",
        sa.Column("webhook_id", sa.UUID(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("claims", sa.Integer(), nullable=False),
        sa.Column("next_at", INSTANT, nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("settled_at", INSTANT, nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["config.webhook.id"], name=op.f("fk_webhook_delivery_webhook_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("webhook_id", "event_id", name=op.f("pk_webhook_delivery")),
        schema="router",
    )
    op.create_index(
        "ix_webhook_delivery_due", "webhook_delivery", ["webhook_id", "next_at"], schema="router",
        postgresql_where=sa.text("state = 'waiting'"),
    )  # fmt: skip
    op.create_index(
        op.f("ix_webhook_delivery_webhook_id_at_event_id"), "webhook_delivery", ["webhook_id", "at", "event_id"],
        schema="router",
    )  # fmt: skip
    for name, kind in (("family", sa.Text()), ("policy", sa.Text()), ("hours", sa.Text()), ("zone", sa.Text())):
        default = "contract" if name == "family" else ""
        op.add_column("clock", sa.Column(name, kind, nullable=False, server_default=default), schema="router")
    op.add_column("clock", sa.Column("allowed", sa.Integer(), nullable=False, server_default="0"), schema="router")
    op.add_column("clock", sa.Column("calendar_id", sa.UUID(), nullable=True), schema="router")
    op.create_index(op.f("ix_clock_conversation_id"), "clock", ["conversation_id"], schema="router")
    for statement in GRANTS.strip().split(";\n"):
        op.execute(statement.rstrip(";"))


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
