"""The stand-in of the WhatsApp Cloud API: strict about our calls, true in its webhooks, misbehaving on request."""

import base64
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from services.sandbox.behaviour import reaching_the_transport
from services.sandbox.commands import Misbehaviour
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig, State
from services.sandbox.whatsapp.api import WhatsApp
from shared.trust import trust
from tests.sandbox.conftest import APP_SECRET, VERIFY_TOKEN, Clock, Receiver, address, at_a_port, beside, until

NUMBER, OTHER, USER = "1001", "1002", "BR.1349"
PHONE, TOKEN = "5511999998888", "token-of-the-system-user"
TEXT = {"messaging_product": "whatsapp", "to": PHONE, "type": "text", "text": {"body": "Bom dia"}}


@dataclass
class World:
    stand_in: WhatsApp
    state: State
    url: str
    http: httpx.AsyncClient
    receiver: Receiver
    clock: Clock

    async def told(self, path: str, body: Any) -> httpx.Response:
        return await self.http.post(f"{self.url}/control/whatsapp/{path}", json=body)

    async def heard(self, **more: Any) -> Any:
        answer = await self.told("messages", {"number": NUMBER, "phone": PHONE, "text": "Oi", **more})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def call(self, path: str, token: str = TOKEN, method: str = "POST", **request: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, f"{self.url}/whatsapp/v25.0/{path}", headers=headers, **request)

    async def send(self, number: str = NUMBER, **change: Any) -> httpx.Response:
        body = {name: value for name, value in (TEXT | change).items() if value is not None}
        return await self.call(f"{number}/messages", json=body)

    @property
    def values(self) -> list[Any]:
        return [c["value"] for body in self.receiver.bodies for entry in body["entry"] for c in entry["changes"]]

    @property
    def statuses(self) -> list[Any]:
        return [status for value in self.values for status in value.get("statuses", ())]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    receiver, clock, state = Receiver(), Clock(), State()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(httpx.AsyncClient(timeout=5, trust_env=False, verify=trust()))
        # The port is known before the stand-in, for it names its own address.
        listening = socket.create_server(("127.0.0.1", 0))
        url = address(listening)
        connection = Connection(
            name="whatsapp",
            settings={"graph_url": f"{url}/whatsapp"},
            secrets={"app_secret": [APP_SECRET], "verify_token": [VERIFY_TOKEN], "token": [TOKEN]},
            inboxes={NUMBER: {}, OTHER: {}},
            hook_url=f"{url}/hook",
        )
        stand_in = WhatsApp([connection], state, SandboxConfig(now=clock, retry_waits=()))
        routes = [Mount("/whatsapp", routes=stand_in.routes()), Mount("/control/whatsapp", routes=stand_in.control())]
        app = beside(receiver.app, reaching_the_transport(Starlette(routes=routes)))
        await stack.enter_async_context(at_a_port(app, listening))
        await stack.enter_async_context(stand_in.running(http))
        yield World(stand_in, state, url, http, receiver, clock)


async def test_a_customer_writes_and_is_answered_and_each_step_is_reported(world: World) -> None:
    told = await world.heard(name="Ana", user_id=USER, id="wamid.1")
    assert told == {"webhook_status": 200, "ids": ["wamid.1"]}
    body, headers = world.receiver.got[0]
    signature = hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={signature}"
    (value,) = world.values
    assert value["metadata"]["phone_number_id"] == NUMBER
    assert value["contacts"] == [{"profile": {"name": "Ana"}, "wa_id": PHONE, "user_id": USER}]
    assert value["messages"][0]["from"] == PHONE

    answer = await world.send(biz_opaque_callback_data="ours", context={"message_id": "wamid.1"})
    assert answer.json()["contacts"] == [{"input": PHONE, "wa_id": PHONE}]
    id_ = answer.json()["messages"][0]["id"]
    await until(lambda: len(world.statuses) == 3)
    assert [s["status"] for s in world.statuses] == ["sent", "delivered", "read"]
    assert {(s["id"], s["recipient_id"], s["biz_opaque_callback_data"]) for s in world.statuses} == {
        (id_, PHONE, "ours")
    }
    (sent,) = (await world.http.get(f"{world.url}/control/whatsapp/sent")).json()
    assert (sent["text"], sent["quoted"], sent["reference"]) == ("Bom dia", "wamid.1", "ours")


async def test_whoever_hides_the_number_is_answered_by_their_id(world: World) -> None:
    await world.heard(phone=None, user_id=USER)
    assert "from" not in world.values[0]["messages"][0]
    assert (await world.send(to=None, recipient=USER)).json()["contacts"] == [{"user_id": USER}]
    await until(lambda: len(world.statuses) == 3)
    assert {s["recipient_user_id"] for s in world.statuses} == {USER}
    assert "recipient_id" not in world.statuses[0]


@pytest.mark.parametrize("age", [None, 24.0])
async def test_outside_the_window_a_message_is_taken_and_fails_later(world: World, age: float | None) -> None:
    if age is not None:
        await world.heard()
        world.clock.pass_by(hours=age)
    assert (await world.send()).status_code == 200
    await until(lambda: world.statuses)
    assert [(s["status"], s["errors"][0]["code"]) for s in world.statuses] == [("failed", 131047)]


WRONG: dict[str, dict[str, Any]] = {
    "another product": {"messaging_product": "messenger"},
    "no product": {"messaging_product": None},
    "unknown field": {"mood": "good"},
    "a group": {"recipient_type": "group"},
    "nobody": {"to": None},
    "a name for a number": {"to": "Ana"},
    "a number for an id": {"to": None, "recipient": PHONE},
    "no text": {"text": None},
    "an empty text": {"text": {"body": ""}},
    "a long text": {"text": {"body": "a" * 4097}},
    "an unknown field of the text": {"text": {"body": "a", "colour": "red"}},
    "two kinds": {"image": {"link": "https://files.example/x"}},
    "a kind that is not known": {"type": "poll", "poll": {}, "text": None},
    "a long reference": {"biz_opaque_callback_data": "a" * 513},
    "a context of another form": {"context": {"id": "wamid.1"}},
    "a file from nowhere": {"type": "image", "text": None, "image": {"caption": "a"}},
    "a file from two places": {"type": "image", "text": None, "image": {"id": "1", "link": "https://files.example"}},
    "a file that was never uploaded": {"type": "image", "text": None, "image": {"id": "1"}},
    "a file without a scheme": {"type": "image", "text": None, "image": {"link": "files.example"}},
    "a captioned audio": {"type": "audio", "text": None, "audio": {"link": "https://files.example", "caption": "a"}},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_message_is_refused_in_the_vendors_words(world: World, name: str) -> None:
    await world.heard()
    answer = await world.send(**WRONG[name])
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (100, 131009)
    assert "fbtrace_id" in answer.json()["error"]
    assert not world.state.sent["whatsapp"]


async def test_a_wrong_caller_is_refused(world: World) -> None:
    for path, token, code in (
        (f"{NUMBER}/messages", "another", (190, None)),
        ("1003/messages", TOKEN, (100, 33)),
        (f"{NUMBER}/weather", TOKEN, (2500, None)),
    ):
        error = (await world.call(path, token, json=TEXT)).json()["error"]
        assert (error["code"], error.get("error_subcode")) == code
    form = await world.call(f"{NUMBER}/messages", data={"messaging_product": "whatsapp"})
    assert form.status_code == 400
    unversioned = f"{world.url}/whatsapp/new/{NUMBER}/messages"
    answer = await world.http.post(unversioned, json=TEXT, headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.json()["error"]["code"] == 2500


# files


async def uploaded(world: World, number: str = NUMBER, **change: Any) -> httpx.Response:
    form = {"messaging_product": "whatsapp", "type": "image/png"} | change.pop("form", {})
    name, content, kind = change.pop("file", ("a.png", b"PNG", "image/png"))
    return await world.call(f"{number}/media", data=form, files={"file": (name, content, kind)})


async def test_a_file_is_uploaded_sent_and_another_numbers_is_not(world: World) -> None:
    await world.heard()
    id_ = (await uploaded(world)).json()["id"]
    answer = await world.send(type="image", text=None, image={"id": id_})
    assert answer.status_code == 200
    stolen = await world.send(OTHER, type="image", text=None, image={"id": id_})
    assert stolen.json()["error"]["code"] == 100


@pytest.mark.parametrize(
    "change",
    [
        {"form": {"messaging_product": "sms"}},
        {"form": {"type": "image/jpeg"}},
        {"form": {"more": "x"}},
        {"file": ("a.gif", b"GIF", "image/gif"), "form": {"type": "image/gif"}},
        {"file": ("a.png", b"x" * ((5 << 20) + 1), "image/png")},
    ],
)
async def test_a_wrong_upload_is_refused(world: World, change: dict[str, Any]) -> None:
    assert (await uploaded(world, **change)).status_code == 400


async def test_a_customers_file_lies_at_an_address_of_five_minutes_for_the_token_alone(world: World) -> None:
    file = {"name": "foto.jpg", "content": base64.b64encode(b"JPEG").decode()}
    await world.heard(type="image", file=file, media_type="image/jpeg", text="Chegou assim")
    image = world.values[0]["messages"][0]["image"]
    assert (image["mime_type"], image["caption"]) == ("image/jpeg", "Chegou assim")
    at = {"phone_number_id": NUMBER}
    found = (await world.call(image["id"], method="GET", params=at)).json()
    assert found["sha256"] == hashlib.sha256(b"JPEG").hexdigest()
    with_token = {"Authorization": f"Bearer {TOKEN}"}
    assert (await world.http.get(found["url"], headers=with_token)).content == b"JPEG"
    assert (await world.http.get(found["url"])).status_code == 401
    world.clock.pass_by(minutes=5)
    assert (await world.http.get(found["url"], headers=with_token)).status_code == 404
    # Asked again, it lies elsewhere; for another number it is not there at all.
    again = (await world.call(image["id"], method="GET", params=at)).json()["url"]
    assert (await world.http.get(again, headers=with_token)).content == b"JPEG"
    other = await world.call(image["id"], method="GET", params={"phone_number_id": OTHER})
    assert other.json()["error"]["error_subcode"] == 33


# what else customers do, and what goes wrong


async def test_a_number_change_takes_the_window_along(world: World) -> None:
    await world.heard()
    change = {"number": NUMBER, "before": f"+{PHONE}", "after": "+5521988887777", "user_id_after": "BR.2"}
    assert (await world.told("number-changes", change)).status_code == 200
    system = world.values[1]["messages"][0]
    assert (system["from"], system["system"]["wa_id"], system["system"]["user_id"]) == (PHONE, "5521988887777", "BR.2")
    await world.send(to="5521988887777")
    await until(lambda: len(world.statuses) == 3)


async def test_any_type_may_be_written_and_preferences_told(world: World) -> None:
    place = {"latitude": 1.5, "longitude": 2.5}
    extra = {"context": {"id": "wamid.0", "from": "1"}}
    await world.heard(type="location", content=place, extra=extra)
    message = world.values[0]["messages"][0]
    assert (message["type"], message["location"], message["context"]) == ("location", place, extra["context"])
    await world.told("preferences", {"number": NUMBER, "phone": PHONE, "value": "stop"})
    assert world.values[1]["user_preferences"][0]["value"] == "stop"
    assert world.receiver.bodies[1]["entry"][0]["changes"][0]["field"] == "user_preferences"


@pytest.mark.parametrize(
    "command",
    [{"number": "9", "phone": PHONE}, {"number": NUMBER}, {"number": NUMBER, "phone": PHONE, "mood": 1}, [], "x"],
)
async def test_a_wrong_command_is_a_400_that_says_why(world: World, command: Any) -> None:
    answer = await world.told("messages", command)
    assert (answer.status_code, bool(answer.json()["message"]), world.receiver.got) == (400, True, [])


async def test_forged_and_handshake_say_what_came_back(world: World) -> None:
    world.receiver.statuses.append(401)
    answer = await world.told("forged", {"number": NUMBER, "phone": PHONE, "text": "Oi"})
    assert answer.json()["webhook_status"] == 401
    url = f"{world.url}/control/whatsapp/verification"
    assert (await world.http.post(url)).json() == [{"status": 200, "is_verified": True}]
    assert (await world.http.post(url, json={"token": "?"})).json() == [{"status": 403, "is_verified": False}]
    # Nobody wrote, so no window is open.
    await world.send()
    await until(lambda: world.statuses)
    assert world.statuses[0]["status"] == "failed"


async def test_it_misbehaves_as_it_is_asked_to(world: World) -> None:
    def misbehave(mode: Any, **more: Any) -> None:
        world.state.misbehave(Misbehaviour(vendor="whatsapp", mode=mode, **more), world.clock())

    await world.heard()
    misbehave("429", retry_after=7)
    answer = await world.send()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")
    misbehave("error_in_200", code=131026)
    answer = await world.send()
    assert (answer.status_code, answer.json()["error"]["code"]) == (200, 131026)
    misbehave("error", code=131056)
    assert (await world.send()).json()["error"]["code"] == 131056
    assert not world.state.sent["whatsapp"]
    misbehave("drop_after_accept")
    with pytest.raises(httpx.RemoteProtocolError):
        await world.send()
    await until(lambda: len(world.statuses) == 3)
    misbehave("fail_later", code=131026)
    await world.send()
    await until(lambda: len(world.statuses) == 5)
    assert [s["status"] for s in world.statuses[3:]] == ["sent", "failed"]
    misbehave("no_echo")
    await world.send()
    assert len(world.state.sent["whatsapp"]) == 3
    assert json.loads(json.dumps(world.state.requests[-1]))["verdict"] == "accepted"


async def test_forgetting_ends_windows_and_files(world: World) -> None:
    await world.heard()
    id_ = (await uploaded(world)).json()["id"]
    world.stand_in.forget()
    assert (await world.call(id_, method="GET")).json()["error"]["error_subcode"] == 33
    await world.send()
    await until(lambda: world.statuses)
    assert world.statuses[0]["status"] == "failed"
