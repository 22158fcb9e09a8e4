"""The console's way in, over real connections: from the first question to a stream that ends with its rights."""

import asyncio
import secrets
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx

from services.sandbox.oidc import challenge_of
from shared.trust import trust
from tests.e2e.running import Running, running

# What is taken away is out of open streams within this.
OUT_WITHIN = 10.0


async def test_an_agent_signs_in_with_the_issuer_and_is_out_soon_after_they_left(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as it:
        token = await _signed_in(it, "anna")
        headers = {"Authorization": f"Bearer {token}"}
        me = (await it.http.get(f"{it.url}/v1/me", headers=headers)).json()
        assert (me["actor"], me["is_development"]) == ("anna", False)
        begun = asyncio.Event()
        listening = asyncio.create_task(_listen(it, token, begun))
        async with asyncio.timeout(15):
            await begun.wait()
        await _take_away(database_url, "UPDATE config.agent SET is_active = false WHERE handle = 'anna'")
        async with asyncio.timeout(OUT_WITHIN):
            await listening
        assert (await it.http.get(f"{it.url}/v1/me", headers=headers)).status_code == 401


async def _signed_in(it: Running, user: str) -> str:
    """An access token, as the console comes by it."""
    openid = (await it.http.get(f"{it.url}/v1/sign-in")).json()["openid"]
    found = (await it.http.get(f"{openid['issuer']}/.well-known/openid-configuration")).json()
    verifier, redirect_uri = secrets.token_urlsafe(48), f"{it.url}/console/"
    asked = {
        "client_id": openid["client_id"], "redirect_uri": redirect_uri, "response_type": "code",
        "scope": openid["scopes"], "state": "s", "code_challenge": challenge_of(verifier),
        "code_challenge_method": "S256",
    }  # fmt: skip
    page = await it.http.get(found["authorization_endpoint"], params=asked)
    assert "Anna Krüger" in page.text
    chosen = await it.http.post(found["authorization_endpoint"], data=asked | {"user": user})
    back = parse_qs(urlsplit(chosen.headers["location"]).query)
    assert back["state"] == ["s"]
    redeemed = {
        "grant_type": "authorization_code", "client_id": openid["client_id"], "redirect_uri": redirect_uri,
        "code": back["code"][0], "code_verifier": verifier,
    }  # fmt: skip
    answer = await it.http.post(found["token_endpoint"], data=redeemed)
    token: str = answer.json()["access_token"]
    return token


async def _take_away(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(statement)
        await connection.execute("UPDATE config.revision SET n = n + 1")
    finally:
        await connection.close()


async def _listen(it: Running, token: str, begun: asyncio.Event) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False, verify=trust()) as http,
        http.stream("GET", f"{it.url}/v1/stream", headers=headers) as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "event: begin":
                begun.set()
