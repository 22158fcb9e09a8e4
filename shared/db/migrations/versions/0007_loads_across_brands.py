"""An agent's load is summed over all brands, also for who may see only some of them"""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # The owner's eyes, and nothing but sums: row-level security would hide the other brands' assignments.
    op.execute("""
        CREATE FUNCTION router.loads(agents uuid[]) RETURNS TABLE (agent_id uuid, load integer)
        LANGUAGE sql STABLE SECURITY DEFINER SET search_path = '' AS $$
            SELECT a.agent_id, sum(a.weight)::int FROM router.assignment AS a
            WHERE a.agent_id = ANY (agents) AND a.state <> 'ended' GROUP BY a.agent_id
        $$
    """)
    op.execute("REVOKE ALL ON FUNCTION router.loads FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION router.loads TO dragoman_router, dragoman_api")


def downgrade() -> None:
    raise NotImplementedError("migrations only expand; restore a backup to go back")
