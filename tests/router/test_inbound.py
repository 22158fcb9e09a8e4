"""What becomes of inbound messages: conversations, languages, clocks and queues, once each."""

import asyncio

import asyncpg
import pytest

from services.router.domain.conversation import Change, Resolved
from services.router.store import conversations
from shared.db.transaction import Transaction
from shared.errors import PoisonEvent
from shared.events import Address, Event, Unrecognised
from tests.router.world import MONDAY, World, id_of


async def resolve(w: World) -> None:
    async with w.router.transaction() as tx:
        ids = [row["id"] for row in await tx.fetch("SELECT id FROM router.conversation")]
        configuration = await w.cache.current(tx)
        changes = []
        for c in (await conversations.lock(tx, ids)).values():
            change = Change.of(c, tx.now)
            change.record(Resolved(), "agent")
            changes.append(change)
        await conversations.save(tx, changes, configuration)


async def test_a_german_message_waits_in_the_german_pool_with_its_clock(w: World) -> None:
    await w.receive(w.message())
    (c,) = await w.fetch("SELECT * FROM router.conversation")
    assert (c["state"], c["language"], c["language_by"]) == ("waiting", "de", "words")
    assert (c["due_at"] - MONDAY).total_seconds() == 3600
    assert (c["next_step_at"] - MONDAY).total_seconds() == 1800
    (row,) = await w.fetch("SELECT * FROM router.queue")
    assert (row["pool_id"], row["sort_at"]) == (id_of("pool-de"), c["due_at"])
    (clock,) = await w.fetch("SELECT * FROM router.clock")
    assert (clock["state"], clock["due_at"]) == ("running", c["due_at"])
    assert (clock["due_at"] - clock["warn_at"]).total_seconds() == 1800
    kinds = [r["kind"] for r in await w.fetch("SELECT kind FROM router.history ORDER BY n")]
    assert kinds == ["opened", "message_received", "language_set", "clock_started", "queued"]
    assert c["version"] == len(kinds)
    assert await w.value("SELECT count(*) FROM bus.outbox WHERE topic = 'routing'") == 1


async def test_the_same_message_again_has_no_effect(w: World) -> None:
    event = w.message(key="m1")
    await w.receive(event, event)
    await w.receive(event)
    assert await w.value("SELECT count(*) FROM router.message") == 1
    assert await w.value("SELECT count(*) FROM router.conversation") == 1


async def test_what_event_one_opens_event_two_finds(w: World) -> None:
    await w.receive(w.message("Hallo, wo ist mein Paket?"), w.message("ok"), w.message("Danke schon einmal!"))
    (c,) = await w.fetch("SELECT * FROM router.conversation")
    assert c["language"] == "de"
    assert await w.value("SELECT count(*) FROM router.message") == 3
    assert await w.value("SELECT count(*) FROM router.clock") == 1


async def test_another_language_in_the_same_inbox_goes_to_another_pool(w: World) -> None:
    await w.receive(w.message("Où est ma commande ?"))
    (row,) = await w.fetch("SELECT c.language, q.pool_id FROM router.queue q, router.conversation c")
    assert tuple(row) == ("fr", id_of("pool-fr"))


async def test_only_an_image_speaks_the_inbox_language(w: World) -> None:
    await w.receive(w.message(""))
    (c,) = await w.fetch("SELECT language, language_by FROM router.conversation")
    assert tuple(c) == ("de", "inbox")


async def test_brands_do_not_share_a_customer(w: World) -> None:
    await w.receive(w.message(), w.message(inbox="other-chat"))
    assert await w.value("SELECT count(*) FROM router.customer") == 2
    assert await w.value("SELECT count(DISTINCT brand_id) FROM router.customer") == 2


async def test_a_new_message_reopens_what_was_lately_resolved(w: World) -> None:
    await w.receive(w.message())
    await resolve(w)
    assert await w.value("SELECT count(*) FROM router.queue") == 0
    w.clock.forward(hours=1)
    await w.receive(w.message("Immer noch nicht da!"))
    (c,) = await w.fetch("SELECT * FROM router.conversation")
    assert (c["state"], c["unanswered_since"]) == ("waiting", w.clock.at)
    states = [r["state"] for r in await w.fetch("SELECT state FROM router.clock ORDER BY started_at")]
    assert states == ["stopped", "running"]


async def test_after_the_reopen_window_a_new_conversation_begins(w: World) -> None:
    await w.receive(w.message())
    await resolve(w)
    w.clock.forward(days=10)
    await w.receive(w.message())
    assert await w.value("SELECT count(*) FROM router.conversation") == 2
    assert await w.value("SELECT count(*) FROM router.customer") == 1


async def test_threads_of_the_vendor_stay_apart(w: World) -> None:
    await w.receive(
        w.message(inbox="shop-market", thread="t1", text="Bonjour, où est mon colis ?"),
        w.message(inbox="shop-market", thread="t2", text="Je voudrais un remboursement"),
        w.message(inbox="shop-market", thread="t1", text="Merci de me répondre"),
    )
    assert await w.value("SELECT count(*) FROM router.conversation") == 2


async def test_a_late_arrival_is_put_in_its_place_and_never_restarts_a_clock(w: World) -> None:
    await w.receive(w.message())
    due_at = await w.value("SELECT due_at FROM router.conversation")
    w.clock.forward(minutes=20)
    await w.receive(w.message("Vorher geschrieben, später da", at=MONDAY.replace(hour=8)))
    assert await w.value("SELECT due_at FROM router.conversation") == due_at
    shown = await w.fetch("SELECT text FROM router.message ORDER BY occurred_at, received_at, id")
    assert shown[0]["text"].startswith("Vorher")


async def test_a_poison_event_is_named_and_its_neighbours_are_not(w: World) -> None:
    bad = w.message()
    object.__setattr__(bad, "inbox_id", id_of("nowhere"))
    with pytest.raises(PoisonEvent) as caught:
        await w.receive(w.message(), bad, w.message(sender="b"))
    assert (caught.value.position, caught.value.code) == (1, "unknown_inbox")


async def test_an_unrecognised_item_is_shown_but_opens_nothing(w: World) -> None:
    def reaction() -> Event:
        sender = Address(kind="chat", value="kunde", verified_by="channel")
        return w.event(
            Unrecognised(channel="chat", keys=["r1"], what="reaction", occurred_at=w.clock.at, sender=sender)
        )

    with pytest.raises(PoisonEvent):
        await w.receive(reaction())
    await w.receive(w.message())
    version = await w.value("SELECT version FROM router.conversation")
    await w.receive(reaction())
    assert await w.value("SELECT version FROM router.conversation") == version + 1
    assert await w.value("SELECT reason FROM router.message WHERE kind = 'unrecognised'") == "reaction"


async def test_a_message_keeps_the_bytes_that_the_vendor_sent(w: World) -> None:
    whole = {"text": b"Body=Gr\xc3\xbc\xc3\x9fe\x00", "bytes": b"\xff\xfe", "none": None}
    await w.receive(
        w.message("text", raw_text="Body=Grüße\x00"), w.message("bytes", raw=b"\xff\xfe"), w.message("none")
    )
    sender = Address(kind="chat", value="kunde", verified_by="channel")
    odd = Unrecognised(
        channel="chat", keys=["r1"], what="odd", occurred_at=w.clock.at, sender=sender, raw_text="{}", raw_ref="ab"
    )
    await w.receive(w.event(odd))
    found = {row["text"]: row["raw"] for row in await w.fetch("SELECT text, raw FROM router.message WHERE text <> ''")}
    assert found == whole
    (row,) = await w.fetch("SELECT raw, raw_ref FROM router.message WHERE kind = 'unrecognised'")
    assert tuple(row) == (b"{}", "ab")


@pytest.mark.alone
async def test_five_hundred_identifiers_each_four_times_at_once_are_five_hundred_messages(w: World) -> None:
    # As many as wait for a connection of the pool at once without giving up; the four of one stand side by side.
    places = asyncio.Semaphore(200)

    async def post(n: int) -> None:
        event = w.message(f"Nachricht Nummer {n} über mein Paket", key=f"m{n}", sender=f"s{n % 50}")

        async def work(tx: Transaction) -> None:
            await w.inbound(tx, [event])

        async with places:
            await w.router.retrying(work)

    results = await asyncio.gather(*(post(n) for n in range(500) for _ in range(4)), return_exceptions=True)
    assert [r for r in results if r is not None] == []
    assert await w.value("SELECT count(*) FROM router.message") == 500
    assert await w.value("SELECT count(*) FROM router.customer") == 50


@pytest.mark.parametrize("size", [1, 200])
async def test_a_batch_takes_a_fixed_number_of_statements(w: World, size: int) -> None:
    await w.receive(w.message(sender="warm"))
    async with w.router.transaction() as tx:
        await w.inbound(tx, [w.message(sender=f"s{n}") for n in range(size)])
        assert tx.statements == 18


async def test_the_database_refuses_a_reference_across_brands(w: World) -> None:
    await w.receive(w.message())
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await w.fetch("UPDATE router.message SET brand_id = $1", id_of("other"))


async def test_what_a_machine_wrote_is_shown_and_waits_for_nobody(w: World) -> None:
    await w.receive(w.message("Automatische Antwort: bin im Urlaub", automatic=True))
    (c,) = await w.fetch("SELECT * FROM router.conversation")
    assert (c["state"], c["due_at"], c["last_inbound_at"]) == ("resolved", None, None)
    assert await w.value("SELECT reason FROM router.message") == "written by a machine"
    assert await w.value("SELECT count(*) FROM router.clock") == 0
    assert await w.value("SELECT count(*) FROM router.queue") == 0


async def test_a_machines_answer_opens_nothing_again(w: World) -> None:
    await w.receive(w.message())
    await resolve(w)
    await w.receive(w.message("Out of office", automatic=True))
    (c,) = await w.fetch("SELECT * FROM router.conversation")
    assert c["state"] == "resolved"
    assert await w.value("SELECT count(*) FROM router.message") == 2
    assert await w.value("SELECT count(*) FROM router.history WHERE kind = 'reopened'") == 0


async def test_a_machines_answer_leaves_clock_queue_and_language_as_they_are(w: World) -> None:
    await w.receive(w.message())
    (before,) = await w.fetch("SELECT state, language, due_at, unanswered_since FROM router.conversation")
    await w.receive(w.message("I am out of the office until Monday, thank you for your patience", automatic=True))
    (after,) = await w.fetch("SELECT state, language, due_at, unanswered_since FROM router.conversation")
    assert after == before


async def test_after_a_machines_mail_answers_still_go_to_the_person(w: World) -> None:
    await w.receive(w.message(reply_context=b"the person's"))
    await w.receive(w.message("Out of office", automatic=True, reply_context=b"the machine's"))
    assert await w.value("SELECT reply_context FROM router.conversation") == b"the person's"
