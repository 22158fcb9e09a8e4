"""The router's configuration in memory, read again when its revision grows."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any
from uuid import UUID

from services.router.domain.hours import Hours, is_known, learn_holidays
from services.router.domain.plan import Agent, Configuration, Level, Plan, Policy, Pool, Step
from shared.accounts import Inbox
from shared.db.transaction import Transaction

log = logging.getLogger(__name__)


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
    calendar_rows = [dict(row) for row in await tx.fetch("SELECT * FROM config.calendar")]
    calendars = await asyncio.to_thread(_calendars, calendar_rows, tx.now.year)
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
        policies=[_policy(dict(row), calendars) for row in policies],
    )


def _policy(values: dict[str, Any], calendars: Mapping[UUID, Hours]) -> Policy:
    hours = calendars.get(values.pop("calendar_id"))
    for name in ("first_response", "warn_before", "next_response"):
        values[name] = None if values[name] is None else timedelta(seconds=values[name])
    return Policy(**values, hours=hours)


def _calendars(rows: Sequence[Mapping[str, Any]], year: int) -> dict[UUID, Hours]:
    """By their ids; in a thread, for the library reads a country's rules from disk when it first hears of it."""
    calendars = {row["id"]: _hours(row) for row in rows}
    learn_holidays(calendars.values(), year)
    return calendars


def _place(row: Mapping[str, Any]) -> str:
    """A library that forgot a place must not stop the router; its absence is told, and `dragoman apply` refuses it."""
    place: str = row["place"]
    if not place or is_known(place):
        return place
    log.error("calendar %s goes without holidays: those of %s are not known any more", row["handle"], place)
    return ""


def _hours(row: Mapping[str, Any]) -> Hours:
    return Hours(
        id=row["id"],
        name=row["name"],
        zone=row["zone"],
        week=[[(begin, end) for begin, end in day] for day in row["week"]],
        place=_place(row),
        dates={date.fromisoformat(day): [(b, e) for b, e in shifts] for day, shifts in row["dates"].items()},
    )
