"""An agent opens a conversation while a million messages are there: the whole document, over HTTP, at 50 a second."""

import asyncio
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import asyncpg

from bench.figures import Figure, percentile
from tests import servers
from tests.e2e.processes import Cell, cell
from tests.e2e.running import Running, until

CONVERSATIONS, MESSAGES_OF_EACH = 100_000, 10
RATE, SECONDS = 50, 20
AGENTS = ("anna", "bernd", "claire", "luc", "giulia", "paolo", "sam")


async def opened(postgres: servers.Postgres, kafka: str | None) -> list[Figure]:
    """One conversation is lived through, and copied with all of its rows; then any of the copies is opened."""
    if kafka is None:
        return []
    with TemporaryDirectory(prefix="dragoman-bench-") as folder:
        async with postgres.database() as url, cell(url, kafka, Path(folder)) as running:
            copies = await _copied(url, await _lived_through(running))
            # The first requests prepare their statements.
            await _open_at_rate(running, copies, 2)
            waits = await _open_at_rate(running, copies, SECONDS)
    p50, p99 = percentile(waits, 0.5) * 1000, percentile(waits, 0.99) * 1000
    conditions = f"{RATE}/s for {SECONDS} s, {CONVERSATIONS * MESSAGES_OF_EACH} messages"
    return [
        Figure("conversation_opened_p50", p50, "ms", "25 ms", p50 / 25, conditions),
        Figure("conversation_opened_p99", p99, "ms", "100 ms", p99 / 100, conditions),
    ]


async def _lived_through(running: Cell) -> UUID:
    """A customer wrote, a native answered and resolved."""
    run = Running(running.api, running.http, running.sandbox_url)
    await run.there("anna")
    await run.control("messenger/messages", {"page": "100", "psid": "c1", "text": "Wo bleibt meine Bestellung denn?"})

    async def offered() -> Any:
        items = (await run.get("/v1/conversations?agent=me&state=offered", "anna")).json()["items"]
        return items[0] if items else None

    item: Any = await until(offered, 30)
    path = f"/v1/conversations/{item['id']}"
    assert (await run.post(f"{path}/accept", "anna")).status_code == 200
    answered = await run.post(f"{path}/reply", "anna", {"text": "Morgen ist sie da.", "resolve": True})
    assert answered.status_code == 202

    async def read() -> bool:
        messages = (await run.get(path, "anna")).json()["messages"]
        return "read" in [m["state"] for m in messages]

    await until(read, 30)
    return UUID(item["id"])


# Copies of every row that has to do with the one conversation `c`, each with what makes it another one.
FIRST = "m.k = 0"
OF_CUSTOMER, OF_CONVERSATION = "t.customer_id = c.customer_id", "t.conversation_id = c.id"
COPIES = (
    ("customer", FIRST, "'id', m.customer_id", "t.id = c.customer_id"),
    ("identity", FIRST, "'id', gen_random_uuid(), 'customer_id', m.customer_id, 'value', m.customer_id", OF_CUSTOMER),
    ("conversation", FIRST, "'id', m.id, 'customer_id', m.customer_id, 'thread', m.id", "t.id = c.id"),
    ("history", FIRST, "'conversation_id', m.id", OF_CONVERSATION),
    ("decision", FIRST, "'conversation_id', m.id", OF_CONVERSATION),
    ("clock", FIRST, "'id', gen_random_uuid(), 'conversation_id', m.id", OF_CONVERSATION),
    ("assignment", FIRST, "'id', gen_random_uuid(), 'conversation_id', m.id", OF_CONVERSATION),
    ("message", "true",
     "'id', gen_random_uuid(), 'conversation_id', m.id, 'occurred_at', t.occurred_at + m.k * interval '1 minute'",
     OF_CONVERSATION),
)  # fmt: skip


async def _copied(url: str, conversation: UUID) -> list[UUID]:
    connection = await asyncpg.connect(url)
    try:
        # Triggers check references, which hold by the way these rows are made.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "CREATE TEMP TABLE made AS SELECT gen_random_uuid() AS id, gen_random_uuid() AS customer_id "
            f"FROM generate_series(1, {CONVERSATIONS})"
        )
        await connection.execute(
            "CREATE TEMP TABLE m AS SELECT made.*, k FROM made CROSS JOIN "
            f"generate_series(0, {MESSAGES_OF_EACH // 2 - 1}) AS k"
        )
        await connection.execute(
            f"CREATE TEMP TABLE c AS SELECT * FROM router.conversation WHERE id = '{conversation}'"
        )
        for table, which, other, of in COPIES:
            await connection.execute(
                f"INSERT INTO router.{table} SELECT (jsonb_populate_record(t, jsonb_build_object({other}))).* "
                f"FROM m CROSS JOIN c CROSS JOIN router.{table} AS t WHERE {which} AND {of}"
            )
        await connection.execute("VACUUM ANALYZE")
        assert await connection.fetchval("SELECT count(*) FROM router.message") >= CONVERSATIONS * MESSAGES_OF_EACH
        return [row["id"] for row in await connection.fetch("SELECT id FROM made")]
    finally:
        await connection.close()


async def _open_at_rate(running: Cell, copies: list[UUID], seconds: int) -> list[float]:
    chance = random.Random(seconds)
    waits: list[float] = []

    async def look(n: int) -> None:
        headers = {"Authorization": f"Bearer dev-{AGENTS[n % len(AGENTS)]}"}
        began = time.perf_counter()
        answer = await running.http.get(f"{running.api}/v1/conversations/{chance.choice(copies)}", headers=headers)
        waits.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["messages"]) == MESSAGES_OF_EACH

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for n in range(RATE * seconds):
            await asyncio.sleep(max(0.0, started + n / RATE - time.perf_counter()))
            group.create_task(look(n))
    return waits
