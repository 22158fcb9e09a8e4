"""Who is one customer: certain links by themselves, everything weaker as a suggestion, over all channels of a brand."""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.router.check import check
from services.router.domain.identity import MOST_ALIKE, Customer, People
from services.router.results import Results
from services.router.store import customers, suggestions
from shared.db.transaction import RETRYABLE, Transaction
from shared.events import Address, Event, IdentityChanged, OptOutChanged, ReplyMadeElsewhere
from shared.ids import new_id
from tests import servers
from tests.router.test_dispatch import round_
from tests.router.test_inbound import resolve
from tests.router.world import World, id_of, world

NUMBER, NEW_NUMBER, MAIL = "+4915112345678", "+4915187654321", "ina@example.com"
DMARC: dict[str, Any] = {"verified_by": "dmarc"}
CLAIMED: dict[str, Any] = {"verified_by": None}


async def groups(tx: Transaction) -> list[set[str]]:
    """The addresses of each customer; an unverified one with a question mark."""
    rows = await tx.fetch(
        "SELECT coalesce(c.survivor_id, c.id) AS root, i.value || CASE WHEN i.scope = '' THEN '' ELSE '?' END AS value "
        "FROM router.identity i JOIN router.customer c ON c.id = i.customer_id"
    )
    found: dict[UUID, set[str]] = {}
    for row in rows:
        found.setdefault(row["root"], set()).add(row["value"])
    return sorted(found.values(), key=sorted)


async def suggested(tx: Transaction) -> list[tuple[str, ...]]:
    rows = await tx.fetch("SELECT reasons FROM router.suggestion WHERE state = 'open'")
    return sorted(tuple(sorted(row["reasons"])) for row in rows)


async def customer_of(w: World, value: str) -> UUID:
    found: UUID = await w.value("SELECT customer_id FROM router.identity WHERE value = $1 AND scope = ''", value)
    return found


async def merge(w: World, one: UUID, other: UUID) -> None:
    async def work(tx: Transaction) -> None:
        people = await customers.lock_groups(tx, [one, other])
        people.merge(one, other, "confirmed")
        await customers.save(tx, people)

    await w.router.retrying(work)


async def split(w: World, one: UUID) -> None:
    async def work(tx: Transaction) -> None:
        people = await customers.lock_groups(tx, [one])
        rest = people.split(one)
        if rest is not None:
            await customers.save(tx, people)
            await suggestions.refuse(tx, people.by_id[one].brand_id, one, rest, "anna")

    await w.router.retrying(work)


def also(value: str, kind: str = "phone", verified_by: Literal["channel", "dmarc"] | None = "channel") -> list[Address]:
    return [Address(kind=kind, value=value, verified_by=verified_by)]


def moved(w: World, before: str, after: str, inbox: str = "shop-whatsapp") -> Event:
    old, new = also(before)[0], also(after)[0]
    data = IdentityChanged(channel="whatsapp", keys=[str(new_id())], sender=new, before=old, occurred_at=w.clock.at)
    return w.event(data, inbox)


def word(
    w: World, *, opted_out: bool, value: str = NUMBER, inbox: str = "shop-sms", marketing_only: bool = False
) -> Event:
    data = OptOutChanged(
        channel="sms", keys=[str(new_id())], sender=also(value)[0], opted_out=opted_out, occurred_at=w.clock.at,
        marketing_only=marketing_only,
    )  # fmt: skip
    return w.event(data, inbox)


@dataclass(frozen=True)
class Story:
    """Messages as (inbox, sender, more), who is one customer in the end, and what is suggested."""

    messages: Sequence[tuple[str, str, dict[str, Any]]]
    customers: list[set[str]]
    suggestions: Sequence[tuple[str, ...]] = ()


STORIES = {
    "whatsapp and sms from the same number are one": Story(
        [("shop-whatsapp", "4915112345678", {}), ("shop-sms", NUMBER, {})], [{NUMBER}]
    ),
    "two inboxes mailed from one proven address are one": Story(
        [("shop-mail", MAIL, DMARC), ("shop-service", "Ina@Example.com", DMARC)], [{MAIL}]
    ),
    "two brands share nobody": Story([("shop-sms", NUMBER, {}), ("other-sms", NUMBER, {})], [{NUMBER}, {NUMBER}]),
    "a mail that only claims the proven address is somebody else": Story(
        [("shop-mail", MAIL, DMARC), ("shop-mail", MAIL, CLAIMED)], [{MAIL}, {f"{MAIL}?"}], [("address email",)]
    ),
    "and it stays somebody else where it came first": Story(
        [("shop-mail", MAIL, CLAIMED), ("shop-mail", MAIL, DMARC)], [{MAIL}, {f"{MAIL}?"}], [("address email",)]
    ),
    "claims of one address in two inboxes are suggested": Story(
        [("shop-mail", MAIL, CLAIMED), ("shop-service", MAIL, CLAIMED)], [{f"{MAIL}?"}] * 2, [("address email",)]
    ),
    "claims of one address in one inbox are one": Story(
        [("shop-mail", MAIL, CLAIMED), ("shop-mail", MAIL, CLAIMED)], [{f"{MAIL}?"}]
    ),
    "a sender's name in letters is anybody's": Story(
        [("shop-sms", "PARCELS", {}), ("shop-whatsapp", "PARCELS", {})], [{"PARCELS?"}] * 2, [("address phone",)]
    ),
    "the vendor vouches for a second address": Story(
        [("shop-chat", "u1", {"also": also(NUMBER)}), ("shop-sms", NUMBER, {})], [{NUMBER, "u1"}]
    ),
    "the vendor vouches for somebody who was there": Story(
        [("shop-sms", NUMBER, {}), ("shop-chat", "u1", {}), ("shop-chat", "u1", {"also": also(NUMBER)})],
        [{NUMBER, "u1"}],
    ),
    "a vouched address that is not verified is suggested": Story(
        [("shop-chat", "u1", {"also": also(MAIL, "email", None)})], [{f"{MAIL}?"}, {"u1"}], [("vouched",)]
    ),
    "a claimed sender is not linked by what it names": Story(
        [("shop-sms", NUMBER, {}), ("shop-mail", MAIL, CLAIMED | {"also": also(NUMBER)})],
        [{NUMBER}, {f"{MAIL}?"}],
        [("vouched",)],
    ),
    "the same full name is suggested": Story(
        [("shop-chat", "u1", {"name": "Ina Kunde"}), ("shop-sms", NUMBER, {"name": "INA KUNDE"})],
        [{NUMBER}, {"u1"}],
        [("name",)],
    ),
    "a first name says nothing": Story(
        [("shop-chat", "u1", {"name": "Ina"}), ("shop-sms", NUMBER, {"name": "Ina"})], [{NUMBER}, {"u1"}]
    ),
    "the same name in another brand is not looked at": Story(
        [("shop-chat", "u1", {"name": "Ina Kunde"}), ("other-sms", NUMBER, {"name": "Ina Kunde"})], [{NUMBER}, {"u1"}]
    ),
    "the same matter is suggested": Story(
        [("shop-market", "b1", {"matter": "4711", "thread": "t"}), ("shop-mail", MAIL, DMARC | {"matter": "4711"})],
        [{"b1"}, {MAIL}],
        [("matter 4711",)],
    ),
    "several reasons are one suggestion": Story(
        [
            ("shop-market", "b1", {"matter": "4711", "thread": "t", "name": "Ina Kunde"}),
            ("shop-mail", MAIL, DMARC | {"matter": "4711", "name": "Ina Kunde"}),
        ],
        [{"b1"}, {MAIL}],
        [("matter 4711", "name")],
    ),
}


class _Undo(Exception):
    """Ends a trial."""


async def outcome(w: World, batches: Sequence[Sequence[Event]]) -> tuple[list[set[str]], list[tuple[str, ...]]]:
    """Who is one and what is suggested after these batches, which leave no trace."""
    with suppress(_Undo):
        async with w.router.transaction() as tx:
            for batch in batches:
                await w.inbound(tx, batch)
            found = await groups(tx), await suggested(tx)
            raise _Undo
    return found


async def test_who_is_one_and_who_may_be(w: World) -> None:
    in_one_batch, one_by_one, expected = {}, {}, {}
    for name, story in STORIES.items():
        events = [w.message(inbox=inbox, sender=sender, **more) for inbox, sender, more in story.messages]
        in_one_batch[name] = await outcome(w, [events])
        one_by_one[name] = await outcome(w, [[event] for event in events])
        expected[name] = (sorted(story.customers, key=sorted), list(story.suggestions))
    assert in_one_batch == expected
    assert one_by_one == expected


async def test_a_name_that_many_share_is_not_suggested(w: World) -> None:
    everybody = [w.message(sender=f"u{n}", name="Max Muster") for n in range(MOST_ALIKE + 2)]
    _, found = await outcome(w, [everybody])
    assert found == []
    _, found = await outcome(w, [[event] for event in everybody])
    assert len(found) == sum(range(MOST_ALIKE + 1)), "until it was too many"


async def test_a_number_change_keeps_the_customer_and_the_conversation(w: World) -> None:
    await w.receive(w.message(inbox="shop-whatsapp", sender=NUMBER))
    await w.receive(moved(w, NUMBER, NEW_NUMBER))
    await w.receive(w.message("Ich habe eine neue Nummer", inbox="shop-whatsapp", sender=NEW_NUMBER))
    assert await w.value("SELECT count(*) FROM router.conversation") == 1
    async with w.router.transaction() as tx:
        assert await groups(tx) == [{NUMBER, NEW_NUMBER}]
    (row,) = await w.fetch("SELECT actor, action, data FROM router.audit")
    assert (row["actor"], row["action"], row["data"]["because"]) == ("router", "customer.merged", ["moved"])


async def test_the_new_number_first_then_the_news_of_it_comes_to_the_same(w: World) -> None:
    await w.receive(w.message(inbox="shop-whatsapp", sender=NEW_NUMBER))
    await w.receive(w.message(inbox="shop-whatsapp", sender=NUMBER))
    await w.receive(moved(w, NUMBER, NEW_NUMBER), moved(w, NUMBER, NEW_NUMBER))
    async with w.router.transaction() as tx:
        assert await groups(tx) == [{NUMBER, NEW_NUMBER}]


async def test_a_conversation_stays_with_the_customer_whose_address_opened_it(w: World) -> None:
    await w.receive(w.message(sender="u1"), w.message(inbox="shop-sms", sender=NUMBER))
    before = await w.fetch("SELECT id, customer_id FROM router.conversation ORDER BY id")
    chat, phone = await customer_of(w, "u1"), await customer_of(w, NUMBER)
    await merge(w, chat, phone)
    await w.receive(w.message("Noch etwas", sender="u1"), w.message("Und noch etwas", inbox="shop-sms", sender=NUMBER))
    assert await w.fetch("SELECT id, customer_id FROM router.conversation ORDER BY id") == before
    await split(w, phone)
    await resolve(w)
    w.clock.forward(days=30)
    await w.receive(w.message("Guten Tag noch einmal", sender="u1"))
    newest = await w.value("SELECT customer_id FROM router.conversation ORDER BY id DESC LIMIT 1")
    assert newest == chat


async def test_who_was_merged_goes_on_in_the_open_conversation_of_the_inbox(w: World) -> None:
    await w.receive(w.message(sender="u1"))
    await w.receive(w.message("Hallo, ich bin es", sender="u2", also=also("u1", "chat")))
    assert await w.value("SELECT count(*) FROM router.conversation") == 1
    (row,) = await w.fetch("SELECT data FROM router.history WHERE kind = 'message_received' ORDER BY n DESC LIMIT 1")
    assert UUID(row["data"]["customer_id"]) == await customer_of(w, "u2")


async def test_after_a_split_nothing_links_them_again(w: World) -> None:
    message = {"sender": "u1", "also": also(NUMBER)}
    await w.receive(w.message(**message))
    await split(w, await customer_of(w, NUMBER))
    await w.receive(w.message("Noch einmal", **message))
    async with w.router.transaction() as tx:
        assert await groups(tx) == [{NUMBER}, {"u1"}]
        assert await suggested(tx) == []


async def test_a_merged_customer_speaks_what_they_spoke_before_elsewhere(w: World) -> None:
    await w.receive(w.message("Où est ma commande ? Je l'attends.", sender="u1"))
    await w.receive(w.message("", inbox="shop-sms", sender=NUMBER))
    assert await w.value("SELECT language FROM router.conversation ORDER BY id DESC LIMIT 1") == "de"
    await merge(w, await customer_of(w, "u1"), await customer_of(w, NUMBER))
    await resolve(w)
    w.clock.forward(days=30)
    await w.receive(w.message("", inbox="shop-sms", sender=NUMBER))
    (c,) = await w.fetch("SELECT language, language_by FROM router.conversation ORDER BY id DESC LIMIT 1")
    assert tuple(c) == ("fr", "customer")


async def test_the_customers_last_agent_is_preferred_whatever_the_channel_was(w: World) -> None:
    await w.there("bernd")
    await w.receive(w.message(inbox="shop-mail", sender=MAIL, **DMARC))
    assert await round_(w) == 1
    await resolve(w)
    w.clock.forward(hours=1)
    await w.there("anna")
    await w.fetch("UPDATE router.presence SET idle_since = $1 WHERE agent_id = $2", w.clock.at, id_of("bernd"))
    await w.receive(w.message(inbox="shop-sms", sender=NUMBER, also=also(MAIL, "email", "dmarc")))
    assert await round_(w) == 1
    (row,) = await w.fetch("SELECT data FROM router.decision WHERE kind = 'agent' ORDER BY at DESC LIMIT 1")
    assert (UUID(row["data"]["agent"]), row["data"]["same_agent"]) == (id_of("bernd"), True)


async def test_the_last_agent_of_an_address_that_was_linked_later_is_preferred_too(w: World) -> None:
    await w.receive(w.message(inbox="shop-mail", sender=MAIL, **DMARC))
    await w.receive(w.message(inbox="shop-sms", sender=NUMBER, also=also(MAIL, "email", "dmarc")))
    await resolve(w)
    held = "UPDATE router.conversation SET last_agent_id = $1, last_agent_at = $2 WHERE channel = 'sms'"
    await w.fetch(held, id_of("bernd"), w.clock.at)
    await w.there("bernd")
    w.clock.forward(hours=1)
    await w.there("anna")
    await w.fetch("UPDATE router.presence SET idle_since = $1 WHERE agent_id = $2", w.clock.at, id_of("bernd"))
    await w.receive(w.message("Und noch eine Frage dazu", inbox="shop-mail", sender=MAIL, **DMARC))
    assert await round_(w) == 1
    (row,) = await w.fetch("SELECT data FROM router.decision WHERE kind = 'agent' ORDER BY at DESC LIMIT 1")
    assert (UUID(row["data"]["agent"]), row["data"]["same_agent"]) == (id_of("bernd"), True)


async def test_an_answer_elsewhere_finds_the_conversation_of_whoever_is_one(w: World) -> None:
    await w.receive(w.message(sender="u1"))
    await w.receive(w.message("Hallo, ich bin es", sender="u2", also=also("u1", "chat")))
    elsewhere = ReplyMadeElsewhere(
        inbox_id=id_of("shop-chat"), channel="chat", keys=["e1"], peer="u2", external_id="e1", occurred_at=w.clock.at
    )
    async with w.router.transaction() as tx:
        await Results(w.cache)(tx, [w.event(elsewhere)])
    assert await w.value("SELECT unanswered_since FROM router.conversation") is None


OPTED = "SELECT opted_out FROM router.opt_out"


async def test_the_newest_word_counts_whatever_the_order_of_arrival(w: World) -> None:
    stop = word(w, opted_out=True)
    w.clock.forward(minutes=5)
    start = word(w, opted_out=False)
    for batches in ([[stop, start]], [[start, stop]], [[stop], [start]], [[start], [stop]]):
        await w.fetch("DELETE FROM router.opt_out")
        await w.fetch("DELETE FROM router.seen")
        for batch in batches:
            await w.receive(*batch)
        assert await w.value(OPTED) is False
    w.clock.forward(minutes=5)
    await w.receive(word(w, opted_out=True))
    assert await w.value(OPTED) is True
    await w.receive(word(w, opted_out=False), word(w, opted_out=True))
    assert await w.value(OPTED) is True, "at the same instant the no counts"


async def test_a_yes_to_marketing_lifts_no_stop_and_a_no_to_it_is_none(w: World) -> None:
    await w.receive(word(w, opted_out=True))
    w.clock.forward(minutes=5)
    await w.receive(word(w, opted_out=False, marketing_only=True))
    assert await w.value(f"{OPTED} WHERE NOT marketing_only") is True
    assert await w.value(f"{OPTED} WHERE marketing_only") is False


async def test_writing_again_lifts_no_stop(w: World) -> None:
    await w.receive(word(w, opted_out=True))
    w.clock.forward(minutes=5)
    await w.receive(w.message("Hallo?", inbox="shop-sms", sender=NUMBER))
    assert await w.value(OPTED) is True


async def test_a_batch_full_of_links_takes_as_many_statements_as_one(w: World) -> None:
    async def statements(size: int) -> int:
        with suppress(_Undo):
            async with w.router.transaction() as tx:
                events = [
                    w.message(
                        inbox="shop-mail", sender=f"s{n}@example.com", matter=f"m{n % 3}", name=f"Ina Nr {n}",
                        also=also(f"+4915100000{n:03}"), **(DMARC if n % 2 else CLAIMED),
                    )
                    for n in range(size)
                ]  # fmt: skip
                await w.inbound(tx, [w.message(), *events, moved(w, NUMBER, NEW_NUMBER), word(w, opted_out=True)])
                counted.append(tx.statements)
                raise _Undo
        return counted[-1]

    counted: list[int] = []
    await w.receive(w.message(inbox="shop-mail", sender=MAIL, matter="m0", **DMARC))
    assert await statements(2) == await statements(200)


async def test_the_database_refuses_a_survivor_of_another_brand_and_oneself(w: World) -> None:
    await w.receive(w.message(), w.message(inbox="other-chat"))
    ids = [row["id"] for row in await w.fetch("SELECT id FROM router.customer ORDER BY id")]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await w.fetch("UPDATE router.customer SET survivor_id = $1 WHERE id = $2", *ids)
    with pytest.raises(asyncpg.CheckViolationError):
        await w.fetch("UPDATE router.customer SET survivor_id = id WHERE id = $1", ids[0])
    with pytest.raises(asyncpg.CheckViolationError):
        await w.fetch("UPDATE router.identity SET verified_by = NULL")


async def test_the_check_finds_a_survivor_who_did_not_survive(w: World) -> None:
    await w.receive(*(w.message(sender=f"u{n}") for n in range(3)))
    a, b, c = [row["id"] for row in await w.fetch("SELECT id FROM router.customer ORDER BY id")]
    await merge(w, a, b)
    await merge(w, b, c)
    assert await check(w.router) == (3, [])
    await w.fetch("UPDATE router.customer SET survivor_id = $1 WHERE id = $2", b, c)
    assert await check(w.router) == (3, [f"{c}: its survivor was merged itself"])


async def forest(w: World) -> People:
    rows = await w.fetch("SELECT id, brand_id, name, country, languages, survivor_id FROM router.customer")
    people = People(Customer(**row) for row in rows)
    assert all(people.by_id[c.root].survivor_id is None for c in people.by_id.values())
    return people


async def test_merges_splits_and_messages_at_once_leave_a_flat_forest_and_lose_nothing(w: World) -> None:
    """Eight people, everything at the same time, on real connections."""
    await w.receive(*(w.message(sender=f"u{n}") for n in range(8)))
    ids = [await customer_of(w, f"u{n}") for n in range(8)]
    dice = random.Random(4)

    async def receive(n: int) -> None:
        a, b = dice.sample(range(8), 2)
        event = w.message(
            f"Nachricht Nummer {n} über mein Paket", sender=f"u{a}", also=also(f"u{b}", "chat"), key=f"k{n}"
        )

        async def work(tx: Transaction) -> None:
            await w.inbound(tx, [event])

        await again(w, work)

    async def again(w: World, work: Any) -> None:
        # The consumer loop tries for ever; a request gives up after some tries.
        while True:
            try:
                return await w.router.retrying(work)
            except RETRYABLE:
                continue

    async def people(kind: str) -> None:
        a, b = dice.sample(ids, 2)

        async def work(tx: Transaction) -> None:
            found = await customers.lock_groups(tx, [a, b])
            if kind == "merge":
                found.merge(a, b, "test")
            else:
                found.split(a)
            await customers.save(tx, found)

        await again(w, work)

    jobs = [receive(n) for n in range(40)] + [people(kind) for kind in ("merge", "split") for _ in range(30)]
    dice.shuffle(jobs)
    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for job in jobs:
            tasks.create_task(job)
    await forest(w)
    assert await w.value("SELECT count(*) FROM router.message") == 48
    assert await check(w.router) == (await w.value("SELECT count(*) FROM router.conversation"), [])


async def test_everybody_linked_at_once_is_one_customer(w: World) -> None:
    """A chain of links, each in a transaction of its own, all at the same time."""

    async def receive(n: int) -> None:
        event = w.message(sender=f"u{n}", also=also(f"u{n + 1}", "chat"))

        async def work(tx: Transaction) -> None:
            await w.inbound(tx, [event])

        while True:
            try:
                return await w.router.retrying(work)
            except RETRYABLE:
                continue

    async with asyncio.timeout(90), asyncio.TaskGroup() as tasks:
        for n in range(12):
            tasks.create_task(receive(n))
    assert {c.root for c in (await forest(w)).by_id.values()} == {min((await forest(w)).by_id)}


LINKS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=1, max_size=6)


def test_the_order_of_arrival_decides_nothing(postgres: servers.Postgres) -> None:
    """Automatic links through the database: the same groups whatever the order and the batches."""

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(LINKS, st.randoms(use_true_random=False), st.booleans())
    def same(links: list[tuple[int, int, bool]], dice: random.Random, at_once: bool) -> None:
        def events(order: list[tuple[int, int, bool]]) -> list[Event]:
            return [
                world_.message(sender=f"u{a}", verified_by="channel" if ok else None, also=also(f"u{b}", "chat"))
                for a, b, ok in order
            ]

        shuffled = dice.sample(links, len(links))
        first = loop.run_until_complete(outcome(world_, [[event] for event in events(links)]))
        batches = [events(shuffled)] if at_once else [[event] for event in events(shuffled)]
        assert loop.run_until_complete(outcome(world_, batches))[0] == first[0]

    loop = asyncio.new_event_loop()
    with contextlib.closing(loop):

        async def opened() -> World:
            return await stack.enter_async_context(world(await stack.enter_async_context(postgres.database())))

        stack = contextlib.AsyncExitStack()
        world_ = loop.run_until_complete(opened())
        try:
            same()
        finally:
            loop.run_until_complete(stack.aclose())
