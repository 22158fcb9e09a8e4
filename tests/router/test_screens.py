"""What an agent's request reads, below row-level security."""

import json
import random
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import product
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.router.store import customers, opt_outs, screens
from services.router.store.screens import NEVER, survivor
from shared.db.transaction import Transaction
from shared.ids import derived_id, new_id
from tests.router.world import World, id_of

Row = dict[str, Any]
BRANDS = [id_of("shop"), id_of("other")]
# Of these conversations some are open, few of them with an agent or in Swedish.
MANY = 8000
STATES = (None, "waiting", "assigned", "resolved", "scheduled")
AGENTS = (None, id_of("anna"))
LANGUAGES = (None, "de", "sv")


class Explained(Transaction):
    """Keeps how the first statement's rows were found; brings none."""

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx._connection, tx.now)
        self.plan: dict[str, Any] = {}

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        (row,) = await super().fetch(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", *args)
        self.plan = self.plan or json.loads(row[0])[0]["Plan"]
        return []

    async def fetchval(self, query: str, *args: object) -> Any:
        await self.fetch(query, *args)


async def test_who_survived_a_merge_is_found_by_index(w: World) -> None:
    """With what the planner takes for leaky, such as coalesce, the condition filters every customer instead."""
    for column in ("id", "survivor_id"):
        async with w.api.transaction(brands=[id_of("shop")]) as tx:
            await tx.execute("SET LOCAL enable_seqscan = off")
            rows = await tx.fetch(
                f"EXPLAIN SELECT g.id FROM router.customer AS c JOIN router.customer AS g "
                f"ON g.{column} = {survivor('c')} WHERE c.id = $1",
                id_of("somebody"),
            )
        plan = "\n".join(row[0] for row in rows)
        assert re.search(rf"(Index|Recheck|Hash|Merge) Cond: \(.*{column} = CASE", plan), plan


@asynccontextmanager
async def _owner(w: World) -> AsyncIterator[Any]:
    """Fills tables; the planner knows of it afterwards."""
    owner = await asyncpg.connect(w.url)
    # Triggers check references, which hold by the way these rows are made.
    await owner.execute("SET session_replication_role = replica")
    yield owner
    await owner.execute("ANALYZE")
    await owner.close()


async def _make_customers(owner: Any, ids: Sequence[UUID], brands: Sequence[UUID], at: datetime) -> None:
    await owner.execute(
        "INSERT INTO router.customer (id, brand_id, name, languages, created_at) "
        "SELECT id, brand_id, '', '{}', $3 FROM unnest($1::uuid[], $2::uuid[]) AS r (id, brand_id)",
        ids, brands, at,
    )  # fmt: skip


async def _make_conversations(owner: Any, rows: Sequence[Row], at: datetime) -> None:
    """In the inbox that has the brand's id."""
    await owner.execute(
        "INSERT INTO router.conversation (id, brand_id, inbox_id, customer_id, channel, subject, version, state, "
        "language, language_by, priority, weight, live, agent_id, declined_by, step, opened_at, due_at, reply_context) "
        "SELECT id, brand_id, brand_id, customer_id, 'chat', '', 1, coalesce(state, 'waiting'), language, 'words', 0, "
        "1, true, agent_id, '{}', 0, $8, due_at, '' "
        "FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::uuid[], $7::timestamptz[]) "
        "AS r (id, brand_id, customer_id, state, language, agent_id, due_at)",
        *([row.get(n) for row in rows]
          for n in ("id", "brand_id", "customer_id", "state", "language", "agent_id", "due_at")),
        at,
    )  # fmt: skip


async def test_whom_a_statement_is_about_is_found_among_many(w: World) -> None:
    """Each of them has an address, and wants no messages from the inbox where all have written."""
    somebody, shop = id_of("somebody"), id_of("shop")
    people = [somebody, *(new_id() for _ in range(MANY // 4))]
    async with _owner(w) as owner:
        await _make_customers(owner, people, [shop] * len(people), w.clock.at)
        await owner.execute(
            "INSERT INTO router.identity (id, brand_id, kind, value, name, customer_id, verified_by, created_at) "
            "SELECT id, $2, 'phone', id, '', id, 'channel', $3 FROM unnest($1::uuid[]) AS p (id)",
            people, shop, w.clock.at,
        )  # fmt: skip
        await owner.execute(
            "INSERT INTO router.opt_out (inbox_id, brand_id, kind, value, at) "
            "SELECT $2, $2, 'phone', id, $3 FROM unnest($1::uuid[]) AS p (id)",
            people, shop, w.clock.at,
        )  # fmt: skip
        await _make_conversations(owner, [{"id": somebody, "brand_id": shop, "customer_id": somebody}], w.clock.at)
    async with w.api.transaction(brands=[shop]) as tx:
        assert await opt_outs.opted_out_at(tx, somebody) == w.clock.at
        asked = Explained(tx)
        await opt_outs.opted_out_at(asked, somebody)
        assert _read(asked.plan, "identity") == _read(asked.plan, "opt_out") == 1, asked.plan
        locked = Explained(tx)
        with pytest.raises(asyncpg.SerializationError):  # for nobody was brought
            await customers.lock_groups(locked, [somebody])
        assert _read(locked.plan, "customer") == 2, locked.plan


@pytest.fixture
async def listed(w: World) -> list[Row]:
    """What there is to list, as a plain sort orders it."""
    chance = random.Random(7)
    due = [w.clock.at + timedelta(minutes=n) for n in range(40)]
    rows = [_row(n, chance, due) for n in range(MANY)]
    async with _owner(w) as owner:
        await _make_customers(owner, BRANDS, BRANDS, w.clock.at)
        await _make_conversations(owner, rows, w.clock.at)
    return sorted(rows, key=lambda row: (row["due_at"] or NEVER, row["id"]))


def _row(n: int, chance: random.Random, due: Sequence[datetime]) -> Row:
    state = chance.choices(("resolved", "waiting", "assigned", "scheduled"), (90, 6, 3, 1))[0]
    brand = chance.choices(BRANDS, (3, 1))[0]
    is_due = state == "waiting" or (state == "assigned" and chance.random() < 0.5)
    return {
        "id": derived_id("listed", str(n)),
        "brand_id": brand,
        # One of each brand.
        "customer_id": brand,
        "state": state,
        "language": chance.choices((None, "de", "fr", "sv"), (5, 60, 34, 1))[0],
        "agent_id": chance.choice((id_of("anna"), id_of("bernd"))) if state == "assigned" else None,
        # Many at the same instant.
        "due_at": chance.choice(due) if is_due else None,
    }


def _filters() -> Iterator[dict[str, Any]]:
    for state, agent_id, language in product(STATES, AGENTS, LANGUAGES):
        yield {"state": state, "agent_id": agent_id, "language": language}


async def test_pages_are_the_plain_order_whatever_they_are_filtered_by(w: World, listed: list[Row]) -> None:
    for shown, filters in product((BRANDS, BRANDS[1:], []), _filters()):
        expected = [
            row["id"]
            for row in listed
            if row["brand_id"] in shown and all(value in (None, row[name]) for name, value in filters.items())
        ]
        found: list[UUID] = []
        after = None
        # Odd, so that pages end before, at and after the last deadline.
        limit = 177 if len(expected) > 300 else 7
        async with w.api.transaction(brands=shown) as tx:
            # Twice the same brand, as a key may name them.
            while page := await screens.conversation_list(tx, brands=shown * 2, after=after, limit=limit, **filters):
                found += [row["id"] for row in page]
                after = page[-1]["sort"], page[-1]["id"]
        assert found == expected, (shown, filters)


async def test_a_brand_that_is_hidden_is_not_listed_by_naming_it(w: World, listed: list[Row]) -> None:
    async with w.api.transaction(brands=BRANDS[:1]) as tx:
        page = await screens.conversation_list(
            tx, brands=BRANDS, state=None, agent_id=None, language=None, after=None, limit=200
        )
    assert [row["id"] for row in page] == [row["id"] for row in listed if row["brand_id"] == BRANDS[0]][:200]


def _read(plan: dict[str, Any], table: str) -> float:
    """How many of the table's rows were looked at, shown or not."""
    own = 0.0
    if plan.get("Relation Name") == table:
        removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        own = (plan["Actual Rows"] + removed) * plan["Actual Loops"]
    return own + sum(_read(below, table) for below in plan.get("Plans", ()))


async def test_a_page_reads_its_own_rows_of_each_brand_and_no_others(w: World, listed: list[Row]) -> None:
    """A sort of them all, or an index that serves other filters, would read hundreds."""
    limit = 5
    # What a plan tells of several turns is an average, rounded.
    held = sum(row["agent_id"] == id_of("anna") for row in listed) + len(BRANDS)
    last_due = max(row["due_at"] for row in listed if row["due_at"])
    middle, somebody = w.clock.at + timedelta(minutes=20), UUID("80000000-0000-0000-0000-000000000000")
    places = (None, (middle, somebody), (last_due, somebody), (NEVER, somebody))
    for after, filters in product(places, _filters()):
        async with w.api.transaction(brands=BRANDS) as tx:
            explained = Explained(tx)
            await screens.conversation_list(explained, brands=BRANDS, after=after, limit=limit, **filters)
        # Those with a deadline and those without are looked for apart; an agent's are few, whatever else is asked for.
        most = held if filters["agent_id"] else len(BRANDS) * limit
        assert _read(explained.plan, "conversation") <= 2 * most, (after, filters, explained.plan)
