"""Calls on their way: placed once, followed by what is told and by asking, ended once, whatever the order."""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from hypothesis import given
from hypothesis import strategies as st

from services.responder.app import serve
from services.responder.calls import order, progressed
from services.responder.domain.calls import End, conclude, fold
from shared.accounts import EMPTY_DIRECTORY
from shared.bus.contract import Consumer
from shared.channels.contract import Calls, Placed
from shared.db.transaction import Database, Transaction
from shared.errors import AccountBroken, OutcomeUnknown, Rejected, Throttled, Unavailable
from shared.events import CallEnded, CallProgressed, DeadLetter, Event, PlaceCall, WithdrawCall
from shared.ids import new_id
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.topics import Topic
from tests.bus.implementations import a_bus
from tests.responder.test_delivery import Stage, Vendor
from tests.router.world import configure, id_of

# The words of tests, and what is told by them: whose telephone, and its state.
TOLD: dict[str, dict[str, Any]] = {
    "rings": {"leg": "agent", "state": "ringing"},
    "answers": {"leg": "agent", "state": "answered"},
    "presses": {"leg": "agent", "state": "confirmed"},
    "presses nothing": {"leg": "agent", "state": "declined"},
    "over": {"leg": "agent", "state": "completed", "seconds": 61},
    "agent busy": {"leg": "agent", "state": "busy"},
    "agent absent": {"leg": "agent", "state": "no-answer"},
    "agent failed": {"leg": "agent", "state": "failed", "code": "sip_404"},
    "agent canceled": {"leg": "agent", "state": "canceled"},
    "customer rings": {"leg": "customer", "state": "ringing"},
    "customer answers": {"leg": "customer", "state": "answered"},
    "human": {"leg": "customer", "state": "answered", "answered_by": "human"},
    "machine": {"leg": "customer", "state": "answered", "answered_by": "machine_start"},
    "talked": {"leg": "customer", "state": "completed", "seconds": 42},
    "talked long": {"leg": "customer", "state": "completed", "seconds": 300},
    "busy": {"leg": "customer", "state": "busy"},
    "absent": {"leg": "customer", "state": "no-answer"},
    "failed": {"leg": "customer", "state": "failed", "code": "bad_number"},
    "canceled": {"leg": "customer", "state": "canceled"},
}


def told(words: str, call_id: UUID = UUID(int=1), external_id: str = "CA1") -> CallProgressed:
    facts = TOLD[words]
    return CallProgressed(
        channel="chat", keys=[f"{external_id}:{words}"], reference=str(call_id), at=datetime(2026, 8, 3, tzinfo=UTC),
        external_id=external_id if facts["leg"] == "agent" else f"{external_id}-customer", **facts,
    )  # fmt: skip


def ended(words: Sequence[str], **how: bool) -> End | None:
    legs: Any = {}
    for each in words:
        legs = fold(legs, told(each))
    return conclude(legs, **how)


COURSES = {
    "rings, answers, presses, customer rings, customer answers, human, talked, over": End("talked", 42),
    "rings, answers, presses, customer rings, customer answers, machine, talked, over": End("machine", 42),
    "rings, answers, presses, customer rings, machine, talked long, over": End("talked", 300),
    "rings, answers, presses, customer rings, busy, over": End("busy"),
    "rings, answers, presses, customer rings, absent, over": End("customer_absent"),
    "rings, answers, presses, failed, over": End("failed", code="bad_number"),
    "rings, answers, presses, customer rings, canceled, over": End("agent_absent"),
    "rings, agent busy": End("agent_absent"),
    "rings, agent absent": End("agent_absent"),
    "agent failed": End("agent_absent", code="sip_404"),
    "rings, agent canceled": End("agent_absent"),
    "rings, answers, presses nothing, over": End("agent_absent"),
}


@pytest.mark.parametrize("course", COURSES)
def test_a_call_ends_as_it_went(course: str) -> None:
    assert ended(course.split(", ")) == COURSES[course]


@given(st.data())
def test_in_whatever_order_and_however_often_it_is_told(data: st.DataObject) -> None:
    course = data.draw(st.sampled_from(sorted(COURSES)))
    words = course.split(", ")
    again = data.draw(st.permutations(words + data.draw(st.lists(st.sampled_from(words), max_size=4))))
    assert ended(again) == COURSES[course]


@pytest.mark.parametrize("course", COURSES)
def test_it_stays_open_until_that_is_sure(course: str) -> None:
    words = course.split(", ")
    ends = [ended(words[: n + 1]) for n in range(len(words))]
    first = next(n for n, end in enumerate(ends) if end is not None)
    assert all(end is None for end in ends[:first])
    assert {repr(end) for end in ends[first:]} == {repr(COURSES[course])}


def test_a_hung_up_whisper_is_sure_once_the_vendor_was_asked() -> None:
    whispered = ["rings", "answers", "over"]
    assert ended(whispered) is None
    assert ended(whispered, is_all=True) == End("agent_absent")
    # The key may only have been told late.
    assert ended([*whispered, "presses", "talked"]) == End("talked", 42)


def test_what_was_withdrawn_ends_so_unless_they_talked() -> None:
    assert ended(["rings", "agent canceled"], is_withdrawn=True) == End("withdrawn")
    assert ended(["presses", "customer rings", "canceled"], is_withdrawn=True) == End("withdrawn")
    assert ended(["presses", "talked", "over"], is_withdrawn=True) == End("talked", 42)


# with a database


@dataclass
class Exchange:
    """A vendor of calls: what it was asked for, and how it answers."""

    placed: list[PlaceCall] = field(default_factory=list)
    hung_up: list[str] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    # What following tells, by turns; the last one for ever.
    followed: list[list[str]] = field(default_factory=lambda: [[]])
    asked: list[Placed] = field(default_factory=list)

    async def place(self, _http: Any, command: PlaceCall, _account: Any, _inbox: Any, _url: str) -> str:
        self.placed.append(command)
        if self.errors:
            raise self.errors.pop(0)
        return "CA1"

    async def follow(self, _http: Any, placed: Placed, _account: Any, _inbox: Any) -> list[CallProgressed]:
        self.asked.append(placed)
        words = self.followed.pop(0) if len(self.followed) > 1 else self.followed[0]
        return [told(each, placed.command.call_id) for each in words]

    async def hang_up(self, _http: Any, external_id: str, _account: Any, _inbox: Any) -> None:
        self.hung_up.append(external_id)

    @property
    def calls(self) -> Calls:
        return Calls(place=self.place, follow=self.follow, hang_up=self.hang_up)


class Ahead:
    """The time as it goes on, moved by tests."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    async def now(self, _connection: Any) -> datetime:
        return datetime.now(UTC) + self.ahead


class Office(Stage):
    clock: Ahead

    async def call(self, **more: Any) -> UUID:
        fields: dict[str, Any] = {
            "call_id": new_id(), "conversation_id": new_id(), "inbox_id": id_of("shop-chat"), "agent_id": new_id(),
            "number": 1, "channel": "chat", "agent_phone": "+493023125001", "customer_phone": "+493023125123",
            "whisper": "Hallo", "language": "de",
            "expires_at": datetime.now(UTC) + self.clock.ahead + timedelta(minutes=2),
        }  # fmt: skip
        command = PlaceCall(**fields | more)
        await self.publish(command, command)
        return command.call_id

    async def progress(self, call_id: UUID, *words: str) -> None:
        await self.publish(*(told(each, call_id) for each in words))

    async def end(self) -> CallEnded:
        await self.until(lambda: self.of(CallEnded), 15)
        (found,) = self.of(CallEnded)
        assert isinstance(found, CallEnded)
        return found

    async def state(self) -> Any:
        return await self.value("SELECT state FROM responder.call")

    async def until_state(self, state: str) -> None:
        for _ in range(1000):
            if await self.state() == state:
                return
            await self.until(lambda: True)
        raise AssertionError(await self.state())


@asynccontextmanager
async def office(url: str, exchange: Exchange) -> AsyncIterator[Office]:
    clock = Ahead()
    database = Database(url, role=None, size=4, clock=clock)
    await database.open()
    await configure(database)
    bus = a_bus(7)
    channel = Vendor().channel()
    line = type(channel)(**{name: getattr(channel, name) for name in channel.__slots__} | {"calls": exchange.calls})
    parts = Parts(
        settings=Settings(), database_url=url, bus=bus, vault=Vault([Fernet.generate_key().decode()]), clock=clock
    )
    made = Office(database, bus, Vendor())
    made.clock = clock

    async def keep(_tx: Transaction, batch: Any) -> None:
        made.told += [event.data for event in batch]

    topics = (Topic.RESULTS, Topic.ALERTS, Topic.DEAD)
    async with AsyncExitStack() as stack:
        for topic in topics:
            consumer = Consumer(group="test", topic=topic, handler=keep, database=database)
            await stack.enter_async_context(bus.consuming(consumer))
        await stack.enter_async_context(serve(parts, channels=(line,)))
        yield made
    await database.close()


async def test_a_call_is_placed_once_though_its_command_comes_twice_and_told_once(database_url: str) -> None:
    async with office(database_url, exchange := Exchange()) as o:
        call_id = await o.call()
        await o.until(lambda: exchange.placed)
        course = ["rings", "answers", "presses", "customer rings", "human", "talked", "over"]
        for words in itertools.chain(course, reversed(course)):
            await o.progress(call_id, words)
        end = await o.end()
        assert (end.call_id, end.outcome, end.seconds) == (call_id, "talked", 42)
        assert len(exchange.placed) == 1
        assert len(o.of(CallEnded)) == 1


async def test_what_is_told_before_the_vendor_has_answered_counts(database_url: str) -> None:
    exchange = Exchange(errors=[OutcomeUnknown()])
    async with office(database_url, exchange) as o:
        call_id = await o.call()
        await o.until(lambda: exchange.placed)
        await o.progress(call_id, "rings", "agent busy")
        assert (await o.end()).outcome == "agent_absent"
        assert len(exchange.placed) == 1


async def test_an_unknown_one_is_asked_about_and_not_dialled_again(database_url: str) -> None:
    exchange = Exchange(errors=[OutcomeUnknown()], followed=[["rings"], ["rings", "answers", "presses", "talked"]])
    async with office(database_url, exchange) as o:
        await o.call()
        await o.until_state("unknown")
        o.clock.ahead += timedelta(seconds=6)
        await o.until(lambda: exchange.asked)
        assert exchange.asked[0].external_id is None
        await o.until_state("placed")
        o.clock.ahead += timedelta(seconds=61)
        assert (await o.end()).outcome == "talked"
        assert len(exchange.placed) == 1


async def test_one_that_the_vendor_never_had_is_dialled_again_but_not_for_a_list_that_lags(database_url: str) -> None:
    exchange = Exchange(errors=[OutcomeUnknown()])
    async with office(database_url, exchange) as o:
        await o.call()
        await o.until_state("unknown")
        o.clock.ahead += timedelta(seconds=6)
        await o.until(lambda: exchange.asked)
        assert len(exchange.placed) == 1
        o.clock.ahead += timedelta(seconds=15)
        await o.until(lambda: len(exchange.placed) == 2)


async def test_after_two_minutes_nobody_waits_for_a_call_any_more(database_url: str) -> None:
    async with office(database_url, exchange := Exchange(errors=[Unavailable(code="no_connection")] * 100)) as o:
        await o.call()
        await o.until(lambda: exchange.placed)
        o.clock.ahead += timedelta(minutes=3)
        end = await o.end()
        assert (end.outcome, end.code) == ("failed", "no_connection")


async def test_a_vendor_that_asks_to_wait_is_asked_again(database_url: str) -> None:
    exchange = Exchange(errors=[Throttled(retry_after=timedelta(0)), Unavailable()])
    async with office(database_url, exchange) as o:
        await o.call()
        await o.until(lambda: len(exchange.placed) == 3)


@pytest.mark.parametrize("error", [Rejected(code="bad_number"), AccountBroken(code="forbidden")], ids=str)
async def test_what_the_vendor_refuses_fails_at_once(database_url: str, error: Exception) -> None:
    async with office(database_url, exchange := Exchange(errors=[error])) as o:
        await o.call()
        end = await o.end()
        assert (end.outcome, end.code) == ("failed", error.code)  # type: ignore[attr-defined]
        assert len(exchange.placed) == 1
        alerts = await o.value("SELECT count(*) FROM bus.outbox WHERE topic = 'alerts'")
        assert alerts == isinstance(error, AccountBroken)


async def test_webhooks_that_never_come_are_made_up_for_by_asking(database_url: str) -> None:
    exchange = Exchange(followed=[["answers"], ["over"], ["over"]])
    async with office(database_url, exchange) as o:
        await o.call()
        await o.until_state("placed")
        for n in range(3):
            o.clock.ahead += timedelta(seconds=61)
            await o.until(lambda n=n: len(exchange.asked) > n or o.of(CallEnded), 15)  # type: ignore[misc]
        assert (await o.end()).outcome == "agent_absent"


async def test_one_that_is_withdrawn_before_it_is_placed_calls_nobody(database_url: str) -> None:
    exchange = Exchange(errors=[Throttled(retry_after=timedelta(seconds=30))])
    async with office(database_url, exchange) as o:
        call_id = await o.call()
        await o.until(lambda: exchange.placed)
        await o.until_state("waiting")
        await o.publish(WithdrawCall(call_id=call_id, conversation_id=new_id()))
        assert (await o.end()).outcome == "withdrawn"


@pytest.mark.parametrize(("words", "hung_up"), [(["rings"], ["CA1"]), (["presses", "customer answers"], [])])
async def test_one_that_is_withdrawn_is_hung_up_unless_they_talk(
    database_url: str, words: list[str], hung_up: list[str]
) -> None:
    exchange = Exchange(followed=[words])
    async with office(database_url, exchange) as o:
        call_id = await o.call()
        await o.until_state("placed")
        withdrawal = WithdrawCall(call_id=call_id, conversation_id=new_id())
        event = Event(data=withdrawal, key="k", source="test", time=datetime.now(UTC))
        async with o.database.transaction() as tx:
            await order(tx, [(event, withdrawal)], EMPTY_DIRECTORY)
            # What is told before anybody could look at it does not put it off.
            await progressed(tx, [told(each, call_id) for each in words])
        await o.until(lambda: exchange.asked)
        await o.until(lambda: exchange.hung_up or not hung_up)
        assert exchange.hung_up[:1] == hung_up


async def test_what_names_no_call_of_ours_is_set_aside_and_holds_nobody_back(database_url: str) -> None:
    async with office(database_url, exchange := Exchange()) as o:
        call_id = await o.call()
        await o.until(lambda: exchange.placed)
        await o.progress(new_id(), "over")
        await o.publish(CallProgressed(channel="chat", keys=["x"], reference="nobody", external_id="CA9", leg="agent",
                                       state="completed", at=datetime(2026, 8, 3, tzinfo=UTC)))  # fmt: skip
        await o.progress(call_id, "agent busy")
        assert (await o.end()).outcome == "agent_absent"
        assert [letter.code for letter in o.of(DeadLetter)] == ["no_reference"]


async def test_a_line_that_is_not_configured_fails_at_once(database_url: str) -> None:
    async with office(database_url, Exchange()) as o:
        await o.call(inbox_id=new_id())
        end = await o.end()
        assert (end.outcome, end.code) == ("failed", "unknown_inbox")
