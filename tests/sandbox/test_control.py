"""`/control` drives the stand-ins over HTTP: the same as the handle, with clear answers to wrong commands."""

from typing import Any

import httpx
import pytest

from services.sandbox.app import build
from services.sandbox.state import SandboxConfig
from shared.trust import trust
from tests.sandbox.conftest import World, at_a_port, until

MESSAGE = {"page": "100", "psid": "4711", "text": "Wo bleibt meine Bestellung?"}


async def told(world: World, path: str, body: Any) -> httpx.Response:
    return await world.http.post(f"{world.url}/control/{path}", json=body)


async def shown(world: World, path: str) -> Any:
    answer = await world.http.get(f"{world.url}/control/{path}")
    assert answer.status_code == 200
    return answer.json()


async def test_a_conversation_is_driven_and_looked_at_over_http(world: World) -> None:
    at = "2026-11-24T11:59:00+00:00"
    answer = await told(world, "messenger/messages", MESSAGE | {"name": "Ana Gómez", "at": at, "mid": "m_1"})
    assert (answer.status_code, answer.json()) == (200, {"webhook_status": 200, "mids": ["m_1"]})
    assert world.receiver.items[0]["timestamp"] == 1795521540000
    mid = (await world.send()).json()["message_id"]
    assert [(m["id"], m["text"]) for m in await shown(world, "messenger/sent")] == [(mid, "Guten Tag")]
    assert [r["verdict"] for r in await shown(world, "requests")] == ["accepted"]
    await until(lambda: len(world.receiver.items) == 4)
    webhooks = await shown(world, "webhooks")
    assert [kind for webhook in webhooks for kind in webhook["items"]] == ["message", "echo", "delivery", "read"]
    assert {status for webhook in webhooks for status in webhook["statuses"]} == {200}


async def test_a_list_of_messages_is_one_webhook(world: World) -> None:
    await told(world, "messenger/messages", [MESSAGE, MESSAGE | {"page": "200"}])
    (body,) = world.receiver.bodies
    assert [entry["id"] for entry in body["entry"]] == ["100", "200"]


async def test_a_webhook_that_is_not_taken_is_a_502(world: World) -> None:
    world.receiver.statuses.extend([500] * 3)
    answer = await told(world, "messenger/messages", MESSAGE)
    assert (answer.status_code, answer.json()["webhook_status"]) == (502, 500)


async def test_forged_and_handshake_say_what_came_back(world: World) -> None:
    world.receiver.statuses.append(401)
    assert (await told(world, "messenger/forged", MESSAGE)).json()["webhook_status"] == 401
    url = f"{world.url}/control/messenger/verification"
    assert (await world.http.post(url)).json() == {"status": 200, "is_verified": True}
    assert (await world.http.post(url, json={"token": "?"})).json() == {"status": 403, "is_verified": False}


async def test_a_buyer_writes_and_the_answer_is_shown(world: World) -> None:
    message = {"shop": "2001", "customer": "Marie", "text": "Bonjour", "order": "order-1", "locale": "fr_BE"}
    (first,) = (await told(world, "mirakl/messages", message)).json()
    more = {"shop": "2001", "customer": "Marie", "thread": first["thread_id"], "html": True}
    files = [{"name": "a.txt", "content": "YQ=="}]
    both = await told(
        world,
        "mirakl/messages",
        [more | {"text": "a\nb", "files": files}, more | {"text": "Vite", "from": "operator"}],
    )
    assert [m["thread_id"] for m in both.json()] == [first["thread_id"]] * 2
    await world.answer(first["thread_id"])
    assert [m["text"] for m in await shown(world, "mirakl/sent")] == ["Bonjour"]
    thread = (await world.mirakl(f"/api/inbox/threads/{first['thread_id']}")).json()
    kinds = [m["from"]["type"] for m in thread["messages"]]
    assert kinds == ["CUSTOMER_USER", "CUSTOMER_USER", "OPERATOR_USER", "SHOP_USER"]
    assert thread["messages"][1]["body"] == "a<br />b"


async def test_misbehaviour_begins_and_ends(world: World) -> None:
    await told(world, "messenger/messages", MESSAGE)
    wanted = {"vendor": "messenger", "mode": "429", "page": "100", "times": 2, "retry_after": 3}
    assert (await told(world, "misbehave", wanted)).status_code == 204
    answer = await world.send()
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3")
    assert (await world.http.delete(f"{world.url}/control/misbehave")).status_code == 204
    assert (await world.send()).status_code == 200


WRONG: dict[str, tuple[str, Any]] = {
    "no text": ("messenger/messages", {"page": "100", "psid": "4711"}),
    "unknown field": ("messenger/messages", MESSAGE | {"mood": "good"}),
    "unknown page": ("messenger/messages", MESSAGE | {"page": "999"}),
    "one wrong of two": ("messenger/messages", [MESSAGE, {}]),
    "a time without an offset": ("messenger/messages", MESSAGE | {"at": "2026-11-24T12:00:00"}),
    "forged to an unknown page": ("messenger/forged", MESSAGE | {"page": "999"}),
    "unknown shop": ("mirakl/messages", {"shop": "1", "customer": "Marie", "text": "Bonjour"}),
    "unknown sender": ("mirakl/messages", {"shop": "2001", "customer": "M", "text": "a", "from": "robot"}),
    "unknown mode": ("misbehave", {"vendor": "messenger", "mode": "sulk"}),
    "unknown vendor": ("misbehave", {"vendor": "ebay", "mode": "500"}),
    "no times at all": ("misbehave", {"vendor": "mirakl", "mode": "500", "times": 0}),
    "error without a code": ("misbehave", {"vendor": "messenger", "mode": "error"}),
    "late failure without a code": ("misbehave", {"vendor": "whatsapp", "mode": "fail_later"}),
    "an error in a 200 of Mirakl": ("misbehave", {"vendor": "mirakl", "mode": "error_in_200", "code": 500}),
    "a late failure of Messenger": ("misbehave", {"vendor": "messenger", "mode": "fail_later", "code": 1}),
    "not an object": ("misbehave", "500"),
}


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_command_is_a_400_that_says_why(world: World, name: str) -> None:
    path, body = WRONG[name]
    answer = await told(world, path, body)
    assert answer.status_code == 400
    assert answer.json()["message"]
    assert world.receiver.got == []


async def test_reset_forgets_everything(world: World) -> None:
    await told(world, "messenger/messages", MESSAGE)
    await told(world, "mirakl/messages", {"shop": "2001", "customer": "Marie", "text": "Bonjour"})
    await world.send()
    await told(world, "misbehave", {"vendor": "messenger", "mode": "500", "times": 9})
    assert (await world.http.post(f"{world.url}/control/reset")).status_code == 204
    for path in ("messenger/sent", "mirakl/sent", "requests", "webhooks"):
        assert await shown(world, path) == []
    assert (await world.send()).json()["error"]["error_subcode"] == 2018001
    assert (await world.mirakl("/api/inbox/threads")).json() == {"data": []}


async def test_a_server_of_its_own_runs_the_webhooks_in_its_lifespan() -> None:
    sandbox = build(SandboxConfig(pages={"100": "token"}, hook_url="http://127.0.0.1:1/", retry_waits=()))
    with pytest.raises(RuntimeError, match="does not run"):
        await sandbox.messenger_verifies()
    async with at_a_port(sandbox, lifespan="on") as url, httpx.AsyncClient(trust_env=False, verify=trust()) as http:
        answer = await http.post(f"{url}/control/messenger/messages", json=MESSAGE)
        assert (answer.status_code, answer.json()["webhook_status"]) == (502, None)
