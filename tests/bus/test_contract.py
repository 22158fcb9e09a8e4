"""What every bus promises, told over each implementation."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TypeVar

from shared.bus.contract import Bus
from shared.db.transaction import Transaction
from shared.errors import PoisonEvent, Unavailable
from shared.events import ConversationQueued, Event, Record, encode
from shared.ids import new_id
from shared.topics import Topic
from tests.bus.effects import MONDAY, PATIENCE, Effects, eventually, publish, records, text_of

T = TypeVar("T")


def _troubles(bus: Bus) -> Callable[[], Awaitable[Sequence[str]]]:
    async def ask() -> Sequence[str]:
        return bus.troubles()

    return ask


def _as_question(seen: list[T]) -> Callable[[], Awaitable[list[T]]]:
    async def ask() -> list[T]:
        return seen

    return ask


async def test_what_was_published_has_its_effect_once(bus: Bus, effects: Effects) -> None:
    wanted = [f"message {n}" for n in range(40)]
    async with bus.consuming(effects.consumer()):
        await publish(bus, *records(*wanted))
        # The vendor's retry, and ours.
        await publish(bus, *records("message 0"))
        assert (await effects.until(41))[:40] == wanted


async def test_the_same_record_twice_is_one_effect(bus: Bus, effects: Effects) -> None:
    [record] = records("Hallo")
    async with bus.consuming(effects.consumer()):
        await asyncio.gather(*(publish(bus, record) for _ in range(4)))
        await publish(bus, *records("danach"))
        assert await effects.until(2) == ["Hallo", "danach"]


async def test_each_key_keeps_its_order_under_many_publishers(bus: Bus, effects: Effects) -> None:
    keys = [f"page-{n % 3}/customer-{n}" for n in range(12)]
    numbers = [f"{n:03}" for n in range(25)]

    async def writes(key: str) -> None:
        for start in range(0, len(numbers), 5):
            await publish(bus, *records(*numbers[start : start + 5], key=key))

    async with bus.consuming(effects.consumer()):
        await asyncio.gather(*map(writes, keys))
        await effects.until(len(keys) * len(numbers))
    assert await effects.by_key() == dict.fromkeys(keys, numbers)


async def test_nothing_is_lost_or_overtaken_while_the_database_comes_and_goes(bus: Bus, effects: Effects) -> None:
    numbers = [f"{n:03}" for n in range(60)]
    turns = iter(range(1_000_000))

    async def flaky(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        if next(turns) % 3 == 1:
            raise Unavailable("the database is away")

    async with bus.consuming(effects.consumer(flaky)):
        for start in range(0, 60, 20):
            await publish(bus, *records(*numbers[start : start + 20]))
        assert await effects.until(60) == numbers


async def test_a_poison_event_is_put_aside_and_its_neighbours_are_handled(bus: Bus, effects: Effects) -> None:
    async def decides(tx: Transaction, events: Sequence[Event]) -> None:
        for position, event in enumerate(events):
            if text_of(event) == "poison":
                raise PoisonEvent(position, ValueError("Meine Karte ist 4111"))
        await effects.handle(tx, events)

    sent = records("eins", "poison", "zwei")
    async with bus.consuming(effects.consumer(decides)):
        await publish(bus, *sent)
        assert await effects.until(2) == ["eins", "zwei"]
        [letter] = await effects.until_letters(1)
    assert (letter.topic, letter.key, letter.value) == ("inbound", sent[1].key, sent[1].value)
    assert letter.headers.items() >= sent[1].headers.items()
    assert letter.code == "poison_event"
    assert "4111" not in letter.error
    assert not bus.troubles()


async def test_an_event_whose_data_the_database_refuses_is_found_among_many(bus: Bus, effects: Effects) -> None:
    texts = [f"message {n}" for n in range(30)]
    texts[17] = "a NUL \x00 that no text column takes"
    texts[23] = "and \x00 another"
    sent = records(*texts)
    async with bus.consuming(effects.consumer()):
        await publish(bus, *sent)
        assert await effects.until(28) == [text for text in texts if "\x00" not in text]
        letters = await effects.until_letters(2)
    assert {letter.value for letter in letters} == {sent[17].value, sent[23].value}
    assert {letter.code for letter in letters} == {"CharacterNotInRepertoireError"}


async def test_an_unreadable_record_is_put_aside_and_its_neighbours_are_handled(bus: Bus, effects: Effects) -> None:
    before, unreadable, after = records("eins", "kaputt", "zwei")
    unreadable = replace(unreadable, value=b'{"text": "Hal')
    foreign = Record(unreadable.topic, unreadable.key, {"ce_id": "x", "ce_type": "com.example.other"}, b"{}")
    async with bus.consuming(effects.consumer()):
        await publish(bus, before, unreadable, foreign, after)
        assert await effects.until(2) == ["eins", "zwei"]
        letters = await effects.until_letters(2)
    assert [(letter.value, letter.code) for letter in letters] == [
        (unreadable.value, "unreadable_event"),
        (b"{}", "no_event_type"),
    ]


async def test_an_unknown_type_of_ours_halts_the_consumer_and_is_told(bus: Bus, effects: Effects) -> None:
    [known] = records("Hallo")
    newer = replace(known, headers={**known.headers, "ce_type": "dragoman.message.sung.v1"})
    async with bus.consuming(effects.consumer()):
        with suppress(Unavailable):
            await bus.publish([newer])
        [trouble] = await eventually(_troubles(bus))
    assert "dragoman.message.sung.v1" in trouble
    assert await effects.letters() == []


async def test_a_fault_of_ours_halts_the_consumer_and_quotes_nobody(bus: Bus, effects: Effects) -> None:
    async def faulty(_tx: Transaction, events: Sequence[Event]) -> None:
        raise KeyError(text_of(events[0]))

    async with bus.consuming(effects.consumer(faulty)):
        with suppress(Unavailable):
            await bus.publish(records("Meine Karte ist 4111"))
        [trouble] = await eventually(_troubles(bus))
    assert "KeyError" in trouble
    assert "4111" not in trouble
    assert await effects.letters() == []


async def test_leaving_finishes_the_batch_in_hand_and_the_rest_comes_again(bus: Bus, effects: Effects) -> None:
    in_hand, go_on = asyncio.Event(), asyncio.Event()

    async def slow(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        in_hand.set()
        await go_on.wait()

    numbers = [f"{n:02}" for n in range(30)]
    async with asyncio.TaskGroup() as group, asyncio.timeout(PATIENCE):
        async with bus.consuming(effects.consumer(slow)):
            group.create_task(publish(bus, *records(*numbers)))
            await in_hand.wait()
            asyncio.get_running_loop().call_later(0.1, go_on.set)
        finished = await effects.texts()
        assert finished
        assert finished == numbers[: len(finished)]
        async with bus.consuming(effects.consumer()):
            assert await effects.until(30) == numbers


async def test_an_observer_sees_what_is_safe_and_its_failure_is_nobody_elses(bus: Bus, effects: Effects) -> None:
    seen: list[str] = []

    def breaks(_event: Event) -> None:
        raise ValueError("an observer's own fault")

    bus.observe(Topic.INBOUND, breaks)
    bus.observe(Topic.INBOUND, lambda event: seen.append(text_of(event)))
    quiet = asyncio.get_running_loop()
    quiet.set_exception_handler(lambda _loop, _context: None)
    async with bus.consuming(effects.consumer()):
        await publish(bus, *records("eins", "zwei"))
        await effects.until(2)
        await eventually(_as_question(seen), lambda known: len(known) == 2)
    assert seen == ["eins", "zwei"]


async def test_an_announcement_needs_no_reader(bus: Bus, effects: Effects) -> None:
    queued = Event(
        data=ConversationQueued(conversation_id=new_id(), n=1, at=MONDAY),
        key="conversation",
        source="router",
        time=MONDAY,
    )
    seen: list[Event] = []
    bus.observe(Topic.ROUTING, seen.append)
    await publish(bus, encode(queued))
    assert await eventually(_as_question(seen)) == [queued]
