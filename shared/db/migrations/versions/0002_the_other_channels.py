"""Phone callbacks, files, opt-outs and suggestions"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON ingest.media_job TO dragoman_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON router.opt_out, router.suggestion, router.callback
  TO dragoman_router, dragoman_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON responder.call, responder.suppression TO dragoman_responder;
"""
WALLED = ("opt_out", "suggestion", "callback")


def permit() -> None:
    """Grants, and row-level security for the API's role: an unscoped query returns nothing."""
    for statement in GRANTS.strip().split(";\n"):
        op.execute(statement.rstrip(";"))
    for table in WALLED:
        op.execute(f"ALTER TABLE router.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY service ON router.{table} TO dragoman_router USING (true) WITH CHECK (true)")
        op.execute(
            f"CREATE POLICY brands ON router.{table} TO dragoman_api USING (brand_id = ANY ("
            "(SELECT NULLIF(current_setting('dragoman.brands', true), '')::uuid[])::uuid[]))"
        )


def upgrade() -> None:
    op.create_table(
        "media_job",
        sa.Column("message_id", sa.UUID(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("attachment", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("message_id", "position", name=op.f("pk_media_job")),
        schema="ingest",
    )
    op.create_index(
        "ix_media_job_waiting",
        "media_job",
        ["next_at"],
        unique=False,
        schema="ingest",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "call",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("next_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("legs", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_call")),
        schema="responder",
    )
    op.create_index(
        op.f("ix_call_inbox_id_external_id"), "call", ["inbox_id", "external_id"], unique=False, schema="responder"
    )
    op.create_index(
        "ix_call_open",
        "call",
        ["account_id", "next_at"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_table(
        "suppression",
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", "peer", name=op.f("pk_suppression")),
        schema="responder",
    )
    op.create_table(
        "opt_out",
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "inbox_id"],
            ["config.inbox.brand_id", "config.inbox.id"],
            name=op.f("fk_opt_out_brand_id_inbox_id"),
        ),
        sa.PrimaryKeyConstraint("inbox_id", "kind", "value", name=op.f("pk_opt_out")),
        schema="router",
    )
    op.create_table(
        "suggestion",
        sa.Column("customer_id", sa.UUID(), nullable=False),
        sa.Column("other_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("reasons", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "customer_id"],
            ["router.customer.brand_id", "router.customer.id"],
            name=op.f("fk_suggestion_brand_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "other_id"],
            ["router.customer.brand_id", "router.customer.id"],
            name=op.f("fk_suggestion_brand_id_other_id"),
        ),
        sa.PrimaryKeyConstraint("customer_id", "other_id", name=op.f("pk_suggestion")),
        schema="router",
    )
    op.create_index(op.f("ix_suggestion_other_id"), "suggestion", ["other_id"], unique=False, schema="router")
    op.create_table(
        "callback",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("phone", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("preferred_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("call_id", sa.UUID(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_callback_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_callback")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_callback_brand_id_id")),
        schema="router",
    )
    op.create_index(
        op.f("ix_callback_brand_id_phone_created_at"),
        "callback",
        ["brand_id", "phone", "created_at"],
        unique=False,
        schema="router",
    )
    op.create_index(op.f("ix_callback_conversation_id"), "callback", ["conversation_id"], unique=False, schema="router")
    op.create_index(
        "ix_callback_due",
        "callback",
        ["next_at"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("state = 'scheduled'"),
    )
    op.add_column("agent", sa.Column("phone", sa.Text(), nullable=True), schema="config")
    op.add_column("agent", sa.Column("language", sa.Text(), nullable=True), schema="config")
    op.add_column("message", sa.Column("raw_ref", sa.Text(), nullable=False, server_default=""), schema="router")
    permit()


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
