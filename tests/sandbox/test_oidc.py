"""The stand-in of an OpenID issuer does what the specifications say, and is strict with whoever does not."""

import base64
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError
from joserfc.jwk import KeySet

from services.sandbox.app import serve
from services.sandbox.oidc import CODE_HOLDS, Oidc, challenge_of
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig
from shared.trust import trust
from tests.sandbox.conftest import Clock, address, at_a_port

VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"


@dataclass
class Browser:
    """A client that does everything right but for what a test changes."""

    issuer: str
    console: str
    http: httpx.AsyncClient
    clock: Clock

    async def choose(self, user: str | None = "anna", method: str = "POST", **change: str | None) -> httpx.Response:
        asked = {
            "client_id": "console", "redirect_uri": self.console, "response_type": "code", "scope": "openid",
            "state": "s t", "nonce": "n", "code_challenge": challenge_of(VERIFIER), "code_challenge_method": "S256",
            "user": user,
        } | change  # fmt: skip
        given = {name: value for name, value in asked.items() if value is not None}
        if method == "GET":
            return await self.http.get(f"{self.issuer}/authorize", params=given)
        return await self.http.post(f"{self.issuer}/authorize", data=given)

    async def code(self) -> str:
        return self.led_back(await self.choose())["code"]

    def led_back(self, answer: httpx.Response) -> dict[str, str]:
        assert answer.status_code == 303, answer.text
        assert answer.headers["location"].startswith(f"{self.console}?")
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    async def redeem(self, real: str, **change: str | None) -> httpx.Response:
        asked = {
            "grant_type": "authorization_code", "client_id": "console", "redirect_uri": self.console, "code": real,
            "code_verifier": VERIFIER,
        } | change  # fmt: skip
        return await self.http.post(f"{self.issuer}/token", data={n: v for n, v in asked.items() if v is not None})

    async def control(self, what: str, **body: Any) -> httpx.Response:
        return await self.http.post(f"{self.issuer.removesuffix('/oidc')}/control/oidc/{what}", json=body)

    async def claims(self, token: str) -> dict[str, Any]:
        """Checked with what the issuer publishes now."""
        published = (await self.http.get(f"{self.issuer}/jwks")).json()
        assert all("d" not in key for key in published["keys"])
        return jwt.decode(token, KeySet.import_key_set(published), algorithms=["ES256"]).claims


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    listening = socket.create_server(("127.0.0.1", 0))
    url = address(listening)
    settings = {
        "issuer": f"{url}/oidc", "client_id": "console", "audience": "dragoman",
        "redirect_uris": [f"{url}/console/"], "users": {"anna": "Anna Krüger", "sam": "Sam <Duarte>"},
    }  # fmt: skip
    clock = Clock()
    async with (
        serve(SandboxConfig(), {"oidc": [Connection(name="oidc", settings=settings)]}) as sandbox,
        at_a_port(sandbox, listening),
        httpx.AsyncClient(timeout=5, trust_env=False, verify=trust()) as http,
    ):
        (stand_in,) = [s for s in sandbox.stand_ins if isinstance(s, Oidc)]
        stand_in._now = clock
        yield Browser(settings["issuer"], f"{url}/console/", http, clock)  # type: ignore[arg-type]


async def test_a_code_is_worth_tokens_for_the_api_and_for_the_client(browser: Browser) -> None:
    told = (await browser.http.get(f"{browser.issuer}/.well-known/openid-configuration")).json()
    assert told["issuer"] == browser.issuer
    page = await browser.choose(user=None, method="GET")
    assert "Sam &lt;Duarte&gt;" in page.text
    assert 'value="s t"' in page.text
    back = browser.led_back(await browser.choose("sam"))
    assert back.keys() == {"code", "state", "iss"}
    assert (back["state"], back["iss"]) == ("s t", browser.issuer)
    answer = await browser.redeem(back["code"])
    assert answer.headers["cache-control"] == "no-store"
    tokens = answer.json()
    access = await browser.claims(tokens["access_token"])
    assert (access["iss"], access["sub"], access["aud"], access["client_id"]) == (
        browser.issuer, "sam", "dragoman", "console",
    )  # fmt: skip
    assert access["exp"] - access["iat"] == tokens["expires_in"] == 3600
    identity = await browser.claims(tokens["id_token"])
    assert (identity["aud"], identity["nonce"], identity["name"]) == ("console", "n", "Sam <Duarte>")
    header = json.loads(base64.urlsafe_b64decode(tokens["access_token"].split(".")[0] + "=="))
    assert header["typ"] == "at+jwt"


async def test_nobody_is_led_to_an_address_that_is_not_the_clients(browser: Browser) -> None:
    for change in (
        {"redirect_uri": f"{browser.console}more"},
        {"redirect_uri": "https://elsewhere.example/<x>"},
        {"redirect_uri": None},
        {"client_id": "another"},
    ):
        answer = await browser.choose(**change)
        assert answer.status_code == 400
        assert "<x>" not in answer.text
    twice = await browser.http.get(f"{browser.issuer}/authorize", params=[("client_id", "console")] * 2)
    assert twice.status_code == 400
    no_form = await browser.http.post(f"{browser.issuer}/authorize", json={"client_id": "console"})
    assert no_form.status_code == 400


REQUESTS = {
    "another response": ({"response_type": "token"}, "unsupported_response_type"),
    "another scope": ({"scope": "profile"}, "invalid_scope"),
    "no challenge": ({"code_challenge": None}, "invalid_request"),
    "a challenge in the clear": ({"code_challenge_method": "plain"}, "invalid_request"),
    "a challenge of another length": ({"code_challenge": "abc"}, "invalid_request"),
    "without a page": ({"prompt": "none"}, "login_required"),
    "nobody": ({"user": "nobody"}, "access_denied"),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_wrong_request_is_told_to_the_client(browser: Browser, name: str) -> None:
    change, error = REQUESTS[name]
    back = browser.led_back(await browser.choose(**change))  # type: ignore[arg-type]
    assert (back["error"], back["state"]) == (error, "s t")


REDEMPTIONS = {
    "another verifier": ({"code_verifier": "x" * 43}, "invalid_grant"),
    "a verifier that is none": ({"code_verifier": VERIFIER[:-1]}, "invalid_grant"),
    "no verifier": ({"code_verifier": None}, "invalid_request"),
    "another address": ({"redirect_uri": "https://elsewhere.example"}, "invalid_grant"),
    "another client": ({"client_id": "another"}, "invalid_client"),
    "another grant": ({"grant_type": "password"}, "unsupported_grant_type"),
    "a made-up code": ({"code": "made-up"}, "invalid_grant"),
}


@pytest.mark.parametrize("name", REDEMPTIONS)
async def test_a_code_is_for_whoever_asked_for_it(browser: Browser, name: str) -> None:
    change, error = REDEMPTIONS[name]
    answer = await browser.redeem(await browser.code(), **change)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["error"]) == (400, error)


async def test_a_code_works_once_and_for_a_minute(browser: Browser) -> None:
    code = await browser.code()
    assert (await browser.redeem(code)).status_code == 200
    assert (await browser.redeem(code)).json()["error"] == "invalid_grant"
    late = await browser.code()
    browser.clock.at += CODE_HOLDS + timedelta(seconds=1)
    assert (await browser.redeem(late)).json()["error"] == "invalid_grant"


async def test_keys_rotate_and_the_issuer_goes_away_on_request(browser: Browser) -> None:
    minted = await browser.control("tokens", user="anna", claims={"aud": "x", "jti": None})
    before = minted.json()["access_token"]
    assert "jti" not in await browser.claims(before)
    await browser.control("rotate")
    assert (await browser.claims(before))["aud"] == "x"
    await browser.control("rotate", drop=True)
    with pytest.raises(InvalidKeyIdError):
        await browser.claims(before)
    assert (await browser.control("tokens", user="nobody")).status_code == 400
    assert (await browser.control("rotate", dropp=True)).status_code == 400
    await browser.control("away", away=True)
    assert (await browser.http.get(f"{browser.issuer}/jwks")).status_code == 503
    await browser.control("away", away=False)
    assert (await browser.http.get(f"{browser.issuer}/jwks")).status_code == 200
