"""The stand-in of Twilio Voice takes what the vendor takes, refuses the rest, and carries out TwiML strictly."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from services.sandbox.app import serve
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig
from shared.trust import trust
from tests.sandbox.conftest import at_a_port
from tests.vendor_documents import answer_schema, errors, twilio

ACCOUNT, TOKEN, LINE, AGENT, INA = "AC" + "1" * 32, "the token", "+493023125100", "+493023125001", "+493023125123"
OVER = ("completed", "busy", "no-answer", "failed", "canceled")
CALLS = "/2010-04-01/Accounts/{AccountSid}/Calls.json"


@dataclass
class Owner:
    """Takes the webhooks, and answers what a test put at a path."""

    url: str = ""
    got: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)
    says: dict[str, str] = field(default_factory=dict)
    media_type: str = "text/xml"

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.take, methods=["POST"])])

    async def take(self, request: Request) -> Response:
        form = parse_qs((await request.body()).decode(), keep_blank_values=True)
        fields = {name: values[0] for name, values in form.items()}
        self.got.append((str(request.url), dict(request.headers), fields))
        return Response(f"<Response>{self.says.get(request.url.path, '')}</Response>", media_type=self.media_type)

    def statuses(self, path: str) -> list[str]:
        return [fields["CallStatus"] for url, _, fields in self.got if url.endswith(path)]


@dataclass
class World:
    url: str
    http: httpx.AsyncClient
    owner: Owner

    def api(self, path: str = "Calls.json") -> str:
        return f"{self.url}/phone/2010-04-01/Accounts/{ACCOUNT}/{path}"

    async def create(self, auth: tuple[str, str] = (ACCOUNT, TOKEN), **form: Any) -> httpx.Response:
        fields = {
            "To": AGENT, "From": LINE, "Url": f"{self.owner.url}/begin#rc=2",
            "StatusCallback": f"{self.owner.url}/status",
            "StatusCallbackEvent": ["initiated", "ringing", "answered", "completed"],
        } | form  # fmt: skip
        return await self.http.post(self.api(), data={k: v for k, v in fields.items() if v is not None}, auth=auth)

    async def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self.http.get(f"{self.url}/control/phone/calls")).json()
        return found

    async def over(self) -> list[dict[str, Any]]:
        """The calls once all of them have ended."""
        async with asyncio.timeout(10):
            while not (calls := await self.calls()) or not all(c["status"] in OVER for c in calls):
                await asyncio.sleep(0.005)
        return calls


@pytest.fixture
async def world() -> AsyncIterator[World]:
    owner = Owner()
    async with (
        at_a_port(owner.app) as owner.url,
        httpx.AsyncClient(timeout=20, trust_env=False, verify=trust()) as http,
    ):
        line = Connection(
            name="line", settings={"account_sid": ACCOUNT}, secrets={"auth_token": [TOKEN]}, inboxes={LINE: {}},
            hook_url=f"{owner.url}/rung",
        )  # fmt: skip
        async with serve(SandboxConfig(), {"phone": [line]}) as sandbox, at_a_port(sandbox) as url:
            yield World(url, http, owner)


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"To": "03023125001"}, 400, 21211),
        ({"To": None}, 400, 21201),
        ({"From": INA}, 400, 21210),
        ({"From": None}, 400, 21213),
        ({"Url": None}, 400, 21205),
        ({"Url": "ftp://x/y"}, 400, 21205),
        ({"StatusCallback": "http://a_b.example.com/"}, 400, 21609),
        ({"StatusCallbackEvent": "sung"}, 400, 21626),
        ({"Reference": "ours"}, 400, 20001),
        ({"Timeout": "soon"}, 400, 20001),
    ],
    ids=str,
)
async def test_what_the_vendor_would_not_take_is_refused_in_its_words(
    world: World, form: dict[str, Any], status: int, code: int
) -> None:
    answer = await world.create(**form)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().keys() == {"code", "message", "more_info", "status"}
    assert await world.calls() == []


async def test_only_the_account_itself_may_call(world: World) -> None:
    for auth in ((ACCOUNT, "another"), ("AC" + "2" * 32, TOKEN)):
        answer = await world.create(auth=auth)
        assert (answer.status_code, answer.json()["code"]) == (401, 20003)


async def test_its_answers_are_as_the_vendor_documents_them(world: World) -> None:
    operations = twilio()["paths"][CALLS]
    created = await world.create()
    assert created.status_code == 201
    assert errors(answer_schema(operations["post"], "201"), created.json()) == []
    await world.over()
    listed = await world.http.get(world.api(), params={"To": AGENT, "From": LINE}, auth=(ACCOUNT, TOKEN))
    assert errors(answer_schema(operations["get"], "200"), listed.json()) == []
    fetched = await world.http.get(world.api(f"Calls/{created.json()['sid']}.json"), auth=(ACCOUNT, TOKEN))
    assert fetched.json()["status"] == "completed"


async def test_every_webhook_is_signed_over_its_address_without_the_overrides(world: World) -> None:
    await world.create()
    await world.over()
    assert [url.rsplit("/", 1)[1] for url, _, _ in world.owner.got] == ["status", "status", "status", "begin", "status"]
    for url, headers, fields in world.owner.got:
        assert RequestValidator(TOKEN).compute_signature(url, fields) == headers["x-twilio-signature"]
    assert world.owner.statuses("/status") == ["initiated", "ringing", "in-progress", "completed"]


@pytest.mark.parametrize(
    ("says", "error"),
    [
        ("<Say language='de-DE'></Say>", "13520"),
        ("<Say language='xx-XX'>Hallo</Say>", "13511"),
        (f"<Say language='de-DE'>{'x' * 5000}</Say>", "13521"),
        ("<Sing>Hallo</Sing>", "12200"),
        ("<Say language='de-DE' colour='red'>Hallo</Say>", "12200"),
        ("<Dial callerId='+4930999999'><Number>+493023125123</Number></Dial>", "13214"),
        ("<Dial callerId='+493023125100'></Dial>", "13224"),
        ("<Gather input='dtmf'/>", "a Gather without an action"),
        ("<Say", "12100"),
    ],
)
async def test_a_document_that_the_vendor_would_not_carry_out_is_an_error_of_the_call(
    world: World, says: str, error: str
) -> None:
    world.owner.says["/begin"] = says
    await world.create()
    (call,) = await world.over()
    assert call["errors"][0].startswith(error)


async def test_an_answer_that_is_no_twiml_is_an_error_of_the_call(world: World) -> None:
    world.owner.media_type = "text/plain"
    await world.create()
    (call,) = await world.over()
    assert call["errors"][0].startswith("12300")


async def test_a_dialled_customer_has_a_call_of_their_own_that_is_told_apart(world: World) -> None:
    status, done, heard = (f"{world.owner.url}/{path}" for path in ("customer", "done", "heard"))
    world.owner.says["/begin"] = (
        f"<Dial callerId='{LINE}' action='{done}'><Number statusCallback='{status}' amdStatusCallback='{heard}' "
        f"statusCallbackEvent='initiated ringing answered completed' machineDetection='Enable'>{INA}</Number></Dial>"
    )
    await world.http.post(f"{world.url}/control/phone/telephones", json={"number": INA, "does": "machine", "talks": 7})
    await world.create()
    agent, customer = await world.over()
    assert (customer["parent"], customer["to"], customer["seconds"]) == (agent["sid"], INA, 7)
    assert world.owner.statuses("/customer") == ["initiated", "ringing", "in-progress", "completed"]
    told = {url.rsplit("/", 1)[1]: fields for url, _, fields in world.owner.got}
    assert told["heard"]["AnsweredBy"] == "machine_start"
    assert (told["done"]["DialCallStatus"], told["done"]["DialCallDuration"]) == ("completed", "7")
    assert told["customer"]["ParentCallSid"] == agent["sid"]


async def test_a_call_that_is_hung_up_over_the_api_rings_no_more_and_only_once(world: World) -> None:
    await world.http.post(f"{world.url}/control/phone/telephones", json={"number": AGENT, "rings": 30})
    sid = (await world.create()).json()["sid"]
    answers = [
        await world.http.post(world.api(f"Calls/{sid}.json"), data={"Status": "completed"}, auth=(ACCOUNT, TOKEN))
    ]
    (call,) = await world.over()
    answers.append(
        await world.http.post(world.api(f"Calls/{sid}.json"), data={"Status": "completed"}, auth=(ACCOUNT, TOKEN))
    )
    assert call["status"] == "canceled"
    assert [a.status_code for a in answers] == [200, 400]
    assert answers[1].json()["code"] == 21220


@pytest.mark.parametrize("body", [{"number": "0302"}, {"number": AGENT, "does": "sing"}, {"number": AGENT, "x": 1}])
async def test_a_telephone_that_cannot_be_is_not_understood(world: World, body: dict[str, Any]) -> None:
    answer = await world.http.post(f"{world.url}/control/phone/telephones", json=body)
    assert answer.status_code == 400
