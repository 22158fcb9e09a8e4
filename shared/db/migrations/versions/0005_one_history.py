"""Customers who are one: survivors within a brand, claimed addresses apart, what is asked for by name and matter"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_index(
        "ix_customer_survivor", "customer", ["survivor_id"], schema="router",
        postgresql_where=sa.text("survivor_id IS NOT NULL"),
    )  # fmt: skip
    op.create_index("ix_customer_name", "customer", ["brand_id", sa.text("lower(name)")], schema="router")
    op.create_foreign_key(
        op.f("fk_customer_brand_id_survivor_id"), "customer", "customer",
        ["brand_id", "survivor_id"], ["brand_id", "id"], source_schema="router", referent_schema="router",
    )  # fmt: skip
    op.create_check_constraint("ck_customer_survivor", "customer", "survivor_id <> id", schema="router")
    op.add_column("identity", sa.Column("scope", sa.Text(), nullable=False, server_default=""), schema="router")
    # Nobody knows any more which inbox they came by; the next message from there is somebody new, and suggested.
    op.execute("UPDATE router.identity SET scope = 'before' WHERE verified_by IS NULL")
    op.create_check_constraint(
        "ck_identity_scope", "identity", "(verified_by IS NULL) = (scope <> '')", schema="router"
    )
    op.create_unique_constraint(
        op.f("uq_identity_brand_id_kind_value_scope"), "identity", ["brand_id", "kind", "value", "scope"],
        schema="router",
    )  # fmt: skip
    op.drop_constraint(op.f("uq_identity_brand_id_kind_value"), "identity", schema="router")
    op.create_index(
        "ix_conversation_matter", "conversation", ["brand_id", "matter"], schema="router",
        postgresql_where=sa.text("matter IS NOT NULL"),
    )  # fmt: skip
    op.add_column(
        "opt_out", sa.Column("opted_out", sa.Boolean(), nullable=False, server_default=sa.true()), schema="router"
    )
    op.add_column(
        "opt_out", sa.Column("marketing_only", sa.Boolean(), nullable=False, server_default=sa.false()), schema="router"
    )
    op.drop_constraint(op.f("pk_opt_out"), "opt_out", schema="router")
    op.create_primary_key(
        op.f("pk_opt_out"), "opt_out", ["inbox_id", "kind", "value", "marketing_only"], schema="router"
    )
    op.create_index(
        "ix_audit_customers", "audit", [sa.text("(data -> 'customers')")], schema="router", postgresql_using="gin",
        postgresql_where=sa.text("data ? 'customers'"),
    )  # fmt: skip


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
