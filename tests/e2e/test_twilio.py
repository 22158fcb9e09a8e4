"""Customers write by WhatsApp and SMS, natives answer, statuses come back: the whole way in one process."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import running, until

GERMAN, BRITISH = "+4917604069010", "+447700900110"
GERMAN_SMS, AMERICAN_SMS = "+4917604069011", "+12025550110"
JO = "+4917604069001"
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
SHA256 = hashlib.sha256(PICTURE).hexdigest()


async def write(run: Any, to: str, text: str = "", by: str = "whatsapp", sender: str = JO, **more: Any) -> Any:
    (told,) = await run.control("twilio/messages", {"to": to, "from": sender, "by": by, "text": text, **more})
    assert (told["webhook_status"], told["texted"], told["error"]) == (200, [], None)
    return told


async def answer(run: Any, agents: tuple[str, ...], text: str, **more: Any) -> str:
    """Whoever of them it is held out to takes it and answers; the conversation's id."""
    await run.there(*agents)

    async def held() -> Any:
        for agent in agents:
            items = (await run.get("/v1/conversations?agent=me", agent)).json()["items"]
            if items:
                return agent, items[0]
        return None

    agent, item = await until(held)  # type: ignore[misc]
    path = f"/v1/conversations/{item['id']}"
    if item["state"] == "offered":
        assert (await run.post(f"{path}/accept", agent)).status_code == 200
    answered = await run.post(f"{path}/reply", agent, {"text": text, **more})
    assert answered.status_code == 202, answered.text
    return str(item["id"])


async def reply_of(run: Any, conversation: str, states: set[str]) -> Any:
    """The last reply, once it is in one of the states."""

    async def there() -> Any:
        shown = (await run.get(f"/v1/conversations/{conversation}", "sam")).json()
        replies = [m for m in shown["messages"] if m["kind"] == "reply"]
        return replies[-1] if replies and replies[-1]["state"] in states else None

    return await until(there)


async def carried(run: Any) -> list[Any]:
    found: list[Any] = await run.control("twilio/sent")
    return found


async def test_whatsapp_and_sms_are_answered_by_natives_and_their_statuses_come_back(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as run:
        await write(run, GERMAN, "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.", name="Jo")
        chat = await answer(run, ("anna", "bernd"), "Ihr Paket kommt morgen.", resolve=True)
        await reply_of(run, chat, {"read"})
        await write(run, AMERICAN_SMS, "Where is my order? I have been waiting for two weeks.", "sms", "+12025550123")
        sms = await answer(run, ("emily", "james"), "It arrives tomorrow.")
        await reply_of(run, sms, {"delivered"})
        by_channel = {m["to"]: (m["from"], m["text"]) for m in await carried(run)}
        assert by_channel == {
            f"whatsapp:{JO}": (f"whatsapp:{GERMAN}", "Ihr Paket kommt morgen."),
            "+12025550123": (AMERICAN_SMS, "It arrives tomorrow."),
        }
        ready = await run.http.get(f"{run.url}/health/ready")
        assert ready.status_code == 200, ready.text


async def test_a_number_is_one_customer_on_both_channels(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await write(run, GERMAN, "Wo bleibt meine Bestellung denn nun?")
        await write(run, GERMAN_SMS, "Und hier noch einmal als SMS: wo bleibt sie?", "sms")

        async def both() -> Any:
            items = (await run.get("/v1/conversations", "sam")).json()["items"]
            return items if len(items) == 2 else None

        items: Any = await until(both)
        assert {i["channel"] for i in items} == {"twilio_whatsapp", "twilio_sms"}
        assert len({i["customer_id"] for i in items}) == 1


async def test_a_late_failure_shows_why(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.control("twilio/fates", {"status": "undelivered", "code": 30003})
        await write(run, GERMAN_SMS, "Wo bleibt meine Bestellung denn nun?", "sms")
        conversation = await answer(run, ("anna", "bernd"), "Morgen ist sie da.")
        reply = await reply_of(run, conversation, {"failed"})
        assert (reply["state"], reply["reason"]) == ("failed", "phone_unreachable")
        assert len(await carried(run)) == 1


async def test_an_answer_lost_on_the_way_back_is_proven_by_its_status_or_by_asking(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as run:
        await run.control("misbehave", {"vendor": "twilio", "mode": "drop_after_accept", "operation": "send"})
        await write(run, GERMAN, "Wo bleibt meine Bestellung denn nun?")
        conversation = await answer(run, ("anna", "bernd"), "Morgen ist sie da.")
        await reply_of(run, conversation, {"read"})
        await run.control("misbehave", {"vendor": "twilio", "mode": "drop_after_accept", "operation": "send"})
        await run.control("misbehave", {"vendor": "twilio", "mode": "no_echo", "operation": "send"})
        await answer(run, ("anna", "bernd"), "Oder übermorgen.")
        await reply_of(run, conversation, {"accepted"})
        assert [m["text"] for m in await carried(run)] == ["Morgen ist sie da.", "Oder übermorgen."]
        operations = [r["operation"] for r in await run.control("requests") if r["vendor"] == "twilio"]  # type: ignore[attr-defined]
        assert operations.count("list") == 1


async def test_files_come_in_and_go_out_and_a_place_is_shown(database_url: str, tmp_path: Path) -> None:
    file = {"content": base64.b64encode(PICTURE).decode(), "media_type": "image/png"}
    async with running(database_url, tmp_path) as run:
        await write(run, GERMAN, "So kam es bei mir an, bitte ersetzen.", files=[file])
        await write(run, GERMAN, place={"latitude": "52.5", "longitude": "13.4", "label": "Zuhause"})
        await write(run, GERMAN, button="Ja, bitte")

        async def stored() -> Any:
            items = (await run.get("/v1/conversations", "sam")).json()["items"]
            shown = (await run.get(f"/v1/conversations/{items[0]['id']}", "sam")).json() if items else {"messages": []}
            told = shown["messages"]
            return told if len(told) == 3 and told[0]["attachments"][0].get("sha256") else None

        told: Any = await until(stored)
        assert [m["text"] for m in told] == ["So kam es bei mir an, bitte ersetzen.", "", "Ja, bitte"]
        assert told[0]["attachments"][0]["sha256"] == SHA256
        assert told[1]["attachments"][0]["name"] == "Zuhause, 52.5, 13.4"
        # A customer's own picture goes back: the vendor fetches it by our link.
        conversation = await answer(run, ("anna", "bernd"), "Dieses?", attachments=[{"sha256": SHA256}])
        await reply_of(run, conversation, {"read"})
        text, picture = await carried(run)
        assert text["text"] == "Dieses?"
        assert (picture["text"], [f["sha256"] for f in picture["files"]]) == (None, [SHA256])


@pytest.mark.parametrize(
    ("number", "sender", "question", "agents"),
    [
        (GERMAN_SMS, JO, "Können Sie mir ein Bild davon schicken, bitte?", ("anna", "bernd")),
        (AMERICAN_SMS, "+12025550123", "Could you send me a picture of it, please?", ("emily", "james")),
    ],
    ids=["link", "mms"],
)
async def test_a_file_goes_by_sms_as_the_number_can(
    database_url: str, tmp_path: Path, number: str, sender: str, question: str, agents: tuple[str, ...]
) -> None:
    async with running(database_url, tmp_path) as run:
        await write(run, number, question, "sms", sender)

        async def there() -> Any:
            return (await run.get("/v1/conversations", "sam")).json()["items"]

        brand = (await until(there))[0]["brand_id"]  # type: ignore[index]
        headers = {"Authorization": "Bearer dev-ada", "Idempotency-Key": "upload"}
        url = f"{run.url}/v1/attachments?brand_id={brand}&name=lamp.png"
        uploaded = await run.http.post(url, content=PICTURE, headers=headers)
        assert uploaded.status_code == 201, uploaded.text
        named = [{"sha256": SHA256, "name": "lamp.png"}]
        conversation = await answer(run, agents, "OK:", attachments=named)
        await reply_of(run, conversation, {"delivered"})
        sent = await carried(run)
        if number == AMERICAN_SMS:
            assert [(m["text"], [f["sha256"] for f in m["files"]]) for m in sent] == [("OK:", []), (None, [SHA256])]
            return
        (message,) = sent
        words, _, link = message["text"].rpartition(" ")
        assert words == "OK:\n\nlamp.png:"
        assert (await run.http.get(link)).content == PICTURE


async def test_a_stop_is_no_work_and_whoever_sent_it_gets_nothing_more_until_start(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as run:
        await write(run, GERMAN_SMS, "Wo bleibt meine Bestellung denn nun?", "sms")
        conversation = await answer(run, ("anna", "bernd"), "Morgen ist sie da.")
        await reply_of(run, conversation, {"delivered"})
        path = f"/v1/conversations/{conversation}"

        async def may_write() -> Any:
            return (await run.get(path, "sam")).json()["may_write"]

        async def stopped() -> bool:
            return bool((await may_write())["reason"] == "opted_out")

        await write(run, GERMAN_SMS, "STOP", "sms")
        await until(stopped)
        refused = await run.post(f"{path}/reply", "sam", {"text": "Noch etwas?"})
        assert (refused.status_code, refused.json()["code"]) == (409, "opted_out")
        await write(run, GERMAN_SMS, "START", "sms")

        async def started() -> bool:
            return bool((await may_write())["allowed"])

        await until(started)
        assert (await run.post(f"{path}/reply", "sam", {"text": "Willkommen zurück!"})).status_code == 202
        await reply_of(run, conversation, {"delivered"})
        said = [m["text"] for m in await carried(run) if not m.get("auto")]
        assert said == ["Morgen ist sie da.", "Willkommen zurück!"]


async def test_a_stop_that_only_the_vendor_knows_of_ends_with_start(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.control("twilio/fates", {"status": "undelivered", "code": 21610})
        await write(run, GERMAN_SMS, "Wo bleibt meine Bestellung denn nun?", "sms")
        conversation = await answer(run, ("anna", "bernd"), "Morgen ist sie da.")
        assert (await reply_of(run, conversation, {"failed"}))["reason"] == "opted_out"
        await write(run, GERMAN_SMS, "START", "sms")
        path = f"/v1/conversations/{conversation}"
        assert (await run.post(f"{path}/reply", "sam", {"text": "Morgen ist sie da!"})).status_code == 202
        assert (await reply_of(run, conversation, {"delivered", "refused"}))["state"] == "delivered"


async def test_a_forged_webhook_is_a_401_and_nothing_is_stored(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        message = {"to": GERMAN, "from": JO, "by": "whatsapp", "text": "Give me money"}
        (told,) = await run.control("twilio/forged", message)  # type: ignore[misc]
        assert told["webhook_status"] == 401
        assert (await run.get("/v1/conversations", "sam")).json()["items"] == []
