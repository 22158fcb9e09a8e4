"""Somebody asks for a call; an agent of their language is called, hears who waits, is connected: all in one process."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from shared.clock import Reader
from tests.e2e.running import Running, running, until

INA, ANNA = "+493023125123", "+493023125001"
JO = "+4917604069001"
GONE = ["opened", "message_received", "language_set", "clock_started", "queued", "offered", "assigned", "call_placed"]


class Noon:
    """Noon in Berlin when the test begins, so that no test calls at night; then time goes on as it does."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        self.ahead = now.astimezone(ZoneInfo("Europe/Berlin")).replace(hour=12, minute=0) - now

    async def now(self, connection: Reader) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
async def run(database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database_url, tmp_path, clock=Noon()) as made:
        yield made


async def asked(run: Running, **more: Any) -> dict[str, Any]:
    for brand in (await run.get("/v1/me", "sam")).json()["brands"]:
        body = {"phone": INA, "name": "Ina Kunde", "matter": "A-1007", "brand_id": brand, "language": "de", **more}
        answer = await run.post("/v1/callback-requests", "sam", body)
        if answer.status_code == 202:
            found: dict[str, Any] = answer.json()
            return found
    raise AssertionError(answer.text)


async def telephone(run: Running, number: str, **does: Any) -> None:
    await run.control("phone/telephones", {"number": number, **does})


async def calls(run: Running) -> list[dict[str, Any]]:
    found: Any = await run.control("phone/calls")
    return list(found)


async def accepted(run: Running, agent: str = "anna") -> str:
    """The path of the conversation that was offered to the agent, who takes it."""

    async def offered() -> Any:
        items = (await run.get("/v1/conversations?agent=me&state=offered", agent)).json()["items"]
        return items[0] if items else None

    item: Any = await until(offered)
    path = f"/v1/conversations/{item['id']}"
    answer = await run.post(f"{path}/accept", agent)
    assert answer.status_code == 200, answer.text
    return path


async def ended(run: Running, callback: dict[str, Any], state: str) -> dict[str, Any]:
    async def there() -> Any:
        shown = (await run.get(f"/v1/callback-requests/{callback['id']}", "sam")).json()
        return shown if shown["state"] == state and shown["outcome"] else None

    found: Any = await until(there, 30)
    return dict(found)


async def kinds(run: Running, path: str) -> list[str]:
    return [item["kind"] for item in (await run.get(f"{path}/history", "sam")).json()["items"]]


async def test_a_callback_from_the_wish_to_the_talk(run: Running) -> None:
    await telephone(run, INA, talks=42)
    callback = await asked(run, text="Meine Lieferung ist unvollständig.")
    assert (callback["state"], callback["phone"], callback["zone"]) == ("queued", INA, "Europe/Berlin")
    await run.there("anna", "claire", "sanne")
    path = await accepted(run)
    await ended(run, callback, "done")
    agent, customer = await calls(run)
    line = "+493023125100"
    assert [(c["from"], c["to"]) for c in (agent, customer)] == [(line, ANNA), (line, INA)]
    assert {said["language"] for said in agent["said"]} == {"de-DE"}
    assert agent["said"][0]["text"] == "Rückruf für Alpenlicht: Ina Kunde. Es geht um A-1007."
    assert "1" in agent["said"][1]["text"]
    assert agent["errors"] == customer["errors"] == []
    assert await kinds(run, path) == [*GONE, "call_ended"]
    shown = (await run.get(path, "anna")).json()
    (talk,) = [m for m in shown["messages"] if m["kind"] == "call"]
    assert (talk["state"], talk["reason"]) == ("talked", "42 s")
    assert (shown["state"], shown["due_at"], shown["may_write"]["reason"]) == ("assigned", None, "calls_only")
    assert [t["kind"] for t in shown["timeline"]] == ["call", "inbound"]
    ready = await run.http.get(f"{run.url}/health/ready")
    assert ready.status_code == 200, ready.text


@pytest.mark.parametrize(
    ("number", "does", "outcome", "state", "dialled"),
    [
        # The agent's telephone rings.
        (ANNA, {"does": "no_answer"}, "agent_absent", "queued", 1),
        (ANNA, {"does": "busy"}, "agent_absent", "queued", 1),
        (ANNA, {"does": "fail"}, "agent_absent", "queued", 1),
        # It is answered: by a machine, by somebody who presses nothing or another key, or who hangs up.
        (ANNA, {"does": "machine"}, "agent_absent", "queued", 1),
        (ANNA, {"presses": ""}, "agent_absent", "queued", 1),
        (ANNA, {"presses": "7"}, "agent_absent", "queued", 1),
        (ANNA, {"hangs_up": "whisper"}, "agent_absent", "queued", 1),
        # The customer's telephone rings.
        (ANNA, {"hangs_up": "customer_ringing"}, "agent_absent", "queued", 2),
        (INA, {"does": "no_answer"}, "customer_absent", "scheduled", 2),
        (INA, {"does": "busy"}, "busy", "scheduled", 2),
        (INA, {"does": "machine", "talks": 9}, "machine", "scheduled", 2),
        (INA, {"does": "fail"}, "failed", "failed", 2),
        # They talk.
        (ANNA, {"hangs_up": "talking"}, "talked", "done", 2),
        # What the vendor tells comes twice, or at the end and backwards.
        (ANNA, {"callbacks": "twice"}, "talked", "done", 2),
        (ANNA, {"callbacks": "backwards"}, "talked", "done", 2),
        (INA, {"callbacks": "backwards"}, "talked", "done", 2),
        (INA, {"does": "busy", "callbacks": "backwards"}, "busy", "scheduled", 2),
    ],
    ids=str,
)
async def test_a_call_that_is_hung_up_in_any_phase_ends_right(
    run: Running, number: str, does: dict[str, Any], outcome: str, state: str, dialled: int
) -> None:
    await telephone(run, number, **does)
    callback = await asked(run)
    await run.there("anna")
    path = await accepted(run)
    shown = await ended(run, callback, state)
    assert shown["outcome"] == outcome
    made = await calls(run)
    assert [call["errors"] for call in made] == [[]] * dialled
    assert (await kinds(run, path)).count("call_ended") == 1


async def test_a_wish_that_is_withdrawn_while_the_agents_telephone_rings_calls_nobody(run: Running) -> None:
    await telephone(run, ANNA, rings=30)
    callback = await asked(run)
    await run.there("anna")
    await accepted(run)

    async def rings() -> bool:
        return [call["status"] for call in await calls(run)] == ["ringing"]

    await until(rings)
    answer = await run.post(f"/v1/callback-requests/{callback['id']}/withdraw", "sam")
    assert answer.status_code == 202, answer.text
    assert (await ended(run, callback, "withdrawn"))["outcome"] == "withdrawn"
    assert [call["status"] for call in await calls(run)] == ["canceled"]


async def test_a_wish_that_is_withdrawn_while_they_talk_lets_them_talk(run: Running) -> None:
    await telephone(run, INA, lasts=7, talks=7)
    callback = await asked(run)
    await run.there("anna")
    await accepted(run)

    async def talk() -> bool:
        return [call["status"] for call in await calls(run)] == ["in-progress"] * 2

    await until(talk)
    await run.post(f"/v1/callback-requests/{callback['id']}/withdraw", "sam")
    assert (await ended(run, callback, "done"))["outcome"] == "talked"


async def test_a_call_whose_answer_is_lost_is_not_placed_twice(run: Running) -> None:
    await run.control("misbehave", {"vendor": "phone", "mode": "drop_after_accept", "operation": "create"})
    callback = await asked(run)
    await run.there("anna")
    await accepted(run)
    assert (await ended(run, callback, "done"))["outcome"] == "talked"
    assert len(await calls(run)) == 2


async def test_a_vendor_that_asks_to_wait_is_asked_again(run: Running) -> None:
    await run.control("misbehave", {"vendor": "phone", "mode": "429", "operation": "create", "retry_after": 1})
    callback = await asked(run)
    await run.there("anna")
    await accepted(run)
    assert (await ended(run, callback, "done"))["outcome"] == "talked"


async def test_a_call_that_the_vendor_refuses_is_seen_by_the_agent_who_can_call_again(run: Running) -> None:
    await run.control("misbehave", {"vendor": "phone", "mode": "error", "code": 21215, "operation": "create"})
    callback = await asked(run)
    await run.there("anna")
    path = await accepted(run)
    await ended(run, callback, "failed")
    shown = (await run.get(path, "anna")).json()
    (call,) = [m for m in shown["messages"] if m["kind"] == "call"]
    assert (shown["state"], call["state"], call["reason"]) == ("assigned", "failed", "country_not_enabled")
    assert (await run.post(f"{path}/call", "anna")).status_code == 202
    await ended(run, callback, "done")


async def test_whoever_rings_the_line_is_called_back(run: Running) -> None:
    heard: Any = await run.control("phone/rings", {"line": "+493023125100", "caller": INA})
    assert [said["language"] for said in heard["said"]] == ["de-DE"]
    await run.there("anna")
    path = await accepted(run)

    async def talked() -> bool:
        return "call_ended" in await kinds(run, path)

    await until(talked)
    hidden: Any = await run.control("phone/rings", {"line": "+493023125100", "caller": "anonymous"})
    assert (hidden["said"], hidden["status"]) == ([], "busy")


async def test_whoever_writes_by_whatsapp_and_sms_and_asks_for_a_call_is_one_customer(run: Running) -> None:
    german = {"whatsapp": {"number": "106540352242901", "phone": JO, "text": "Ist mein Paket denn schon unterwegs?"},
              "twilio": {"to": "+4917604069011", "from": JO, "text": "Und hier noch einmal als SMS."}}  # fmt: skip
    for vendor, message in german.items():
        await run.control(f"{vendor}/messages", message)
    await asked(run, phone=JO, text="Bitte rufen Sie mich an.")

    async def all_three() -> Any:
        items = (await run.get("/v1/conversations", "sam")).json()["items"]
        return items if len(items) == 3 else None

    items: Any = await until(all_three)
    assert {item["channel"] for item in items} == {"whatsapp", "twilio_sms", "phone"}
    (customer,) = {item["customer_id"] for item in items}
    timeline = (await run.get(f"/v1/customers/{customer}/timeline", "sam")).json()["items"]
    assert sorted(message["channel"] for message in timeline) == ["phone", "twilio_sms", "whatsapp"]
