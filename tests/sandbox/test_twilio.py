"""Twilio's stand-in takes what the vendor takes, refuses the rest in its words, and calls as the vendor calls."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from services.sandbox.app import Sandbox, serve
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig
from services.sandbox.twilio.messages import segments
from services.sandbox.twilio.webhooks import made_of
from services.sandbox.twilio.wire import Target
from shared.trust import trust
from tests.sandbox.conftest import at_a_port, until
from tests.vendor_documents import MESSAGES, answer_schema, errors, twilio

ACCOUNT, TOKEN = "AC" + "1" * 32, "the token of the account"
WHATSAPP, SMS, JO = "whatsapp:+4917604069010", "+4917604069011", "+4917604069001"
TWIML = '<?xml version="1.0" encoding="UTF-8"?><Response/>'


@dataclass
class Owner:
    """Takes the webhooks; answers 200 and an empty document unless something else is waiting."""

    url: str = ""
    got: list[tuple[str, dict[str, str], dict[str, list[str]]]] = field(default_factory=list)
    answers: deque[Response] = field(default_factory=deque)

    @property
    def app(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.take, methods=["GET", "POST"])])

    async def take(self, request: Request) -> Response:
        fields = parse_qs((await request.body()).decode(), keep_blank_values=True)
        self.got.append((str(request.url), dict(request.headers), fields))
        return self.answers.popleft() if self.answers else Response(TWIML, media_type="text/xml")

    @property
    def statuses(self) -> list[str]:
        return [fields["MessageStatus"][0] for _, _, fields in self.got if "MessageStatus" in fields]


@dataclass
class World:
    sandbox: Sandbox
    url: str
    http: httpx.AsyncClient
    owner: Owner

    async def create(self, auth: tuple[str, str] | None = (ACCOUNT, TOKEN), account: str = ACCOUNT, **form: Any) -> Any:
        """An SMS as it should be, but for the change."""
        fields = {"To": JO, "From": SMS, "Body": "Guten Tag", "StatusCallback": f"{self.owner.url}/status"} | form
        fields = {name: value for name, value in fields.items() if value is not None}
        return await self.http.post(
            f"{self.url}/twilio/2010-04-01/Accounts/{account}/Messages.json", data=fields, auth=auth
        )

    async def writes(self, *, by: str = "sms", to: str = SMS, **more: Any) -> Any:
        body = {"to": to.removeprefix("whatsapp:"), "from": JO, "by": by, **more}
        return await self.http.post(f"{self.url}/control/twilio/messages", json=body)

    async def listed(self, **query: str) -> Any:
        url = f"{self.url}/twilio/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
        return (await self.http.get(url, params=query, auth=(ACCOUNT, TOKEN))).json()

    async def command(self, path: str, body: Any) -> None:
        answer = await self.http.post(f"{self.url}/control/{path}", json=body)
        assert answer.status_code in (200, 204), answer.text


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    owner = Owner()
    async with at_a_port(owner.app) as owner.url, httpx.AsyncClient(timeout=5, trust_env=False, verify=trust()) as http:
        settings: dict[str, Any] = {"account_sid": ACCOUNT, "api_key_sid": "SK1"}
        secrets = {"auth_token": [TOKEN, "the older token"], "api_key_secret": ["the key's secret"]}

        def connection(channel: str, number: str) -> Connection:
            return Connection(
                name=channel, channel=channel, settings=settings, secrets=secrets, inboxes={number: {}},
                hook_url=f"{owner.url}/hook",
            )  # fmt: skip

        connections = {
            "twilio_whatsapp": [connection("twilio_whatsapp", WHATSAPP.removeprefix("whatsapp:"))],
            "twilio_sms": [connection("twilio_sms", SMS)],
        }
        async with serve(SandboxConfig(), connections) as sandbox, at_a_port(sandbox) as url:
            settings["api_url"] = f"{url}/twilio"
            yield World(sandbox, url, http, owner)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as made:
        yield made


WRONG: dict[str, tuple[dict[str, Any], int, int]] = {
    "no credentials": ({"auth": None}, 401, 20003),
    "wrong token": ({"auth": (ACCOUNT, "guess")}, 401, 20003),
    "secret of another key": ({"auth": ("SK2", "the key's secret")}, 401, 20003),
    "another account": ({"account": "AC" + "2" * 32}, 404, 20404),
    "unknown parameter": ({"Text": "Hallo"}, 400, 20001),
    "parameter in lower case": ({"body": "Hallo"}, 400, 20001),
    "text twice": ({"Body": ["a", "b"]}, 400, 20001),
    "nobody to write to": ({"To": None}, 400, 21604),
    "no number": ({"To": "0176/123"}, 400, 21211),
    "a number without its plus": ({"To": "4917604069001"}, 400, 21211),
    "no sender": ({"From": None}, 400, 21603),
    "a sender of nobody": ({"From": "+12025550199"}, 400, 21606),
    "whatsapp from a number that has none": ({"To": f"whatsapp:{JO}", "From": f"whatsapp:{SMS}"}, 400, 63007),
    "two channels at once": ({"To": f"whatsapp:{JO}"}, 400, 21910),
    "nothing to say": ({"Body": ""}, 400, 21619),
    "text too long": ({"Body": "a" * 1601}, 400, 21617),
    "too many files": ({"Body": None, "MediaUrl": ["https://a.example/x"] * 11}, 400, 21623),
    "two files by whatsapp": (
        {"To": f"whatsapp:{JO}", "From": WHATSAPP, "Body": None, "MediaUrl": ["https://a.example/x"] * 2}, 400, 21623),
    "a file from a disk": ({"Body": None, "MediaUrl": "file:///etc/passwd"}, 400, 21620),
    "a callback without a scheme": ({"StatusCallback": "hooks.example.com"}, 400, 21609),
    "a callback whose host has an underscore": ({"StatusCallback": "https://our_hooks.example.com/x"}, 400, 21609),
    "an unknown service": ({"MessagingServiceSid": "MG" + "0" * 32}, 400, 21705),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_what_the_vendor_refuses(world: World, name: str) -> None:
    change, status, code = WRONG[name]
    answer = await world.create(**change)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert answer.json()["status"] == status
    assert (await world.listed())["messages"] == []


async def test_json_holds_no_parameters_to_the_vendor(world: World) -> None:
    url = f"{world.url}/twilio/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
    answer = await world.http.post(url, json={"To": JO, "From": SMS, "Body": "a"}, auth=(ACCOUNT, TOKEN))
    assert answer.json()["code"] == 21604


async def test_an_unknown_address_is_not_found(world: World) -> None:
    answer = await world.http.get(
        f"{world.url}/twilio/2010-04-01/Accounts/{ACCOUNT}/Pigeons.json", auth=("SK1", "the key's secret")
    )
    assert (answer.status_code, answer.json()["code"]) == (404, 20404)


async def test_answers_are_as_documented(world: World) -> None:
    operations = twilio()["paths"][MESSAGES]
    for form in (
        {},
        {"To": f"whatsapp:{JO}", "From": WHATSAPP},
        {"Body": None, "MediaUrl": f"{world.owner.url}/a.png"},
    ):
        answer = await world.create(**form)
        assert answer.status_code == 201
        assert errors(answer_schema(operations["post"], "201"), answer.json()) == []
    await world.writes(text="Hallo")
    listed = await world.listed(PageSize="2")
    assert errors(answer_schema(operations["get"], "200"), listed) == []
    assert len(listed["messages"]) == 2
    following = await world.http.get(f"{world.url}/twilio{listed['next_page_uri']}", auth=(ACCOUNT, TOKEN))
    assert len(following.json()["messages"]) == 2
    assert following.json()["next_page_uri"] is None


async def test_statuses_come_signed_without_the_port(world: World) -> None:
    sid = (await world.create(StatusCallback=f"{world.owner.url}/status?reference=r#rc=5&rp=all")).json()["sid"]
    await until(lambda: sorted(world.owner.statuses) == ["delivered", "sent"])
    for url, headers, fields in world.owner.got:
        assert urlsplit(url).query == "reference=r"
        assert fields["MessageSid"] == [sid]
        without_port = url.replace(f":{urlsplit(url).port}", "")
        assert RequestValidator(TOKEN).compute_signature(without_port, _flat(fields)) == headers["x-twilio-signature"]
        assert RequestValidator(TOKEN).validate(url, _flat(fields), headers["x-twilio-signature"])
        assert not RequestValidator("the older token").validate(url, _flat(fields), headers["x-twilio-signature"])


def _flat(fields: dict[str, list[str]]) -> dict[str, str]:
    return {name: value for name, (value,) in fields.items()}


async def test_customers_messages_come_signed_with_their_files_and_places(world: World) -> None:
    file = {"content": "R0lGODlh", "media_type": "image/gif"}
    place = {"latitude": "52.5", "longitude": "13.4", "label": "Zuhause"}
    answer = await world.writes(by="whatsapp", to=WHATSAPP, text="Hallo 📦", name="Jo", files=[file], place=place)
    assert answer.json()[0]["webhook_status"] == 200
    ((url, headers, fields),) = world.owner.got
    assert RequestValidator(TOKEN).validate(url, _flat(fields), headers["x-twilio-signature"])
    assert _flat(fields) | {
        "From": f"whatsapp:{JO}", "To": WHATSAPP, "Body": "Hallo 📦", "WaId": JO[1:], "ProfileName": "Jo",
        "Latitude": "52.5", "Longitude": "13.4", "Label": "Zuhause", "NumMedia": "1", "MediaContentType0": "image/gif",
    } == _flat(fields)  # fmt: skip
    media = fields["MediaUrl0"][0]
    assert (await world.http.get(media)).status_code == 401
    led = await world.http.get(media, auth=(ACCOUNT, TOKEN))
    assert led.status_code == 307
    fetched = await world.http.get(led.headers["location"])
    assert (fetched.content, fetched.headers["content-type"]) == (b"GIF89a"[:6], "image/gif")


async def test_only_the_window_is_open_to_free_text(world: World) -> None:
    to = {"To": f"whatsapp:{JO}", "From": WHATSAPP}
    await world.create(**to)
    await until(lambda: world.owner.statuses == ["failed"])
    assert world.owner.got[0][2]["ErrorCode"] == ["63016"]
    await world.writes(by="whatsapp", to=WHATSAPP, text="Hallo")
    await world.create(**to)
    await until(lambda: sorted(world.owner.statuses) == ["delivered", "failed", "read", "sent"])


async def test_a_stop_blocks_a_number_and_a_start_frees_it(world: World) -> None:
    await world.writes(text=" stop ")
    assert (await world.create()).json()["code"] == 21610
    assert world.owner.got[0][2]["Body"] == [" stop "]
    await world.writes(text="Start")
    assert (await world.create()).status_code == 201
    sent = (await world.http.get(f"{world.url}/control/twilio/sent")).json()
    assert [message.get("auto") for message in sent[:2]] == [True, True]


async def test_a_stop_by_whatsapp_is_the_owners_affair(world: World) -> None:
    await world.writes(by="whatsapp", to=WHATSAPP, text="STOP")
    assert (await world.create(To=f"whatsapp:{JO}", From=WHATSAPP)).status_code == 201


async def test_a_webhook_is_tried_again_as_its_address_says(world: World) -> None:
    world.owner.answers += [Response(status_code=503), Response(status_code=500)]
    told = (await world.writes(text="Hallo")).json()[0]
    assert told["webhook_status"] == 200
    assert len(world.owner.got) == 3
    assert len({headers["i-twilio-idempotency-token"] for _, headers, _ in world.owner.got}) == 1
    world.owner.got.clear()
    # By itself only where nobody took the call.
    world.owner.answers.append(Response(status_code=503))
    await world.create()
    await until(lambda: len(world.owner.statuses) == 2)
    assert sorted(world.owner.statuses) == ["delivered", "sent"]


@pytest.mark.parametrize(
    ("kind", "text", "texted", "error"),
    [
        ("text/xml; charset=utf-8", TWIML, [], None),
        ("text/plain; charset=utf-8", "ok", ["ok"], None),
        ("text/plain", "", [], None),
        ("application/json", '"ok"', [], 12300),
        ("text/xml", "<Response><Message>Hi</Message></Response>", ["Hi"], None),
        ("text/xml", "<Response>", [], 12100),
        ("text/xml", "<html/>", [], 12100),
    ],
)
def test_what_an_answer_makes_the_vendor_do(kind: str, text: str, texted: list[str], error: int | None) -> None:
    assert made_of(kind, text) == (texted, error)


@pytest.mark.parametrize(
    ("fragment", "status", "again"),
    [("", 503, False), ("", None, True), ("#rp=5xx", 503, True), ("#rp=5xx", 404, False), ("#rp=all", 404, True),
     ("#rp=4xx,5xx", None, False), ("#rp=all", 200, False)],
)  # fmt: skip
def test_what_is_tried_again(fragment: str, status: int | None, again: bool) -> None:
    assert Target.of(f"https://a.example/x{fragment}").again(status) is again


async def test_a_fate_holds_for_so_many_messages(world: World) -> None:
    await world.command("twilio/fates", {"status": "undelivered", "code": 30003, "to": JO, "times": 1})
    await world.create()
    await until(lambda: sorted(world.owner.statuses) == ["sent", "undelivered"])
    assert {f["ErrorCode"][0] for _, _, f in world.owner.got if "ErrorCode" in f} == {"30003"}
    await world.create()
    await until(lambda: "delivered" in world.owner.statuses)


async def test_a_file_that_cannot_be_fetched_fails_its_message(world: World) -> None:
    await world.writes(by="whatsapp", to=WHATSAPP, text="Hallo")
    world.owner.answers.append(Response(status_code=404))
    await world.create(To=f"whatsapp:{JO}", From=WHATSAPP, Body=None, MediaUrl=f"{world.owner.url}/gone.png")
    await until(lambda: world.owner.statuses == ["failed"])
    assert world.owner.got[-1][2]["ErrorCode"] == ["63019"]


async def test_statuses_come_once_more_when_asked_for(world: World) -> None:
    sid = (await world.create()).json()["sid"]
    await until(lambda: len(world.owner.statuses) == 2)
    await world.command("twilio/replay", {"sid": sid})
    await until(lambda: sorted(world.owner.statuses) == ["delivered", "delivered", "sent", "sent"])


MISBEHAVIOUR = [
    ({"mode": "429", "retry_after": 7}, 429, 20429),
    ({"mode": "500"}, 500, 20500),
    ({"mode": "503"}, 503, 20503),
    ({"mode": "error", "code": 21612}, 400, 21612),
    ({"mode": "error", "code": 20003}, 401, 20003),
]


@pytest.mark.parametrize(("wanted", "status", "code"), MISBEHAVIOUR, ids=lambda it: str(it))
async def test_misbehaviour_is_the_vendors_own(world: World, wanted: dict[str, Any], status: int, code: int) -> None:
    await world.command("misbehave", {"vendor": "twilio", **wanted})
    answer = await world.create()
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers.get("retry-after") == (str(wanted["retry_after"]) if "retry_after" in wanted else None)
    assert (await world.create()).status_code == 201


async def test_an_answer_lost_after_it_was_taken_leaves_the_message_and_its_statuses(world: World) -> None:
    await world.command("misbehave", {"vendor": "twilio", "mode": "drop_after_accept"})
    with pytest.raises(httpx.HTTPError):
        await world.create()
    await until(lambda: sorted(world.owner.statuses) == ["delivered", "sent"])
    assert [m["status"] for m in (await world.listed())["messages"]] == ["delivered"]


async def test_a_forged_message_is_signed_with_something_else(world: World) -> None:
    await world.command("twilio/forged", {"to": SMS, "from": JO, "text": "Hallo"})
    ((url, headers, fields),) = world.owner.got
    assert not RequestValidator(TOKEN).validate(url, _flat(fields), headers["x-twilio-signature"])


@pytest.mark.parametrize(
    "body", [{"to": SMS}, {"to": "+12025550199", "from": JO}, {"to": SMS, "from": JO, "mood": 1}, 7]
)
async def test_a_command_that_does_not_fit_is_told_why(world: World, body: Any) -> None:
    answer = await world.http.post(f"{world.url}/control/twilio/messages", json=body)
    assert answer.status_code == 400
    assert answer.json()["message"]


async def test_forgetting_is_complete(world: World) -> None:
    await world.writes(text="STOP")
    await world.command("reset", {})
    assert (await world.listed())["messages"] == []
    assert (await world.create()).status_code == 201


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 1), ("a" * 160, 1), ("a" * 161, 2), ("a" * 306, 2), ("a" * 307, 3), ("€" * 80, 1), ("€" * 81, 2),
     ("ł" * 70, 1), ("ł" * 71, 2), ("ł" * 135, 3), ("📦" * 35, 1), ("📦" * 36, 2)],
)  # fmt: skip
def test_in_how_many_parts_a_phone_network_carries_a_text(text: str, count: int) -> None:
    assert segments(text) == count
