"""The tables of the spine"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None

ROLES = ("dragoman_ingest", "dragoman_router", "dragoman_api", "dragoman_responder")
# What each role may do; the writer of a schema stands first in its table of design.
GRANTS = """
GRANT USAGE ON SCHEMA config, bus TO {all};
GRANT SELECT ON ALL TABLES IN SCHEMA config TO {all};
REVOKE SELECT ON config.secret FROM dragoman_api;
REVOKE SELECT ON config.api_key FROM dragoman_ingest, dragoman_responder;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA bus
  TO dragoman_ingest, dragoman_router, dragoman_responder;
GRANT INSERT, SELECT ON bus.outbox TO dragoman_api;
GRANT USAGE ON SCHEMA ingest TO dragoman_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ingest TO dragoman_ingest;
GRANT USAGE ON SCHEMA router TO dragoman_router, dragoman_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA config, router TO dragoman_router;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA router TO dragoman_api;
GRANT USAGE ON SCHEMA responder TO dragoman_responder;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA responder TO dragoman_responder;
"""
WALLED = "assignment audit clock conversation customer dead decision history identity message queue seen".split()  # noqa: SIM905


def permit() -> None:
    """Roles, grants, and row-level security for the API's role: an unscoped query returns nothing."""
    for role in ROLES:
        op.execute(
            f"DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') "
            f"THEN CREATE ROLE {role} NOLOGIN; END IF; END $$"
        )
        op.execute(f"GRANT {role} TO CURRENT_USER")
    for statement in GRANTS.format(all=", ".join(ROLES)).strip().split(";\n"):
        op.execute(statement.rstrip(";"))
    for table in WALLED:
        op.execute(f"ALTER TABLE router.{table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY service ON router.{table} TO dragoman_router USING (true) WITH CHECK (true)")
        # A setting that was local to an ended transaction reads as empty, one never set as NULL: both show nothing.
        op.execute(
            f"CREATE POLICY brands ON router.{table} TO dragoman_api USING (brand_id = ANY ("
            "(SELECT NULLIF(current_setting('dragoman.brands', true), '')::uuid[])::uuid[]))"
        )
    op.execute("INSERT INTO config.revision (id, n) VALUES (1, 1)")


def tune() -> None:
    """Tables whose rows come and go are vacuumed early and leave room for updates in place."""
    for table in ("router.queue", "responder.part", "bus.outbox", "bus.lease", "router.presence"):
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01)")


def upgrade() -> None:
    op.create_table(
        "consumer_offset",
        sa.Column("group_id", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("owner_epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("group_id", "topic", "partition", name=op.f("pk_consumer_offset")),
        schema="bus",
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        schema="bus",
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("shard", sa.SmallInteger(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        schema="bus",
    )
    op.create_index(
        "ix_outbox_published",
        "outbox",
        ["published_at"],
        unique=False,
        schema="bus",
        postgresql_where=sa.text("published_at IS NOT NULL"),
    )
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["source", "shard", "id"],
        unique=False,
        schema="bus",
        postgresql_where=sa.text("published_at IS NULL"),
    )
    op.create_table(
        "account",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account")),
        sa.UniqueConstraint("handle", name=op.f("uq_account_handle")),
        schema="config",
    )
    op.create_table(
        "agent",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False),
        sa.Column("brands", sa.ARRAY(sa.UUID()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_agent")),
        sa.UniqueConstraint("handle", name=op.f("uq_agent_handle")),
        schema="config",
    )
    op.create_table(
        "api_key",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("agent_id", sa.UUID(), nullable=True),
        sa.Column("brands", sa.ARRAY(sa.UUID()), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_key")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_key_digest")),
        schema="config",
    )
    op.create_table(
        "client",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_client")),
        sa.UniqueConstraint("handle", name=op.f("uq_client_handle")),
        schema="config",
    )
    op.create_table(
        "plan",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("steps", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plan")),
        sa.UniqueConstraint("handle", name=op.f("uq_plan_handle")),
        schema="config",
    )
    op.create_table(
        "policy",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("first_response", sa.Integer(), nullable=False),
        sa.Column("warn_before", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policy")),
        sa.UniqueConstraint("handle", name=op.f("uq_policy_handle")),
        schema="config",
    )
    op.create_table(
        "pool",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("brands", sa.ARRAY(sa.UUID()), nullable=False),
        sa.Column("channels", sa.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pool")),
        sa.UniqueConstraint("handle", name=op.f("uq_pool_handle")),
        schema="config",
    )
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revision")),
        schema="config",
    )
    op.create_table(
        "poll_cursor",
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("cursor", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("polled_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_poll_cursor")),
        schema="ingest",
    )
    op.create_table(
        "delivery",
        sa.Column("reply_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("command", sa.LargeBinary(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("told", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("reply_id", name=op.f("pk_delivery")),
        sa.UniqueConstraint("brand_id", "reply_id", name=op.f("uq_delivery_brand_id_reply_id")),
        schema="responder",
    )
    op.create_index(
        op.f("ix_delivery_conversation_id_number"),
        "delivery",
        ["conversation_id", "number"],
        unique=False,
        schema="responder",
    )
    op.create_table(
        "receipt",
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("peer", sa.Text(), nullable=True),
        sa.Column("watermark", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("part_id", sa.UUID(), nullable=True),
        sa.Column("held_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("inbox_id", "key", name=op.f("pk_receipt")),
        schema="responder",
    )
    op.create_index(
        "ix_receipt_held",
        "receipt",
        ["held_until"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("held_until IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_receipt_inbox_id_external_id"),
        "receipt",
        ["inbox_id", "external_id"],
        unique=False,
        schema="responder",
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
        schema="router",
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False, schema="router")
    op.create_table(
        "dead",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=True),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("first_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("last_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("replayed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead")),
        schema="router",
    )
    op.create_index(op.f("ix_dead_last_at"), "dead", ["last_at"], unique=False, schema="router")
    op.create_table(
        "idempotency",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency")),
        schema="router",
    )
    op.create_index(op.f("ix_idempotency_at"), "idempotency", ["at"], unique=False, schema="router")
    op.create_table(
        "seen",
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("message_id", sa.UUID(), nullable=True),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", "kind", "key", name=op.f("pk_seen")),
        schema="router",
    )
    op.create_index(op.f("ix_seen_at"), "seen", ["at"], unique=False, schema="router")
    op.create_table(
        "brand",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("client_id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["config.client.id"], name=op.f("fk_brand_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_brand")),
        sa.UniqueConstraint("handle", name=op.f("uq_brand_handle")),
        schema="config",
    )
    op.create_table(
        "pool_member",
        sa.Column("pool_id", sa.UUID(), nullable=False),
        sa.Column("agent_id", sa.UUID(), nullable=False),
        sa.Column("level", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["config.agent.id"], name=op.f("fk_pool_member_agent_id")),
        sa.ForeignKeyConstraint(["pool_id"], ["config.pool.id"], name=op.f("fk_pool_member_pool_id")),
        sa.PrimaryKeyConstraint("pool_id", "agent_id", name=op.f("pk_pool_member")),
        schema="config",
    )
    op.create_table(
        "secret",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["config.account.id"], name=op.f("fk_secret_account_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secret")),
        schema="config",
    )
    op.create_index(op.f("ix_secret_account_id_name"), "secret", ["account_id", "name"], unique=False, schema="config")
    op.create_table(
        "part",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("reply_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("payload", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("next_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("accepted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("receipt_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "reply_id"],
            ["responder.delivery.brand_id", "responder.delivery.reply_id"],
            name=op.f("fk_part_brand_id_reply_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_part")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_part_brand_id_id")),
        sa.UniqueConstraint("reply_id", "position", name=op.f("uq_part_reply_id_position")),
        schema="responder",
    )
    op.create_index(
        "ix_part_external",
        "part",
        ["inbox_id", "external_id"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
    op.create_index(
        "ix_part_one_in_flight",
        "part",
        ["conversation_id"],
        unique=True,
        schema="responder",
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index("ix_part_peer", "part", ["inbox_id", "peer", "started_at"], unique=False, schema="responder")
    op.create_index(
        "ix_part_sending",
        "part",
        ["lease_until"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("state = 'sending'"),
    )
    op.create_index(
        "ix_part_unfinished",
        "part",
        ["conversation_id", "number", "position"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("state IN ('waiting', 'sending', 'unknown')"),
    )
    op.create_index(
        "ix_part_unknown",
        "part",
        ["next_at"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("state = 'unknown' AND next_at IS NOT NULL"),
    )
    op.create_index(
        "ix_part_waiting",
        "part",
        ["account_id", "next_at"],
        unique=False,
        schema="responder",
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "presence",
        sa.Column("agent_id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("until", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("idle_since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("lapses", sa.SmallInteger(), nullable=False),
        sa.ForeignKeyConstraint(["agent_id"], ["config.agent.id"], name=op.f("fk_presence_agent_id")),
        sa.PrimaryKeyConstraint("agent_id", name=op.f("pk_presence")),
        schema="router",
    )
    op.create_table(
        "inbox",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("account_id", sa.UUID(), nullable=False),
        sa.Column("handle", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("settings", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["config.account.id"], name=op.f("fk_inbox_account_id")),
        sa.ForeignKeyConstraint(["brand_id"], ["config.brand.id"], name=op.f("fk_inbox_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_inbox")),
        sa.UniqueConstraint("account_id", "address", name=op.f("uq_inbox_account_id_address")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_inbox_brand_id_id")),
        sa.UniqueConstraint("handle", name=op.f("uq_inbox_handle")),
        schema="config",
    )
    op.create_table(
        "attempt",
        sa.Column("part_id", sa.UUID(), nullable=False),
        sa.Column("n", sa.SmallInteger(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "part_id"],
            ["responder.part.brand_id", "responder.part.id"],
            name=op.f("fk_attempt_brand_id_part_id"),
        ),
        sa.PrimaryKeyConstraint("part_id", "n", name=op.f("pk_attempt")),
        schema="responder",
    )
    op.create_table(
        "customer",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("languages", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("survivor_id", sa.UUID(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["brand_id"], ["config.brand.id"], name=op.f("fk_customer_brand_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_customer_brand_id_id")),
        schema="router",
    )
    op.create_index(
        op.f("ix_customer_brand_id_survivor_id"), "customer", ["brand_id", "survivor_id"], unique=False, schema="router"
    )
    op.create_table(
        "conversation",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("inbox_id", sa.UUID(), nullable=False),
        sa.Column("customer_id", sa.UUID(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("thread", sa.Text(), nullable=True),
        sa.Column("matter", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("language_by", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("weight", sa.SmallInteger(), nullable=False),
        sa.Column("live", sa.Boolean(), nullable=False),
        sa.Column("agent_id", sa.UUID(), nullable=True),
        sa.Column("last_agent_id", sa.UUID(), nullable=True),
        sa.Column("last_agent_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("declined_by", sa.ARRAY(sa.UUID()), nullable=False),
        sa.Column("plan_id", sa.UUID(), nullable=True),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("next_step_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("opened_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("queued_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("unanswered_since", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("last_inbound_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("answered_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("resolved_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reply_context", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "customer_id"],
            ["router.customer.brand_id", "router.customer.id"],
            name=op.f("fk_conversation_brand_id_customer_id"),
        ),
        sa.ForeignKeyConstraint(
            ["brand_id", "inbox_id"],
            ["config.inbox.brand_id", "config.inbox.id"],
            name=op.f("fk_conversation_brand_id_inbox_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_conversation")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_conversation_brand_id_id")),
        schema="router",
    )
    op.create_index(
        "ix_conversation_agent",
        "conversation",
        ["agent_id"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("agent_id IS NOT NULL"),
    )
    op.create_index(
        op.f("ix_conversation_brand_id_customer_id_id"),
        "conversation",
        ["brand_id", "customer_id", "id"],
        unique=False,
        schema="router",
    )
    op.create_index(
        op.f("ix_conversation_inbox_id_customer_id_id"),
        "conversation",
        ["inbox_id", "customer_id", "id"],
        unique=False,
        schema="router",
    )
    op.create_index(
        op.f("ix_conversation_inbox_id_thread_id"),
        "conversation",
        ["inbox_id", "thread", "id"],
        unique=False,
        schema="router",
    )
    op.create_index(
        "ix_conversation_step",
        "conversation",
        ["next_step_at"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("next_step_at IS NOT NULL"),
    )
    op.create_table(
        "identity",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("customer_id", sa.UUID(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "customer_id"],
            ["router.customer.brand_id", "router.customer.id"],
            name=op.f("fk_identity_brand_id_customer_id"),
            initially="DEFERRED",
            deferrable=True,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_identity")),
        sa.UniqueConstraint("brand_id", "kind", "value", name=op.f("uq_identity_brand_id_kind_value")),
        schema="router",
    )
    op.create_index(
        op.f("ix_identity_brand_id_customer_id"), "identity", ["brand_id", "customer_id"], unique=False, schema="router"
    )
    op.create_table(
        "assignment",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("agent_id", sa.UUID(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("weight", sa.SmallInteger(), nullable=False),
        sa.Column("since", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("lapses_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_assignment_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_assignment")),
        schema="router",
    )
    op.create_index(
        "ix_assignment_lapse",
        "assignment",
        ["lapses_at"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("state = 'offered'"),
    )
    op.create_index(
        "ix_assignment_load",
        "assignment",
        ["agent_id"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_index(
        "ix_assignment_open",
        "assignment",
        ["conversation_id"],
        unique=True,
        schema="router",
        postgresql_where=sa.text("state <> 'ended'"),
    )
    op.create_table(
        "clock",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("warn_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("due_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("ended_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("near_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("missed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_clock_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clock")),
        schema="router",
    )
    op.create_index(
        "ix_clock_due",
        "clock",
        ["due_at"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("state = 'running' AND missed_at IS NULL"),
    )
    op.create_index(
        "ix_clock_warn",
        "clock",
        ["warn_at"],
        unique=False,
        schema="router",
        postgresql_where=sa.text("state = 'running' AND near_at IS NULL"),
    )
    op.create_table(
        "decision",
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_decision_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("conversation_id", "n", "kind", name=op.f("pk_decision")),
        schema="router",
    )
    op.create_table(
        "history",
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("data", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_history_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("conversation_id", "n", name=op.f("pk_history")),
        schema="router",
    )
    op.create_table(
        "message",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", sa.UUID(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("attachments", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("occurred_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("received_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("state", sa.Text(), nullable=True),
        sa.Column("state_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_message_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_message")),
        sa.UniqueConstraint("brand_id", "id", name=op.f("uq_message_brand_id_id")),
        schema="router",
    )
    op.create_index(
        op.f("ix_message_conversation_id_occurred_at_received_at_id"),
        "message",
        ["conversation_id", "occurred_at", "received_at", "id"],
        unique=False,
        schema="router",
    )
    op.create_table(
        "queue",
        sa.Column("pool_id", sa.UUID(), nullable=False),
        sa.Column("conversation_id", sa.UUID(), nullable=False),
        sa.Column("brand_id", sa.UUID(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("sort_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("queued_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["brand_id", "conversation_id"],
            ["router.conversation.brand_id", "router.conversation.id"],
            name=op.f("fk_queue_brand_id_conversation_id"),
        ),
        sa.PrimaryKeyConstraint("pool_id", "conversation_id", name=op.f("pk_queue")),
        schema="router",
    )
    op.create_index("ix_queue_conversation", "queue", ["conversation_id"], unique=False, schema="router")
    op.create_index(
        "ix_queue_order", "queue", ["pool_id", "sort_at", "queued_at", "conversation_id"], unique=False, schema="router"
    )
    permit()
    tune()


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
