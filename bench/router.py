"""The router's rates: inbound messages against the raw insert of the same rows; assignments by dispatch."""

import statistics
import time
from datetime import timedelta

import asyncpg

from bench.figures import Figure
from services.router.dispatch import dispatch_round
from shared.bus.contract import BATCH
from shared.db.transaction import Transaction
from shared.events import Event
from shared.ids import derived_id, new_id
from tests import servers
from tests.router.world import World, id_of, world

MESSAGES = 6_000
AGENTS, WAITING, CAPACITY = 1_000, 20_000, 20
ROUNDS = 3


async def messages(postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    """Batches of new messages by 500 customers, in one process on one connection."""
    rates, raw = [], []
    for _ in range(ROUNDS):
        async with postgres.database() as url, world(url) as w:
            batches = [
                [
                    w.message(f"Wo bleibt meine Bestellung Nummer {n}?", sender=f"s{n % 500}")
                    for n in range(s, s + BATCH)
                ]
                for s in range(0, MESSAGES, BATCH)
            ]
            await w.receive(w.message(sender="warm"))
            started = time.perf_counter()
            for batch in batches:
                await w.receive(*batch)
            rates.append(MESSAGES / (time.perf_counter() - started))
            raw.append(await _raw_insert(w))
    rate, bare = statistics.median(rates), statistics.median(raw)
    return [Figure("router_messages", rate, "messages/s", "raw_insert", rate / bare, f"batches of {BATCH}")]


def _message(w: World, n: int) -> Event:
    return w.message(f"Wo bleibt meine Bestellung Nummer {n}?", sender=f"s{n % 500}")


# What a batch inserts, in the order of their references; conversations and customers are few and left out.
TABLES = ("router.message", "router.history", "router.decision", "router.seen", "bus.outbox")


async def _raw_insert(w: World) -> float:
    """The same rows by one unnest a table and batch, and nothing else: no reading, no deciding, no locks."""
    rows = {table: await _rows(w, table) for table in TABLES}
    for table in reversed(TABLES):
        await w.fetch(f"DELETE FROM {table}")
    batches = MESSAGES // BATCH
    started = time.perf_counter()
    for n in range(batches):
        async with w.router.transaction() as tx:
            for table, (statement, columns, found) in rows.items():
                part = found[n * len(found) // batches : (n + 1) * len(found) // batches]
                await tx.execute(statement, *[[_value(row[c]) for row in part] for c in columns])
                assert table
    return MESSAGES / (time.perf_counter() - started)


def _value(value: object) -> object:
    # In a list of documents a list would be taken for a nested array.
    return {} if isinstance(value, list) else value


async def _rows(w: World, table: str) -> tuple[str, list[str], list[asyncpg.Record]]:
    schema, name = table.split(".")
    columns = await w.fetch(
        "SELECT column_name, udt_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2 "
        "AND column_name <> 'published_at' ORDER BY ordinal_position",
        schema,
        name,
    )
    names = [row["column_name"] for row in columns]
    unnest = ", ".join(f"${n}::{row['udt_name']}[]" for n, row in enumerate(columns, start=1))
    statement = f"INSERT INTO {table} ({', '.join(names)}) SELECT * FROM unnest({unnest})"
    return statement, names, await w.fetch(f"SELECT * FROM {table}")


async def assignments(postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    """Rounds until every agent is full."""
    rates = []
    for _ in range(ROUNDS):
        async with postgres.database() as url, world(url) as w:
            await _crowd(w)
            given, started = 0, time.perf_counter()
            while True:

                async def one(tx: Transaction, w: World = w) -> int:
                    return await dispatch_round(tx, w.cache)

                got = await w.router.retrying(one)
                given += got
                if not got:
                    break
            rates.append(given / (time.perf_counter() - started))
    rate = statistics.median(rates)
    conditions = f"{AGENTS} agents, {WAITING} waiting"
    return [Figure("dispatch_assignments", rate, "assignments/s", "2 000 assignments/s", rate / 2_000, conditions)]


async def _crowd(w: World) -> None:
    ids = [derived_id("bench", n) for n in range(AGENTS)]
    pools = [id_of("pool-de"), id_of("pool-fr"), id_of("pool-all")]
    async with w.router.transaction() as tx:
        await tx.execute("DELETE FROM config.pool_member")
        await tx.execute(
            "INSERT INTO config.agent (id, handle, name, role, capacity, brands) "
            "SELECT id, id::text, '', 'agent', $2, $3 FROM unnest($1::uuid[]) AS a (id)",
            ids, CAPACITY, [id_of("shop")],
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO config.pool_member SELECT ($1::uuid[])[1 + n % 3], id, 'native' "
            "FROM unnest($2::uuid[]) WITH ORDINALITY AS a (id, n)",
            pools, ids,
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO router.presence (agent_id, status, until, idle_since, lapses) "
            "SELECT id, 'available', $2, $2, 0 FROM unnest($1::uuid[]) AS a (id)",
            ids, w.clock.at + timedelta(days=365),
        )  # fmt: skip
        await tx.execute("UPDATE config.revision SET n = n + 1")
        customer = new_id()
        await tx.execute(
            "INSERT INTO router.customer (id, brand_id, name, languages, created_at) VALUES ($1, $2, '', '{}', $3)",
            customer, id_of("shop"), tx.now,
        )  # fmt: skip
        await tx.execute(
            """
            INSERT INTO router.conversation (id, brand_id, inbox_id, customer_id, channel, subject, version, state,
                language, language_by, priority, weight, live, declined_by, step, opened_at, queued_at, plan_id,
                reply_context, due_at)
            SELECT gen_random_uuid(), $1, $2, $3, 'market', '', 0, 'waiting', 'de', 'words', 0, 1, false, '{}', 0,
                $4::timestamptz, $4::timestamptz, $5, '', $4::timestamptz + n * interval '1 second'
            FROM generate_series(1, $6::int) AS n
            """,
            id_of("shop"), id_of("shop-market"), customer, tx.now, id_of("plan-de"), WAITING,
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO router.queue SELECT ($1::uuid[])[1 + row_number() OVER () % 3], id, brand_id, 0, due_at, "
            "queued_at FROM router.conversation",
            pools,
        )
    await w.fetch("ANALYZE")
