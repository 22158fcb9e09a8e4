"""What the stand-ins answer to whoever asks whether an account works: strict, and as the vendors document it."""

import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema import Draft202012Validator
from starlette.applications import Starlette
from starlette.routing import Mount

from services.sandbox import app as sandbox
from services.together import MailPorts, connections, free_port, sample, stand_ins
from shared.trust import trust
from tests.sandbox.conftest import address, at_a_port
from tests.vendor_documents import answer_schema, errors, twilio

APP, BUSINESS, NUMBER = "1000000001", "102290129340398", "106540352242901"
SYSTEM, PAGE = "sandbox-system-user-token", "sandbox-page-token-100"
OWN = f"{APP}|sandbox-app-secret"
SMS, VOICE = "AC00000000000000000000000000000001", "AC0000000000000000000000000000d1a1"
TWILIO = "/2010-04-01/Accounts"


@dataclass
class World:
    url: str
    http: httpx.AsyncClient

    async def graph(self, path: str, token: str, method: str = "GET") -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, f"{self.url}/sandbox/{path}", headers=headers)

    async def twilio(self, path: str, sid: str = SMS, user: str = "", password: str = "") -> httpx.Response:
        given = password or ("sandbox-phone-auth-token" if sid == VOICE else "sandbox-twilio-auth-token")
        product = "phone" if sid == VOICE else "twilio"
        return await self.http.get(f"{self.url}/sandbox/{product}{TWILIO}/{sid}{path}", auth=(user or sid, given))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    listening = socket.create_server(("127.0.0.1", 0))
    url = address(listening)
    wanted = sample(f"{url}/sandbox", MailPorts(free_port(), free_port()))
    async with (
        sandbox.serve(stand_ins(wanted, url), connections(wanted, url)) as stands_in,
        at_a_port(Starlette(routes=[Mount("/sandbox", stands_in.app)]), listening),
        httpx.AsyncClient(timeout=10, trust_env=False, verify=trust()) as http,
    ):
        yield World(url, http)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        (f"graph/v25.0/{APP}/subscriptions", OWN, 200),
        (f"graph/v25.0/{APP}/subscriptions", PAGE, 401),
        ("graph/v25.0/999/subscriptions", OWN, 400),
        ("graph/v25.0/me?fields=id", PAGE, 200),
        ("graph/v25.0/me?fields=birthday", PAGE, 400),
        ("graph/v25.0/me", OWN, 401),
        ("graph/v25.0/100/subscribed_apps", PAGE, 200),
        ("graph/v25.0/200/subscribed_apps", PAGE, 400),
        ("graph/v25.0/100/subscribed_apps", OWN, 401),
        (f"whatsapp/v25.0/{APP}/subscriptions", OWN, 200),
        (f"whatsapp/v25.0/{APP}/subscriptions", SYSTEM, 401),
        (f"whatsapp/v25.0/{NUMBER}", SYSTEM, 200),
        (f"whatsapp/v25.0/{NUMBER}", PAGE, 401),
        ("whatsapp/v25.0/999", SYSTEM, 400),
        (f"whatsapp/v25.0/{BUSINESS}/subscribed_apps", SYSTEM, 200),
        ("whatsapp/v25.0/999/subscribed_apps", SYSTEM, 400),
    ],
)
async def test_each_question_needs_its_own_token(world: World, path: str, token: str, status: int) -> None:
    assert (await world.graph(path, token)).status_code == status


async def test_a_page_stops_sending_and_begins_again(world: World) -> None:
    path = "graph/v25.0/100/subscribed_apps"
    assert (await world.graph(path, PAGE, "DELETE")).json() == {"success": True}
    assert (await world.graph(path, PAGE)).json() == {"data": []}
    assert (await world.graph(path, PAGE, "POST")).status_code == 400, "the fields are not given"
    await world.graph(f"{path}?subscribed_fields=messages,message_echoes", PAGE, "POST")
    (found,) = (await world.graph(path, PAGE)).json()["data"]
    assert (found["id"], found["subscribed_fields"]) == (APP, ["messages", "message_echoes"])
    assert (await world.http.post(f"{world.url}/sandbox/control/reset")).is_success
    (found,) = (await world.graph(path, PAGE)).json()["data"]
    assert "message_reads" in found["subscribed_fields"]


async def test_an_account_at_twilio_is_told_to_itself_alone(world: World) -> None:
    assert (await world.twilio(".json")).json()["status"] == "active"
    for wrong in ({"password": "another"}, {"user": "SK1", "password": "another"}):
        assert (await world.twilio(".json", **wrong)).json()["code"] == 20003
    found = (await world.twilio("/IncomingPhoneNumbers.json?PhoneNumber=%2B4917604069011")).json()
    assert [number["phone_number"] for number in found["incoming_phone_numbers"]] == ["+4917604069011"]
    assert (await world.twilio("/IncomingPhoneNumbers.json?PhoneNumber=%2B49")).json()["incoming_phone_numbers"] == []


@pytest.mark.parametrize("sid", [SMS, VOICE])
async def test_twilios_answers_are_as_the_vendor_documents_them(world: World, sid: str) -> None:
    paths = twilio()["paths"]
    for path, documented in (
        (".json", f"{TWILIO}/{{Sid}}.json"),
        ("/IncomingPhoneNumbers.json", f"{TWILIO}/{{AccountSid}}/IncomingPhoneNumbers.json"),
    ):
        answer = await world.twilio(path, sid)
        assert answer.status_code == 200
        assert errors(answer_schema(paths[documented]["get"], "200"), answer.json()) == []
    numbers = (await world.twilio("/IncomingPhoneNumbers.json", sid)).json()["incoming_phone_numbers"]
    documented = twilio()["components"]["schemas"]["api.v2010.account.incoming_phone_number"]["properties"]
    assert numbers
    assert all(number.keys() == documented.keys() for number in numbers)


@cache
def meta() -> dict[str, Any]:
    folder = os.environ.get("DRAGOMAN_VENDOR_SPECS")
    if not folder:
        pytest.skip(
            "DRAGOMAN_VENDOR_SPECS names no folder with meta/business-messaging-api_v23.0.yaml (Meta's OpenAPI)"
        )
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = Path(folder) / "meta" / "business-messaging-api_v23.0.yaml"
    found: dict[str, Any] = yaml.load(document.read_text("utf-8"), Loader=loader)
    return found


@pytest.mark.parametrize(
    ("path", "documented"),
    [(NUMBER, "/{Version}/{Phone-Number-ID}"), (f"{BUSINESS}/subscribed_apps", "/{Version}/{WABA-ID}/subscribed_apps")],
)
async def test_whatsapps_answers_are_as_the_vendor_documents_them(world: World, path: str, documented: str) -> None:
    schema = answer_schema(meta()["paths"][documented]["get"], "200")
    answer = await world.graph(f"whatsapp/v25.0/{path}", SYSTEM)
    validator = Draft202012Validator({**schema, "components": meta()["components"]})
    assert [error.message for error in validator.iter_errors(answer.json())] == []
    wrong = {"id": 5, "data": "none"}
    assert [*validator.iter_errors(wrong)], "the check finds what is wrong"
