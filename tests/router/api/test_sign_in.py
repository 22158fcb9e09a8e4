"""Agents sign in with their issuer; what they may is our configuration's, and what is taken away is gone."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import pytest

from services.router import stream as streams
from services.router.api.tokens import Tokens
from services.router.stream import Reader, Rights
from services.sandbox.oidc import Absence, Rotation
from tests.router.api.conftest import Client
from tests.router.api.test_problems import check
from tests.router.issuer import Served
from tests.router.world import World, id_of


async def change(w: World, statement: str, *args: object) -> None:
    """Of the configuration, as `dragoman apply` would leave it."""
    await w.fetch(statement, *args)
    await w.fetch("UPDATE config.revision SET n = n + 1")


async def test_whoever_has_no_token_yet_is_told_how_to_come_by_one(api: Client, issuer: Served) -> None:
    told = await api.http.get("/v1/sign-in")
    assert told.json() == {"development_tokens": True, "openid": None}
    settings = api.parts.settings
    settings.development_tokens = False
    settings.oidc_issuer, settings.oidc_client_id = issuer.url, "console"
    assert (await api.http.get("/v1/sign-in")).json() == {
        "development_tokens": False,
        "openid": {"issuer": issuer.url, "client_id": "console", "scopes": "openid"},
    }


async def test_a_token_stands_for_the_agent_of_its_subject(api: Client, issuer: Served, w: World) -> None:
    shown = (await api.get("/v1/me", issuer.token("anna"))).json()
    assert (shown["actor"], shown["role"], shown["agent_id"], shown["is_development"]) == (
        "anna", "agent", str(id_of("anna")), False,
    )  # fmt: skip
    await change(w, "UPDATE config.agent SET subject = '00u7', role = 'supervisor' WHERE handle = 'anna'")
    assert (await api.get("/v1/me", issuer.token("anna"))).status_code == 401
    renamed = (await api.get("/v1/me", issuer.token("anna", sub="00u7", role="admin"))).json()
    assert (renamed["actor"], renamed["role"]) == ("anna", "supervisor")


async def test_an_agent_with_a_token_works_as_with_any_other(api: Client, issuer: Served) -> None:
    path = await api.offered("anna")
    first, renewed = issuer.token("anna"), issuer.token("anna")
    assert (await api.post(f"{path}/accept", first, key="accept")).status_code == 200
    # A renewed token is the same agent's: the same request has no second effect.
    again = await api.post(f"{path}/accept", renewed, key="accept")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (200, "true")


async def test_the_audit_knows_who_signed_in_once_a_token(api: Client, issuer: Served, w: World) -> None:
    token, stranger = issuer.token("anna"), issuer.token("stranger")
    other = Tokens(w.cache, api.parts.settings, api.parts.tokens.issuer)
    for _ in range(3):
        assert (await api.get("/v1/me", token)).status_code == 200
        assert (await api.get("/v1/me", stranger)).status_code == 401
    async with w.router.transaction() as tx:
        await other.read(tx, token)
    assert (await api.get("/v1/me", issuer.token("anna"))).status_code == 200
    await api.get("/v1/me", "eyJhbGciOiJFUzI1NiJ9.e30.")
    rows = await w.fetch("SELECT actor, action, data FROM router.audit ORDER BY actor, at")
    assert [(row["actor"], row["action"]) for row in rows] == [
        ("anna", "signed_in"), ("anna", "signed_in"), ("stranger", "sign_in_refused"),
    ]  # fmt: skip
    assert rows[0]["data"]["agent"] == str(id_of("anna"))
    assert token not in str(rows)


async def test_an_issuer_that_is_away_is_said_and_stops_nobody_who_is_in(api: Client, issuer: Served) -> None:
    token = issuer.token("anna")
    assert (await api.get("/v1/me", token)).status_code == 200
    issuer.oidc.leave(Absence(away=True))
    assert (await api.get("/v1/me", token)).status_code == 200
    issuer.oidc.rotate(Rotation())
    refused = await api.get("/v1/me", issuer.token("anna"))
    check(refused, 503, "issuer_away")
    assert refused.headers["retry-after"] == "5"
    issuer.oidc.leave(Absence(away=False))
    issuer.seconds += 10
    assert (await api.get("/v1/me", issuer.token("anna"))).status_code == 200


Withdraw = Callable[[World, Client], Awaitable[None]]


async def no_brands(w: World, _api: Client) -> None:
    await change(w, "UPDATE config.agent SET brands = '{}' WHERE handle = 'anna'")


async def inactive(w: World, _api: Client) -> None:
    await change(w, "UPDATE config.agent SET is_active = false WHERE handle = 'anna'")


async def revoked(w: World, api: Client) -> None:
    admin = await api.key("ada", "admin", "shop", "other")
    key_id = await w.value("UPDATE config.api_key SET created_by = 'ada' WHERE name = 'k' RETURNING id")
    assert (await api.http.delete(f"/v1/api-keys/{key_id}", headers=api.bearer(admin))).status_code == 200


async def expired(w: World, _api: Client) -> None:
    w.clock.forward(minutes=10)


async def narrowed(w: World, _api: Client) -> None:
    await w.fetch("UPDATE config.api_key SET scopes = '{write}'")


async def out_of_the_file(w: World, _api: Client) -> None:
    await change(w, "DELETE FROM config.api_key")


WITHDRAWALS: Mapping[str, tuple[str, Withdraw]] = {
    "an issuer's agent has no brand any more": ("issuer", no_brands),
    "an issuer's agent left": ("issuer", inactive),
    "an issuer's token expired": ("issuer", expired),
    "a developer's agent left": ("development", inactive),
    "a key was revoked": ("key", revoked),
    "a key expired": ("key", expired),
    "a key may not look any more": ("key", narrowed),
    "a key is not in the file any more": ("key", out_of_the_file),
    "a key's agent left": ("key", inactive),
    "a key's agent has no brand any more": ("key", no_brands),
}


@pytest.mark.parametrize("name", WITHDRAWALS)
async def test_what_is_taken_away_is_out_of_requests_and_of_open_streams(
    api: Client, issuer: Served, w: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "CHECK_EVERY", 0.0)
    kind, withdraw = WITHDRAWALS[name]
    path = await api.received()
    token = {
        "issuer": issuer.token("anna", expires_in=300),
        "development": "dev-anna",
        "key": await api.key("k", "agent", "shop", agent="anna"),
    }[kind]
    await w.fetch("UPDATE config.api_key SET expires_at = $1", w.clock.at.replace(minute=5))
    asked = token.removeprefix("dev-")
    assert (await api.get(path, asked)).status_code == 200
    reader = Reader(token, Rights(frozenset({id_of("shop")}), id_of("anna")))
    # What was not numbered yet would be told after the beginning, in the place of what is asked for.
    async with asyncio.timeout(10):
        while await w.value("SELECT count(*) FROM bus.outbox WHERE topic = 'routing' AND seq IS NULL"):
            await asyncio.sleep(0.01)
    async with api.parts.stream.reading(reader, None) as told:
        assert b"event: begin" in await anext(told)
        await w.receive(w.message(sender="before"))
        assert b"event: queued" in await soon(told)
        await withdraw(w, api)
        assert (await api.get(path, asked)).status_code in (401, 403, 404)
        # A look that sees both checks the rights first, so nothing of this is told.
        await w.receive(w.message(sender="after"))
        async with asyncio.timeout(10):
            while not reader.is_over and reader.rights.brands:
                await asyncio.sleep(0.01)
        assert not reader.take(-1)


async def soon(told: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(10):
        return await anext(told)
