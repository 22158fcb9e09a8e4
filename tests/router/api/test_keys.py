"""Keys of programs: shown once, good for no more than their maker is, gone when they are revoked."""

import hashlib
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.router.api.conftest import Client
from tests.router.api.test_problems import check
from tests.router.world import World, id_of

SHOP, OTHER = str(id_of("shop")), str(id_of("other"))


def new(**change: Any) -> dict[str, Any]:
    return {"name": "shop-server", "role": "brand", "brands": [SHOP], **change}


@pytest.fixture
async def ada(api: Client) -> str:
    """The key of an admin of one brand."""
    return await api.key("ada", "admin", "shop")


async def made(api: Client, ada: str, **change: Any) -> dict[str, Any]:
    answer = await api.post("/v1/api-keys", ada, new(**change))
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    document: dict[str, Any] = answer.json()
    return document


async def revoke(api: Client, key_id: str, agent: str) -> httpx.Response:
    return await api.http.delete(f"/v1/api-keys/{key_id}", headers=api.bearer(agent))


async def test_a_key_is_shown_once_and_kept_as_its_hash(api: Client, w: World, ada: str) -> None:
    first = await api.post("/v1/api-keys", ada, new(), key="once")
    key = first.json()["key"]
    assert (await api.get("/v1/me", key)).json()["actor"] == "key:shop-server"
    again = await api.post("/v1/api-keys", ada, new(), key="once")
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json() == first.json() | {"key": None}
    listed = (await api.get("/v1/api-keys", ada)).json()["items"]
    assert [item["name"] for item in listed] == ["ada", "shop-server"]
    assert all("key" not in item for item in listed)
    assert (
        await w.value("SELECT digest FROM config.api_key WHERE name = 'shop-server'")
        == hashlib.sha256(key.encode()).digest()
    )
    tables = ["config.api_key", "router.idempotency", "router.audit"]
    for table in tables:
        rows = [dict(row) for row in await w.fetch(f"SELECT * FROM {table}")]
        assert key.removeprefix("dragoman_") not in str(rows), table


async def test_a_revoked_key_is_gone_at_once_and_stays_in_the_list(api: Client, w: World, ada: str) -> None:
    document = await made(api, ada)
    assert (await api.get("/v1/me", document["key"])).status_code == 200
    revoked = await revoke(api, document["id"], ada)
    assert revoked.json()["revoked_at"] is not None
    assert (await api.get("/v1/me", document["key"])).status_code == 401
    w.clock.forward(hours=1)
    assert (await revoke(api, document["id"], ada)).json() == revoked.json()
    assert revoked.json() in (await api.get("/v1/api-keys", ada)).json()["items"]
    noted = await w.fetch("SELECT action, actor, brand_id, data FROM router.audit ORDER BY id")
    assert [(row["action"], row["actor"], row["brand_id"]) for row in noted] == [
        ("api_key.created", "key:ada", id_of("shop")),
        ("api_key.revoked", "key:ada", id_of("shop")),
    ]
    assert {row["data"]["api_key"] for row in noted} == {document["id"]}


async def test_a_key_ends_with_its_time(api: Client, w: World, ada: str) -> None:
    end = w.clock.at.replace(hour=12).isoformat()
    key = (await made(api, ada, expires_at=end))["key"]
    assert (await api.get("/v1/me", key)).status_code == 200
    w.clock.forward(hours=3)
    assert (await api.get("/v1/me", key)).status_code == 401


async def test_nobody_gives_more_than_they_have(api: Client, w: World, ada: str) -> None:
    await w.fetch("UPDATE config.api_key SET scopes = '{admin,read}'")
    check(await api.post("/v1/api-keys", ada, new(role="admin")), 403, "more_than_yours")
    check(await api.post("/v1/api-keys", ada, new(role="supervisor", scopes=["write"])), 403, "more_than_yours")
    check(await api.post("/v1/api-keys", ada, new(brands=[SHOP, OTHER])), 404, "not_found")
    check(await api.post("/v1/api-keys", ada, new(role="agent", agent_id=str(id_of("anna")))), 404, "not_found")
    narrow = await made(api, ada, role="admin", scopes=["admin", "read", "read"])
    assert narrow["scopes"] == ["admin", "read"]
    check(await api.post("/v1/api-keys", narrow["key"], new(scopes=["callbacks"])), 403, "more_than_yours")


async def test_keys_of_more_brands_than_mine_are_not_mine_to_see_or_revoke(api: Client, w: World, ada: str) -> None:
    await api.key("both", "brand", "shop", "other")
    assert "both" not in (await api.get("/v1/api-keys", ada)).text
    both = await w.value("SELECT id FROM config.api_key WHERE name = 'both'")
    check(await revoke(api, both, ada), 404, "not_found")
    all_of_them = await api.key("root", "admin", "shop", "other")
    assert "both" in (await api.get("/v1/api-keys", all_of_them)).text


async def test_a_key_of_the_file_is_the_files(api: Client, w: World, ada: str) -> None:
    check(await revoke(api, str(await w.value("SELECT id FROM config.api_key")), ada), 409, "of_the_file")
    assert (await api.get("/v1/me", ada)).status_code == 200


async def test_a_key_for_an_agent_acts_as_that_agent(api: Client, ada: str) -> None:
    path = await api.offered("bernd")
    key = (await made(api, ada, role="agent", agent_id=str(id_of("bernd"))))["key"]
    accepted = await api.post(f"{path}/accept", key)
    assert UUID(accepted.json()["agent_id"]) == id_of("bernd")


WRONG = {
    "no name": {"name": ""},
    "a name of lines": {"name": "a\nb"},
    "another role": {"role": "owner"},
    "no brand": {"brands": []},
    "an agent who is nobody": {"role": "agent"},
    "a scope that the role has not": {"scopes": ["write"]},
    "an unknown scope": {"scopes": ["everything"]},
    "an end without a zone": {"expires_at": "2027-01-01T00:00:00"},
    "a field of ours": {"created_by": "me"},
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_key_that_makes_no_sense_is_not_made(api: Client, ada: str, name: str) -> None:
    check(await api.post("/v1/api-keys", ada, new(**WRONG[name])), 422, "invalid_request")


@pytest.mark.parametrize("end", ["2020-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
async def test_a_key_that_would_never_hold_or_for_ever_is_not_made(api: Client, ada: str, end: str) -> None:
    check(await api.post("/v1/api-keys", ada, new(expires_at=end)), 422, "bad_expiry")
