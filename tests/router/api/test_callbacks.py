"""Asking for a call over the API: what is taken, what is refused and why, by whom, how often, once."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.router.dispatch import dispatch_round
from shared.events import WithdrawCall
from tests.router.api.conftest import Client
from tests.router.api.parts import an_api, an_app
from tests.router.line import BERLIN, LONDON, commands, hang_up, the_conversation, with_a_line
from tests.router.world import World, id_of


@pytest.fixture
async def shop(w: World) -> AsyncIterator[Client]:
    """Two brands, one of which has a line; and a key of its server."""
    await with_a_line(w)
    client = Client(an_app(an_api(w)), w)
    await client.key("shop", "brand", "shop")
    await client.key("other", "brand", "other")
    await client.key("both", "brand", "shop", "other")
    async with client.http:
        yield client


KEY = "key-shop-brand"


async def ask(shop: Client, who: str = KEY, *, key: str | None = None, **body: Any) -> Any:
    return await shop.post("/v1/callback-requests", who, {"phone": BERLIN} | body, etag=None, key=key)


async def test_a_shops_server_asks_for_a_call_and_sees_how_it_stands(shop: Client) -> None:
    answer = await ask(
        shop, name="Ina Kunde", language="de", text="Mein Paket fehlt.", matter="A-1007", zone="Europe/Berlin",
        preferred_at="2026-11-23T15:30:00+01:00", phone="+49 (30) 2312-5123",
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    shown = answer.json()
    assert (shown["state"], shown["phone"], shown["call_at"]) == ("scheduled", BERLIN, "2026-11-23T14:30:00Z")
    path = f"/v1/callback-requests/{shown['id']}"
    assert (await shop.get(path, KEY)).json() == shown
    assert (await shop.get(path, "key-other-brand")).status_code == 404
    conversation = (await shop.get(f"/v1/conversations/{shown['conversation_id']}", "sam")).json()
    assert (conversation["state"], conversation["matter"], conversation["customer_name"]) == (
        "scheduled", "A-1007", "Ina Kunde",
    )  # fmt: skip
    assert [m["text"] for m in conversation["messages"]] == ["Mein Paket fehlt."]
    listed = (await shop.get("/v1/conversations?state=scheduled", "sam")).json()["items"]
    assert [item["id"] for item in listed] == [shown["conversation_id"]]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"phone": "03023125123"}, 422, "number_malformed"),
        ({"phone": "+49 110"}, 422, "number_invalid"),
        ({"phone": "+44 7700 900"}, 422, "number_invalid"),
        ({"phone": "+49 900 1 234567"}, 422, "number_not_called"),
        ({"phone": "+49 180 1234567"}, 422, "number_not_called"),
        ({"phone": "+39 06 1234 5678"}, 422, "country_not_allowed"),
        ({"phone": "+1 876 555 0123"}, 422, "country_not_allowed"),
        ({"zone": "Berlin"}, 422, "unknown_zone"),
        ({"preferred_at": "2026-11-23T08:00:00Z"}, 422, "preferred_time_past"),
        ({"preferred_at": "2027-11-23T09:00:00Z"}, 422, "preferred_time_far"),
        # Not an instant: nobody could tell whose three o'clock it is.
        ({"preferred_at": "2026-11-23T15:30:00"}, 422, "invalid_request"),
        ({"preferred_at": "tomorrow"}, 422, "invalid_request"),
        ({"phone": ""}, 422, "number_malformed"),
        ({"phone": None}, 422, "invalid_request"),
        ({"phone": "+" + "1" * 60}, 422, "invalid_request"),
        ({"language": "German"}, 422, "invalid_request"),
        ({"name": "a\x00b"}, 422, "invalid_request"),
        ({"matter": "line\nbreak"}, 422, "invalid_request"),
        ({"colour": "red"}, 422, "invalid_request"),
        ({"brand_id": str(id_of("other"))}, 404, "not_found"),
    ],
    ids=str,
)
async def test_what_cannot_be_called_is_refused_with_its_reason_and_without_a_trace(
    shop: Client, body: dict[str, Any], status: int, code: str
) -> None:
    answer = await ask(shop, **body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "2312" not in answer.text
    assert await shop.world.value("SELECT count(*) FROM router.conversation") == 0
    assert await shop.world.value("SELECT count(*) FROM router.customer") == 0
    # The neighbour is taken.
    assert (await ask(shop)).status_code == 202


@pytest.mark.parametrize(
    ("who", "body", "status", "code"),
    [
        ("anna", {}, 403, "not_allowed"),
        ("sam", {}, 422, "brand_needed"),
        ("sam", {"brand_id": str(id_of("shop"))}, 202, None),
        ("key-both-brand", {}, 422, "brand_needed"),
        ("key-both-brand", {"brand_id": str(id_of("shop"))}, 202, None),
        ("key-both-brand", {"brand_id": str(id_of("other"))}, 409, "no_line"),
        ("key-other-brand", {}, 409, "no_line"),
        ("key-nobody-brand", {}, 401, "unauthorized"),
    ],
    ids=str,
)
async def test_a_brand_asks_for_its_own_customers(
    shop: Client, who: str, body: dict[str, Any], status: int, code: str | None
) -> None:
    answer = await ask(shop, who, **body)
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text


async def test_a_shops_server_needs_no_more_than_its_scope(shop: Client, w: World) -> None:
    await w.fetch("UPDATE config.api_key SET scopes = '{callbacks}'")
    asked = await ask(shop)
    assert asked.status_code == 202
    path = f"/v1/callback-requests/{asked.json()['id']}"
    assert (await shop.get(path, KEY)).status_code == 200
    assert (await shop.get("/v1/conversations", KEY)).json()["code"] == "out_of_scope"
    await w.fetch("UPDATE config.api_key SET scopes = '{read}'")
    assert (await ask(shop)).json()["code"] == "out_of_scope"
    assert (await shop.post(f"{path}/withdraw", KEY, etag=None)).json()["code"] == "out_of_scope"
    assert (await shop.get(path, KEY)).status_code == 200


async def test_the_same_request_twice_is_one_call(shop: Client) -> None:
    first, second = await ask(shop, key="once"), await ask(shop, key="once")
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert second.headers["idempotency-replayed"] == "true"
    assert await shop.world.value("SELECT count(*) FROM router.message") == 1
    assert (await ask(shop, key="once", phone=LONDON)).json()["code"] == "idempotency_key_reused"
    missing = await shop.http.post("/v1/callback-requests", json={"phone": BERLIN}, headers=shop.bearer(KEY))
    assert missing.json()["code"] == "no_idempotency_key"


async def done(shop: Client) -> None:
    """Somebody has talked to everybody who asked."""
    await shop.world.fetch("UPDATE router.callback SET state = 'done', next_at = NULL")


@pytest.mark.parametrize("is_called", [True, False])
async def test_a_number_is_asked_for_three_times_a_day_at_most_and_the_others_go_on(
    shop: Client, is_called: bool
) -> None:
    for _ in range(3):
        assert (await ask(shop)).status_code == 202
        if is_called:
            await done(shop)
    refused = await ask(shop)
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_for_this_number")
    assert int(refused.headers["retry-after"]) > 0
    # However it is written.
    assert (await ask(shop, phone="+49 30/2312 5123")).status_code == 429
    assert (await ask(shop, phone=LONDON)).status_code == 202
    shop.world.clock.forward(hours=24, seconds=1)
    assert (await ask(shop)).status_code == 202


async def test_a_brand_has_a_limit_of_its_own_that_holds_for_requests_at_once(w: World) -> None:
    await with_a_line(w, a_day=3)
    client = Client(an_app(an_api(w)), w)
    who = await client.key("shop", "brand", "shop")
    async with client.http:
        answers = await asyncio.gather(*(ask(client, who, phone=f"+4930231251{n:02}") for n in range(8)))
        statuses = [a.status_code for a in answers]
        # Whoever met another one is asked to come again.
        again = [await ask(client, who, phone=f"+4930231252{n:02}") for n in range(8)]
    statuses += [a.status_code for a in again]
    assert statuses.count(202) == 3
    assert set(statuses) <= {202, 409, 429}
    assert again[-1].json()["code"] == "too_many_for_this_brand"


async def test_of_several_lines_the_one_in_the_customers_country_calls(w: World) -> None:
    await with_a_line(w, countries=["DE", "GB"])
    await w.fetch(
        "INSERT INTO config.inbox (id, brand_id, account_id, handle, channel, address, name, country, settings) "
        "VALUES ($1, $2, $3, 'gb-line', 'phone', '+4420', 'GB', 'GB', '{}')",
        id_of("gb-line"), id_of("shop"), id_of("account-line"),
    )  # fmt: skip
    await w.fetch("UPDATE config.revision SET n = n + 1")
    client = Client(an_app(an_api(w)), w)
    who = await client.key("shop", "brand", "shop")
    async with client.http:
        assert (await ask(client, who, phone=LONDON)).status_code == 202
        assert (await ask(client, who)).status_code == 202
    rows = await w.fetch("SELECT inbox_id FROM router.conversation ORDER BY id")
    assert [row["inbox_id"] for row in rows] == [id_of("gb-line"), id_of("shop-line")]


async def test_a_line_whose_rules_are_broken_says_so_to_whoever_keeps_it(w: World) -> None:
    await with_a_line(w, opens="noon")
    client = Client(an_app(an_api(w)), w)
    who = await client.key("shop", "brand", "shop")
    async with client.http:
        answer = await ask(client, who)
    assert (answer.status_code, answer.json()["code"]) == (409, "bad_callback_rules")


@pytest.mark.parametrize("preferred", [None, "2026-11-23T15:00:00Z"])
async def test_a_wish_is_withdrawn_while_it_waits(shop: Client, preferred: str | None) -> None:
    callback = (await ask(shop, preferred_at=preferred)).json()
    path = f"/v1/callback-requests/{callback['id']}/withdraw"
    assert (await shop.post(path, "key-other-brand", etag=None)).status_code == 404
    assert (await shop.post(path, "anna", etag=None)).status_code == 403
    answer = await shop.post(path, KEY, etag=None)
    assert (answer.status_code, answer.json()["state"]) == (202, "withdrawn")
    assert await shop.world.value("SELECT state FROM router.conversation") == "resolved"
    assert await shop.world.value("SELECT count(*) FROM router.queue") == 0
    assert await shop.world.value("SELECT count(*) FROM router.clock WHERE state = 'running'") == 0
    again = await shop.post(path, KEY, etag=None)
    assert (again.status_code, again.json()["code"]) == (409, "wrong_state")


async def offered(shop: Client, agent: str = "anna") -> str:
    await shop.world.there(agent)
    async with shop.world.router.transaction() as tx:
        assert await dispatch_round(tx, shop.world.cache, frozenset({"phone"})) == 1
    return f"/v1/conversations/{await the_conversation(shop.world)}"


async def test_a_wish_that_is_withdrawn_while_it_is_called_orders_to_hang_up(shop: Client) -> None:
    callback = (await ask(shop)).json()
    path = await offered(shop)
    assert (await shop.post(f"{path}/accept")).status_code == 200
    answer = await shop.post(f"/v1/callback-requests/{callback['id']}/withdraw", KEY, etag=None)
    assert (answer.status_code, answer.json()["state"]) == (202, "calling")
    (order,) = await commands(shop.world, WithdrawCall)
    assert order.call_id == await shop.world.value("SELECT call_id FROM router.callback")
    await hang_up(shop.world, "withdrawn")
    assert (await shop.get(f"/v1/callback-requests/{callback['id']}", KEY)).json()["state"] == "withdrawn"
    assert await shop.world.value("SELECT state FROM router.conversation") == "resolved"


async def test_nobody_is_called_outside_the_customers_hours(shop: Client) -> None:
    await ask(shop)
    path = await offered(shop)
    shop.world.clock.forward(hours=11)
    answer = await shop.post(f"{path}/accept")
    assert (answer.status_code, answer.json()["code"]) == (409, "outside_hours")
    assert await commands(shop.world) == []


async def test_who_has_no_telephone_cannot_take_a_call(shop: Client) -> None:
    await ask(shop)
    await shop.world.there("claire")
    path = f"/v1/conversations/{await the_conversation(shop.world)}"
    answer = await shop.post(f"{path}/claim", "claire")
    assert (answer.status_code, answer.json()["code"]) == (409, "no_telephone")
    await shop.world.there("bernd")
    assert (await shop.post(f"{path}/claim", "bernd")).status_code == 200
    assert len(await commands(shop.world)) == 1


async def test_a_chat_calls_nobody_and_a_line_is_not_written_to(shop: Client) -> None:
    await shop.world.receive(shop.world.message(sender="kunde"))
    await shop.world.there("anna")
    chat = f"/v1/conversations/{await shop.world.value('SELECT id FROM router.conversation')}"
    assert (await shop.post(f"{chat}/claim")).status_code == 200
    assert (await shop.post(f"{chat}/call")).json()["code"] == "nobody_to_call"
    await ask(shop)
    path = await offered(shop)
    assert (await shop.post(f"{path}/accept")).status_code == 200
    refused = await shop.post(f"{path}/reply", body={"text": "Hallo"})
    assert (refused.status_code, refused.json()["code"]) == (409, "calls_only")
