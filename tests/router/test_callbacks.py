"""A wish to be called: its hours, its clock, who is called for it, and what follows from how a call ended."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from services.router.check import check
from services.router.dispatch import dispatch_round
from services.router.store import conversations
from services.router.timers import requeue_abandoned
from shared.channels.contract import Permission
from shared.errors import PoisonEvent
from shared.events import PlaceCall
from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.api.parts import an_api, an_app
from tests.router.line import LONDON, a_wish, come_due, commands, hang_up, the_conversation, with_a_line
from tests.router.test_dispatch import sweep
from tests.router.world import MONDAY, World, id_of


async def history(w: World) -> list[str]:
    async with w.router.transaction() as tx:
        rows = await conversations.history(tx, await the_conversation(w))
    return [str(row.entry.__struct_config__.tag) for row in rows]


async def state(w: World) -> tuple[Any, ...]:
    """Of the conversation and its callback."""
    (row,) = await w.fetch(
        "SELECT c.state AS conversation, b.state AS callback, b.attempts FROM router.conversation c "
        "JOIN router.callback b ON b.conversation_id = c.id"
    )
    return tuple(row)


async def clocks(w: World) -> list[tuple[Any, ...]]:
    rows = await w.fetch("SELECT state, started_at, due_at FROM router.clock ORDER BY started_at")
    return [tuple(row) for row in rows]


async def offered(w: World, *agents: str) -> None:
    await w.there(*agents)
    async with w.router.transaction() as tx:
        assert await dispatch_round(tx, w.cache, frozenset({"phone"})) >= 1


async def called(api: Client, agent: str = "anna", wish: Any = None) -> str:
    """The path of a conversation for which the agent is being called."""
    await api.world.receive(wish or a_wish(api.world, text="Mein Paket ist weg, bitte rufen Sie an."))
    await offered(api.world, agent)
    path = f"/v1/conversations/{await the_conversation(api.world)}"
    answer = await api.post(f"{path}/accept", agent)
    assert answer.status_code == 200, answer.text
    return path


@pytest.fixture
async def api(w: World) -> AsyncIterator[Client]:
    await with_a_line(w)
    client = Client(an_app(an_api(w)), w)
    async with client.http:
        yield client


@pytest.fixture
async def lined(w: World) -> World:
    await with_a_line(w)
    return w


async def test_a_wish_waits_in_the_queue_of_its_language_with_a_quarter_of_an_hour(lined: World) -> None:
    await lined.receive(a_wish(lined, name="Ina Kunde", text="Bitte rufen Sie mich wegen meiner Bestellung an."))
    assert await state(lined) == ("waiting", "queued", 0)
    assert await clocks(lined) == [("running", MONDAY, MONDAY + timedelta(minutes=15))]
    (row,) = await lined.fetch("SELECT c.language, c.weight, k.name FROM router.conversation c, router.customer k")
    assert tuple(row) == ("de", 1, "Ina Kunde")
    assert await history(lined) == ["opened", "message_received", "language_set", "clock_started", "queued"]


async def test_in_great_britain_five_minutes_and_by_the_country_of_the_number(lined: World) -> None:
    await lined.receive(a_wish(lined, LONDON))
    assert await clocks(lined) == [("running", MONDAY, MONDAY + timedelta(minutes=5))]


@pytest.mark.parametrize(
    ("phone", "told", "text", "language"),
    [
        ("+493023125123", None, "", "de"),
        ("+493023125123", "fr", "", "fr"),
        ("+493023125123", None, "Bonjour, je voudrais parler à quelqu'un de ma commande.", "fr"),
        ("+493023125123", "de", "Bonjour, je voudrais parler à quelqu'un.", "de"),
        # Four languages are spoken there: nobody is told that it is German.
        ("+41446681800", None, "", None),
        ("+41446681800", None, "Ich möchte bitte zurückgerufen werden, danke.", "de"),
    ],
)
async def test_the_language_is_the_told_one_else_the_words_else_a_country_of_one(
    lined: World, phone: str, told: str | None, text: str, language: str | None
) -> None:
    await lined.receive(a_wish(lined, phone, language=told, text=text))
    assert await lined.value("SELECT language FROM router.conversation") == language


async def test_a_preferred_time_waits_for_its_hour_and_its_clock_begins_then(lined: World) -> None:
    at = MONDAY + timedelta(hours=5)
    await lined.receive(a_wish(lined, preferred_at=at, zone="Europe/Berlin"))
    assert await state(lined) == ("scheduled", "scheduled", 0)
    assert await clocks(lined) == []
    lined.clock.forward(hours=4, minutes=59)
    assert await come_due(lined) == 0
    lined.clock.forward(minutes=3)
    assert await come_due(lined) == 1
    assert await state(lined) == ("waiting", "queued", 0)
    assert await clocks(lined) == [("running", at, at + timedelta(minutes=15))]


async def test_at_night_it_waits_for_the_morning_of_the_customer(lined: World) -> None:
    # 22:30 in Berlin, when it is half past four in the afternoon in New York.
    lined.clock.forward(hours=12, minutes=30)
    await lined.receive(a_wish(lined, zone="Europe/Berlin"), a_wish(lined, LONDON, zone="America/New_York"))
    rows = await lined.fetch("SELECT state, next_at FROM router.callback ORDER BY phone DESC")
    assert tuple(rows[0]) == ("scheduled", MONDAY + timedelta(hours=23))
    assert rows[1]["state"] == "queued"


async def test_what_nobody_took_in_the_customers_hours_waits_for_the_next_ones_with_its_clock(lined: World) -> None:
    await lined.receive(a_wish(lined))
    lined.clock.forward(hours=10)
    assert await come_due(lined) == 1
    assert await state(lined) == ("scheduled", "scheduled", 0)
    assert await lined.value("SELECT count(*) FROM router.queue") == 0
    assert [c[0] for c in await clocks(lined)] == ["running"]
    lined.clock.forward(hours=13)
    assert await come_due(lined) == 1
    assert await state(lined) == ("waiting", "queued", 0)
    assert len(await clocks(lined)) == 1


async def test_a_second_wish_changes_the_time_of_the_first_and_one_that_waits_goes_on(lined: World) -> None:
    later, sooner = MONDAY + timedelta(hours=5), MONDAY + timedelta(hours=2)
    await lined.receive(a_wish(lined, preferred_at=later))
    await lined.receive(a_wish(lined, preferred_at=sooner), a_wish(lined, preferred_at=sooner))
    assert await lined.value("SELECT next_at FROM router.callback") == sooner
    await lined.receive(a_wish(lined))
    assert await state(lined) == ("waiting", "queued", 0)
    await lined.receive(a_wish(lined, preferred_at=later))
    assert await state(lined) == ("waiting", "queued", 0)
    assert await lined.value("SELECT count(*) FROM router.message") == 5


async def test_a_number_that_is_not_called_is_a_dead_letter_and_holds_nobody_back(lined: World) -> None:
    with pytest.raises(PoisonEvent) as poison:
        await lined.receive(a_wish(lined), a_wish(lined, "+499001234567"))
    assert (poison.value.position, poison.value.code) == (1, "number_not_called")


async def over(w: World) -> None:
    """Somebody has talked to everybody who wanted it."""
    await w.fetch("UPDATE router.callback SET state = 'done', next_at = NULL")


async def test_whoever_rings_again_and_again_is_called_three_times_a_day(lined: World) -> None:
    await lined.receive(*(a_wish(lined) for _ in range(5)))
    assert await lined.value("SELECT count(*) FROM router.message") == 5, (
        "while they wait, nothing of it is a call more"
    )
    await over(lined)
    with pytest.raises(PoisonEvent) as poison:
        await lined.receive(a_wish(lined, LONDON), a_wish(lined))
    assert (poison.value.position, poison.value.code) == (1, "too_many_callbacks")
    lined.clock.forward(hours=24, seconds=1)
    await lined.receive(a_wish(lined))
    assert await lined.value("SELECT count(*) FROM router.callback") == 2


@pytest.mark.parametrize("together", [True, False])
async def test_whoever_rings_under_ever_other_numbers_uses_up_the_brands_limit(w: World, together: bool) -> None:
    await with_a_line(w, a_day=3)
    await with_a_line(w, "other", a_day=3)
    numbers = [f"+4930231251{n:02}" for n in range(4)]
    if not together:
        for number in numbers[:3]:
            await w.receive(a_wish(w, number))
    with pytest.raises(PoisonEvent) as poison:
        await w.receive(*(a_wish(w, number) for number in (numbers if together else numbers[3:])))
    assert (poison.value.position, poison.value.code) == (3 if together else 0, "too_many_callbacks")
    await w.receive(a_wish(w, numbers[3], brand="other"))


@pytest.mark.parametrize("agent", ["anna", "bernd"])
async def test_only_who_has_a_telephone_is_offered_a_call(w: World, agent: str) -> None:
    await with_a_line(w, phones=[agent])
    await w.receive(a_wish(w))
    await offered(w, "anna", "bernd", "gina")
    assert await w.value("SELECT agent_id FROM router.conversation") == id_of(agent)


async def test_whoever_accepts_is_called_and_hears_who_waits(w: World, api: Client) -> None:
    wish = a_wish(w, name="Ina Kunde", matter="A-1007", language="de")
    await called(api, wish=wish)
    (command,) = await commands(w)
    assert isinstance(command, PlaceCall)
    assert (command.agent_phone, command.customer_phone) == ("+493023125000", "+493023125123")
    assert (command.language, command.whisper) == ("de", "Rückruf für shop: Ina Kunde. Es geht um A-1007.")
    assert command.expires_at == w.clock.at + timedelta(minutes=2)
    assert await state(w) == ("assigned", "calling", 0)
    assert (await history(w))[-2:] == ["assigned", "call_placed"]


async def test_a_talk_meets_the_clock_when_it_began_and_stands_in_the_history(w: World, api: Client) -> None:
    path = await called(api)
    w.clock.forward(minutes=3)
    await hang_up(w, "talked", seconds=42)
    assert await state(w) == ("assigned", "done", 0)
    assert await w.value("SELECT ended_at FROM router.clock") == w.clock.at - timedelta(seconds=42)
    shown = (await api.get(path)).json()
    (call,) = [m for m in shown["messages"] if m["kind"] == "call"]
    assert (call["state"], call["reason"], call["author_id"]) == ("talked", "42 s", str(id_of("anna")))
    entries = (await api.get(f"{path}/history")).json()["items"]
    assert entries[-1]["kind"] == "call_ended"
    assert (entries[-1]["data"]["outcome"], entries[-1]["data"]["seconds"]) == ("talked", 42)
    assert await check(w.router) == (1, [])
    assert (await api.post(f"{path}/resolve", body={})).status_code == 200


@pytest.mark.parametrize(("outcome", "minutes"), [("customer_absent", 120), ("machine", 120), ("busy", 15)])
async def test_who_was_not_reached_is_called_again_later(w: World, api: Client, outcome: str, minutes: int) -> None:
    await called(api)
    await hang_up(w, outcome)
    assert await state(w) == ("scheduled", "scheduled", 1)
    assert await w.value("SELECT next_at FROM router.callback") == w.clock.at + timedelta(minutes=minutes)
    # They were called back in time; the next call has a clock of its own.
    assert [c[0] for c in await clocks(w)] == ["met"]
    w.clock.forward(minutes=minutes)
    assert await come_due(w) == 1
    assert [c[0] for c in await clocks(w)] == ["met", "running"]
    assert await check(w.router) == (1, [])


async def test_an_agent_who_is_not_there_gives_it_back_with_its_age_and_is_not_asked_again(
    w: World, api: Client
) -> None:
    await called(api)
    w.clock.forward(minutes=1)
    await hang_up(w, "agent_absent")
    assert await state(w) == ("waiting", "queued", 0)
    (row,) = await w.fetch("SELECT queued_at, declined_by, unanswered_since FROM router.conversation")
    assert tuple(row) == (MONDAY, [id_of("anna")], MONDAY)
    assert await w.value("SELECT lapses FROM router.presence") == 1
    async with w.router.transaction() as tx:
        assert await dispatch_round(tx, w.cache, frozenset({"phone"})) == 0
    await offered(w, "bernd")
    assert await check(w.router) == (1, [])


async def test_a_failed_call_stays_with_the_agent_who_may_call_again(w: World, api: Client) -> None:
    path = await called(api)
    assert (await api.post(f"{path}/call")).json()["code"] == "called_already"
    await hang_up(w, "failed", code="country_not_enabled")
    assert await state(w) == ("assigned", "failed", 0)
    assert [c[0] for c in await clocks(w)] == ["running"]
    again = await api.post(f"{path}/call")
    assert again.status_code == 202, again.text
    assert len(await commands(w)) == 2
    await hang_up(w, "talked", seconds=5)
    assert await state(w) == ("assigned", "done", 0)


async def three_calls(w: World, api: Client) -> None:
    await called(api)
    for _ in range(2):
        await hang_up(w, "customer_absent")
        w.clock.forward(hours=2)
        assert await come_due(w) == 1
        await offered(w, "anna")
        assert (await api.post(f"/v1/conversations/{await the_conversation(w)}/accept")).status_code == 200
    await hang_up(w, "customer_absent")


async def one_person(w: World) -> None:
    """Whoever wrote in the chat is known to have the telephone that asks for calls."""
    await w.fetch(
        "INSERT INTO router.identity (id, brand_id, kind, value, scope, name, customer_id, created_at) "
        "SELECT gen_random_uuid(), brand_id, 'phone', '+493023125123', $2, '', id, $1 FROM router.customer",
        w.clock.at, str(id_of("shop-line")),
    )  # fmt: skip


async def test_after_three_calls_they_are_written_to_where_they_wrote(w: World, api: Client) -> None:
    wrote = w.message("Hallo, sind Sie da? Ich habe eine Frage.", sender="kunde")
    await w.receive(wrote)
    await w.there("bernd")
    chat = await w.value("SELECT id FROM router.conversation")
    await api.post(f"/v1/conversations/{chat}/resolve", "sam", {})
    await one_person(w)
    await three_calls(w, api)
    rows = {r["id"]: r["state"] for r in await w.fetch("SELECT id, state FROM router.conversation")}
    assert rows == {chat: "waiting", await the_conversation(w): "resolved"}
    assert await w.value("SELECT state FROM router.callback") == "written"
    note = await w.value("SELECT text FROM router.message WHERE kind = 'note' AND conversation_id = $1", chat)
    assert note.startswith("Called 3 times")
    assert (
        await w.value("SELECT count(*) FROM router.clock WHERE conversation_id = $1 AND state = 'running'", chat) == 1
    )
    assert await check(w.router) == (2, [])


async def test_without_anywhere_to_write_the_last_agent_sees_it(w: World, api: Client) -> None:
    await w.receive(w.message(sender="somebody else"))
    await three_calls(w, api)
    (row,) = await w.fetch(
        "SELECT c.state, c.agent_id, b.state AS callback, b.attempts FROM router.conversation c "
        "JOIN router.callback b ON b.conversation_id = c.id"
    )
    assert tuple(row) == ("assigned", id_of("anna"), "unreached", 3)
    note = await w.value("SELECT text FROM router.message WHERE kind = 'note'")
    assert "no conversation to write in" in note
    assert await check(w.router) == (2, [])


async def test_where_nobody_may_write_any_more_they_are_not_written_to(w: World, api: Client) -> None:
    await w.receive(w.message(sender="kunde"))
    await one_person(w)
    closed = Permission(allowed=False, reason="window_closed")
    w.channels = tuple(replace(c, may_write=lambda *_: closed) if c.name == "chat" else c for c in w.channels)
    await three_calls(w, api)
    assert await w.value("SELECT state FROM router.callback") == "unreached"


@pytest.mark.parametrize(("opted_out", "state"), [(True, "unreached"), (False, "written")])
async def test_who_opted_out_of_an_inbox_is_not_written_to_there(
    w: World, api: Client, opted_out: bool, state: str
) -> None:
    await w.receive(w.message(sender="kunde"))
    await one_person(w)
    await w.fetch(
        "INSERT INTO router.opt_out (inbox_id, kind, value, brand_id, at, opted_out, marketing_only) "
        "VALUES ($1, 'chat', 'kunde', $2, $3, $4, false)",
        id_of("shop-chat"), id_of("shop"), w.clock.at, opted_out,
    )  # fmt: skip
    await three_calls(w, api)
    assert await w.value("SELECT state FROM router.callback") == state


async def test_whoever_talks_for_an_hour_is_not_taken_for_gone(w: World, api: Client) -> None:
    await called(api)
    await w.fetch("UPDATE router.presence SET until = $1", w.clock.at)
    w.clock.forward(minutes=5)
    assert await sweep(w, requeue_abandoned) == 0
    assert await state(w) == ("assigned", "calling", 0)


async def test_the_end_of_another_call_is_kept_and_changes_nothing(w: World, api: Client) -> None:
    await called(api)
    await hang_up(w, "customer_absent", call_id=new_id())
    assert await state(w) == ("assigned", "calling", 0)
    assert await w.value("SELECT count(*) FROM router.message WHERE kind = 'call'") == 1


async def test_what_the_agent_resolved_meanwhile_is_not_called_again(w: World, api: Client) -> None:
    path = await called(api)
    assert (await api.post(f"{path}/resolve", body={})).status_code == 200
    await hang_up(w, "customer_absent")
    assert await state(w) == ("resolved", "done", 0)
    assert await check(w.router) == (1, [])


async def test_a_scheduled_one_that_was_resolved_is_not_called(w: World, api: Client) -> None:
    await w.receive(a_wish(w, preferred_at=w.clock.at + timedelta(hours=3)))
    assert (await api.post(f"/v1/conversations/{await the_conversation(w)}/resolve", "sam", {})).status_code == 200
    w.clock.forward(hours=4)
    await come_due(w)
    assert await state(w) == ("resolved", "withdrawn", 0)
    # Whoever asks again begins anew.
    await w.receive(a_wish(w))
    (row,) = await w.fetch("SELECT state FROM router.callback ORDER BY created_at DESC LIMIT 1")
    assert row["state"] == "queued"
