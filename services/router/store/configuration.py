"""The router's configuration in memory, read again when its revision grows."""

from datetime import timedelta
from uuid import UUID

from services.router.domain.plan import Agent, Configuration, Level, Plan, Policy, Pool, Step
from shared.accounts import Inbox
from shared.db.transaction import Transaction


class ConfigurationCache:
    """One look at the revision per transaction, so that all of it decides by the same configuration."""

    def __init__(self) -> None:
        self._current = Configuration()

    async def current(self, tx: Transaction) -> Configuration:
        revision = await tx.fetchval("SELECT n FROM config.revision WHERE id = 1")
        if revision != self._current.revision:
            self._current = await _load(tx, revision)
        return self._current


async def _load(tx: Transaction, revision: int) -> Configuration:
    members: dict[UUID, dict[UUID, Level]] = {}
    for row in await tx.fetch(
        "SELECT m.pool_id, m.agent_id, m.level FROM config.pool_member AS m "
        "JOIN config.agent AS a ON a.id = m.agent_id WHERE a.is_active"
    ):
        members.setdefault(row["pool_id"], {})[row["agent_id"]] = row["level"]
    inboxes = await tx.fetch(
        "SELECT id, brand_id, account_id, channel, address, name, locale, country, settings FROM config.inbox"
    )
    pools = await tx.fetch("SELECT id, handle, name, language, brands, channels FROM config.pool")
    agents = await tx.fetch(
        "SELECT id, handle, name, role, capacity, brands, subject, is_active, phone, language FROM config.agent"
    )
    plans = await tx.fetch("SELECT id, handle, brand_id, language, channel, steps FROM config.plan ORDER BY handle")
    policies = await tx.fetch("SELECT * FROM config.policy ORDER BY handle")
    brands = await tx.fetch("SELECT id, name FROM config.brand")
    return Configuration(
        revision=revision,
        inboxes={row["id"]: Inbox(**row) for row in inboxes},
        brand_names={row["id"]: row["name"] for row in brands},
        agents={row["id"]: Agent(**{**row, "brands": frozenset(row["brands"])}) for row in agents},
        pools={
            row["id"]: Pool(
                **{**row, "brands": frozenset(row["brands"]), "channels": frozenset(row["channels"])},
                members=members.get(row["id"], {}),
            )
            for row in pools
        },
        plans=[
            Plan(**{**row, "steps": [Step(UUID(step["pool"]), step["after"]) for step in row["steps"]]})
            for row in plans
        ],
        policies=[
            Policy(
                **{
                    **row,
                    "first_response": timedelta(seconds=row["first_response"]),
                    "warn_before": timedelta(seconds=row["warn_before"]),
                }
            )
            for row in policies
        ],
    )
