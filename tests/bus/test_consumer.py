"""The consumer loop: what a batch can come to, with a handler and a database and no bus."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import asyncpg
import pytest

from shared.bus.consumer import POISON_IN_A_ROW, Halted, Loop, letter
from shared.db.transaction import Transaction
from shared.errors import BadPayload, Fenced, PoisonEvent, Unavailable
from shared.events import Event
from tests.bus.effects import Effects, records, text_of

Handler = Callable[[Transaction, Sequence[Event]], Awaitable[None]]


async def nothing(_tx: Transaction) -> None:
    """There is no place in a log to move."""


def failing(effects: Effects, *errors: Exception) -> Handler:
    """Does its work, and raises each error once before it goes through."""
    left = list(errors)

    async def handle(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        if left:
            raise left.pop(0)

    return handle


async def test_the_place_in_the_log_moves_with_the_effect_or_not_at_all(effects: Effects) -> None:
    async def another_owner(_tx: Transaction) -> None:
        raise Fenced

    with pytest.raises(Fenced):
        await Loop(effects.consumer()).handle(records("eins"), another_owner)
    assert await effects.texts() == []


async def test_the_place_in_the_log_moves_past_a_batch_of_dead_letters(effects: Effects) -> None:
    moved: list[int] = []

    async def advance(_tx: Transaction) -> None:
        moved.append(1)

    [record] = records("eins")
    await Loop(effects.consumer()).handle([replace(record, value=b"{")], advance)
    assert moved == [1]
    assert [found.code for found in await effects.letters()] == ["unreadable_event"]


@pytest.mark.parametrize("error", [asyncpg.DeadlockDetectedError(), asyncpg.SerializationError()], ids=repr)
async def test_a_deadlock_is_tried_again_without_the_publisher_hearing_of_it(
    effects: Effects, error: Exception
) -> None:
    await Loop(effects.consumer(failing(effects, error))).handle(records("eins"), nothing)
    assert await effects.texts() == ["eins"]


async def test_a_database_that_is_away_is_told_and_halts_nothing(effects: Effects) -> None:
    loop = Loop(effects.consumer(failing(effects, ConnectionRefusedError())))
    with pytest.raises(Unavailable):
        await loop.handle(records("eins"), nothing)
    assert loop.trouble == ""
    await loop.handle(records("eins"), nothing)
    assert await effects.texts() == ["eins"]


async def test_a_lost_race_for_a_unique_key_makes_no_event_dead(effects: Effects) -> None:
    loop = Loop(effects.consumer(failing(effects, asyncpg.UniqueViolationError())))
    await loop.handle(records("eins", "zwei"), nothing)
    assert await effects.texts() == ["eins", "zwei"]
    assert await effects.letters() == []


async def test_the_right_records_are_put_aside_when_several_are_wrong_in_several_ways(effects: Effects) -> None:
    async def decides(tx: Transaction, events: Sequence[Event]) -> None:
        for position, event in enumerate(events):
            if text_of(event).startswith("poison"):
                raise PoisonEvent(position, ValueError())
        await effects.handle(tx, events)

    sent = records("eins", "unreadable", "poison 1", "zwei", "NUL \x00", "drei", "poison 2")
    sent[1] = replace(sent[1], value=b"\xff")
    await Loop(effects.consumer(decides)).handle(sent, nothing)
    assert await effects.texts() == ["eins", "zwei", "drei"]
    assert {found.value for found in await effects.letters()} == {sent[n].value for n in (1, 2, 4, 6)}


async def test_a_constraint_that_speaks_only_at_the_commit_names_its_event_too(effects: Effects) -> None:
    async def later(tx: Transaction, events: Sequence[Event]) -> None:
        await tx.execute(
            "CREATE TEMP TABLE late (text text, UNIQUE (text) DEFERRABLE INITIALLY DEFERRED) ON COMMIT DROP"
        )
        for event in events:
            await tx.execute("INSERT INTO late VALUES ($1)", text_of(event))
        await effects.handle(tx, events)

    sent = records("eins", "zwei", "eins", "drei")
    await Loop(effects.consumer(later)).handle(sent, nothing)
    assert await effects.texts() == ["eins", "zwei", "drei"]
    assert [found.headers["ce_id"] for found in await effects.letters()] == [sent[2].headers["ce_id"]]


async def test_when_nothing_but_poison_comes_the_fault_is_ours(effects: Effects) -> None:
    loop = Loop(effects.consumer())
    bad = [replace(record, value=b"") for record in records(*map(str, range(POISON_IN_A_ROW - 1)))]
    await loop.handle(bad, nothing)
    with pytest.raises(Halted):
        await loop.handle(bad[:1], nothing)
    assert "in a row" in loop.trouble
    assert len(await effects.letters()) == POISON_IN_A_ROW - 1


async def test_one_good_event_ends_a_row_of_poison(effects: Effects) -> None:
    loop = Loop(effects.consumer())
    bad = [replace(record, value=b"") for record in records(*map(str, range(POISON_IN_A_ROW - 1)))]
    await loop.handle(bad, nothing)
    await loop.handle(records("eins"), nothing)
    await loop.handle(bad[:1], nothing)
    assert loop.trouble == ""


def test_a_dead_letter_quotes_our_words_and_never_those_of_a_library() -> None:
    [record] = records("Hallo")
    ours = letter(record, BadPayload("the page is not in the entry", code="no_page"))
    foreign = letter(record, ValueError("Meine Karte ist 4111"))
    assert (ours.code, ours.error) == ("no_page", "the page is not in the entry")
    assert (foreign.code, foreign.error) == ("ValueError", "ValueError")
