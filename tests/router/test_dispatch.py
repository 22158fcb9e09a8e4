"""Conversations find agents: native first, never above capacity, whatever the number of routers."""

import asyncio
import multiprocessing
from datetime import timedelta

import pytest

from services.router.dispatch import dispatch_round
from services.router.store.configuration import ConfigurationCache
from services.router.timers import lapse_offers, reach_steps, requeue_abandoned, tell_deadlines
from shared.db.transaction import Database, Transaction
from shared.ids import derived_id, new_id
from tests.router.world import MONDAY, World, id_of


async def round_(w: World) -> int:
    async with w.router.transaction() as tx:
        return await dispatch_round(tx, w.cache)


async def sweep(w: World, job: object) -> int:
    async with w.router.transaction() as tx:
        return await job(tx, await w.cache.current(tx))  # type: ignore[operator,no-any-return]


async def holders(w: World) -> dict[str, str]:
    rows = await w.fetch(
        "SELECT c.state, a.handle FROM router.conversation c LEFT JOIN config.agent a ON a.id = agent_id ORDER BY c.id"
    )
    return {str(n): f"{row['state']} {row['handle']}" for n, row in enumerate(rows)}


async def test_a_chat_is_offered_to_a_native_and_a_marketplace_message_assigned(w: World) -> None:
    await w.there("anna", "claire", "gina")
    await w.receive(w.message(), w.message("Où est mon colis ?", inbox="shop-market", thread="t"))
    assert await round_(w) == 2
    assert set((await holders(w)).values()) == {"offered anna", "assigned claire"}
    assert await w.value("SELECT count(*) FROM router.queue") == 0
    (decision,) = await w.fetch("SELECT data FROM router.decision WHERE kind = 'agent' AND data->>'pool' = 'de'")
    assert decision["data"]["level"] == "native"


async def test_the_fluent_agent_is_asked_only_where_no_native_is_free(w: World) -> None:
    await w.there("claire")
    await w.receive(w.message())
    assert await round_(w) == 1
    (row,) = await w.fetch("SELECT data FROM router.decision WHERE kind = 'agent'")
    assert row["data"]["level"] == "fluent"


async def test_the_next_step_is_asked_when_its_share_of_the_time_is_used_up(w: World) -> None:
    await w.there("gina")
    await w.receive(w.message())
    assert await round_(w) == 0
    w.clock.forward(minutes=29)
    assert await sweep(w, reach_steps) == 0
    w.clock.forward(minutes=2)
    assert await sweep(w, reach_steps) == 1
    assert await round_(w) == 1
    assert (await holders(w))["0"] == "offered gina"


async def test_nobody_gets_more_than_their_capacity(w: World) -> None:
    await w.there("anna", "bernd")
    await w.receive(*(w.message(sender=f"s{n}") for n in range(10)))
    assert await round_(w) == 4
    assert await round_(w) == 0
    loads = await w.fetch("SELECT agent_id, sum(weight) FROM router.assignment WHERE state <> 'ended' GROUP BY 1")
    assert [row["sum"] for row in loads] == [2, 2]


async def test_an_offer_that_lapses_goes_to_another_agent_and_keeps_its_age(w: World) -> None:
    await w.there("anna", "bernd")
    await w.receive(w.message())
    await round_(w)
    first = (await holders(w))["0"]
    queued_at = await w.value("SELECT queued_at FROM router.conversation")
    w.clock.forward(seconds=46)
    assert await sweep(w, lapse_offers) == 1
    await round_(w)
    second = (await holders(w))["0"]
    assert {first, second} == {"offered anna", "offered bernd"}
    assert await w.value("SELECT queued_at FROM router.conversation") == queued_at


async def test_whoever_lets_three_offers_lapse_is_set_away(w: World) -> None:
    await w.there("olaf")
    for n in range(3):
        await w.receive(w.message(inbox="other-chat", sender=f"s{n}"))
        assert await round_(w) == 1
        w.clock.forward(seconds=46)
        await sweep(w, lapse_offers)
    assert await w.value("SELECT status FROM router.presence WHERE agent_id = $1", id_of("olaf")) == "away"


async def test_an_agent_who_vanishes_keeps_nothing_waiting(w: World) -> None:
    await w.there("claire")
    await w.receive(w.message("Où est mon colis ?", inbox="shop-market", thread="t"))
    assert await round_(w) == 1
    await w.fetch("UPDATE router.presence SET until = $1", w.clock.at - timedelta(seconds=1))
    assert await sweep(w, requeue_abandoned) == 1
    assert (await holders(w))["0"] == "waiting None"
    assert await w.value("SELECT count(*) FROM router.assignment WHERE state <> 'ended'") == 0


async def test_each_deadline_is_told_once(w: World) -> None:
    await w.receive(w.message())
    for minutes, near, missed in ((29, 0, 0), (2, 1, 0), (5, 1, 0), (25, 1, 1), (60, 1, 1)):
        w.clock.forward(minutes=minutes)
        await sweep(w, tell_deadlines)
        told = [
            row["t"] for row in await w.fetch("SELECT headers->>'ce_type' AS t FROM bus.outbox WHERE topic = 'alerts'")
        ]
        assert (told.count("dragoman.deadline.near.v1"), told.count("dragoman.deadline.missed.v1")) == (near, missed)


async def test_a_found_breach_says_when_it_was_due_and_when_it_was_found(w: World) -> None:
    await w.receive(w.message())
    w.clock.forward(hours=3)
    await sweep(w, tell_deadlines)
    (clock,) = await w.fetch("SELECT due_at, missed_at FROM router.clock")
    assert (clock["due_at"], clock["missed_at"]) == (MONDAY + timedelta(hours=1), MONDAY + timedelta(hours=3))


AGENTS, CONVERSATIONS, PROCESSES = 200, 20_000, 4


def dispatch_until_nothing_fits(url: str) -> int:
    """What one of several router processes does; how many it gave away."""

    async def run() -> int:
        database = Database(url, role="dragoman_router")
        await database.open()
        cache, given, idle = ConfigurationCache(), 0, 0

        async def one(tx: Transaction) -> int:
            return await dispatch_round(tx, cache)

        while idle < 5:
            got = await database.retrying(one)
            given += got
            idle = 0 if got else idle + 1
            await asyncio.sleep(0 if got else 0.05)
        await database.close()
        return given

    return asyncio.run(run())


@pytest.mark.timeout(180)
async def test_four_routers_give_nothing_away_twice_and_fill_nobody_above_capacity(w: World) -> None:
    capacity = 20
    async with w.router.transaction() as tx:
        ids = [derived_id("many", n) for n in range(AGENTS)]
        await tx.execute(
            "INSERT INTO config.agent (id, handle, name, role, capacity, brands) "
            "SELECT id, id::text, '', 'agent', $2, $3 FROM unnest($1::uuid[]) AS a (id)",
            ids, capacity, [id_of("shop")],
        )  # fmt: skip
        await tx.execute("DELETE FROM config.pool_member")
        await tx.execute(
            "INSERT INTO config.pool_member SELECT $2, id, 'native' FROM unnest($1::uuid[]) AS a (id)",
            ids, id_of("pool-de"),
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
            SELECT gen_random_uuid(), $1, $2, $3, 'market', '', 0, 'waiting', 'de', 'words', 0, 1 + n % 3, false, '{}',
                   0, $4::timestamptz, $4::timestamptz, $5, '', $4::timestamptz + n * interval '1 second'
            FROM generate_series(1, $6::int) AS n
            """,
            id_of("shop"), id_of("shop-market"), customer, tx.now, id_of("plan-de"), CONVERSATIONS,
        )  # fmt: skip
        await tx.execute(
            "INSERT INTO router.queue SELECT $1, id, brand_id, 0, due_at, queued_at FROM router.conversation",
            id_of("pool-de"),
        )
    with multiprocessing.get_context("spawn").Pool(PROCESSES) as pool:
        given = await asyncio.to_thread(pool.map, dispatch_until_nothing_fits, [w.url] * PROCESSES)
    assert sum(given) == await w.value("SELECT count(*) FROM router.assignment")
    doubled = "SELECT count(*) - count(DISTINCT conversation_id) FROM router.assignment WHERE state <> 'ended'"
    assert await w.value(doubled) == 0
    loads = await w.fetch("SELECT sum(weight) FROM router.assignment WHERE state <> 'ended' GROUP BY agent_id")
    assert len(loads) == AGENTS
    assert all(capacity - 3 < row["sum"] <= capacity for row in loads)


async def test_nothing_is_given_to_whoever_left(w: World) -> None:
    await w.fetch("UPDATE config.agent SET is_active = false WHERE handle = 'anna'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    await w.there("anna")
    await w.receive(w.message())
    assert await round_(w) == 0
    await w.there("bernd")
    assert await round_(w) == 1
    assert await holders(w) == {"0": "offered bernd"}
