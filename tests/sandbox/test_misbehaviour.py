"""The stand-ins fail as asked: wrong statuses, silence, connections that end without an answer."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from services.sandbox.commands import MiraklMessage, Misbehaviour, WrongCommand
from tests.sandbox.conftest import World, a_world, until


def messenger(mode: Any, **more: Any) -> Misbehaviour:
    return Misbehaviour(vendor="messenger", mode=mode, **more)


def mirakl(mode: Any, **more: Any) -> Misbehaviour:
    return Misbehaviour(vendor="mirakl", mode=mode, **more)


async def bytes_of_the_answer(world: World) -> bytes:
    """What comes over the socket until the server closes it."""
    body = b'{"recipient":{"id":"4711"},"messaging_type":"RESPONSE","message":{"text":"Guten Tag"}}'
    head = (
        "POST /graph/v25.0/100/messages HTTP/1.1\r\nHost: graph\r\nAuthorization: Bearer token-100\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", httpx.URL(world.url).port)
    try:
        writer.write(head.encode() + body)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize("server", ["httptools", "h11"])
@pytest.mark.parametrize(("mode", "sent"), [("drop_after_accept", 1), ("drop_before", 0)])
async def test_a_dropped_connection_carries_no_byte(server: str, mode: str, sent: int) -> None:
    async with a_world(server=server) as world:
        await world.heard()
        world.sandbox.misbehave(messenger(mode))
        assert await bytes_of_the_answer(world) == b""
        assert len(world.sandbox.sent("messenger")) == sent
        assert [r["status"] for r in world.sandbox.requests()] == [None]
        # The next one is answered, and the server is none the worse for it.
        assert (await world.send()).status_code == 200


async def test_what_was_accepted_before_the_drop_has_its_echo(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("drop_after_accept"))
    with pytest.raises(httpx.RemoteProtocolError):
        await world.send()
    await until(lambda: len(world.receiver.items) == 4)
    (sent,) = world.sandbox.sent("messenger")
    assert world.receiver.items[1]["message"]["mid"] == sent["id"]
    assert world.sandbox.requests()[0]["verdict"] == "accepted, then dropped"


async def test_a_message_without_echo_still_has_its_receipts(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("no_echo"))
    assert (await world.send()).status_code == 200
    await until(lambda: len(world.receiver.items) == 3)
    assert [set(item) & {"message", "delivery", "read"} for item in world.receiver.items] == [
        {"message"}, {"delivery"}, {"read"},
    ]  # fmt: skip


async def test_an_answer_may_be_lost_without_an_echo_too(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("no_echo"))
    world.sandbox.misbehave(messenger("drop_after_accept"))
    with pytest.raises(httpx.RemoteProtocolError):
        await world.send()
    await until(lambda: len(world.receiver.items) == 3)
    assert not any(item.get("message", {}).get("is_echo") for item in world.receiver.items)


async def test_what_needs_an_accepted_message_waits_for_one(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("drop_after_accept"))
    assert (await world.send(message={})).status_code == 400
    with pytest.raises(httpx.RemoteProtocolError):
        await world.send()


@pytest.mark.parametrize(
    ("wanted", "status", "code", "retry_after"),
    [
        (messenger("429", retry_after=7), 429, 613, "7"),
        (messenger("429"), 429, 613, None),
        (messenger("error", code=2, subcode=1545133), 500, 2, None),
        (messenger("error", code=551), 400, 551, None),
        (messenger("error", code=190, subcode=463), 401, 190, None),
    ],
)
async def test_the_graph_api_answers_the_error_that_was_asked_for(
    world: World, wanted: Misbehaviour, status: int, code: int, retry_after: str | None
) -> None:
    await world.heard()
    world.sandbox.misbehave(wanted)
    answer = await world.send()
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode")) == (status, code, wanted.subcode)
    assert answer.headers.get("retry-after") == retry_after
    assert world.sandbox.sent("messenger") == []


@pytest.mark.parametrize("mode", ["500", "503"])
async def test_a_server_that_is_down_answers_no_json(world: World, mode: str) -> None:
    world.sandbox.misbehave(messenger(mode))
    answer = await world.send()
    assert answer.status_code == int(mode)
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        (mirakl("429", retry_after=30), 429),
        (mirakl("500"), 500),
        (mirakl("503"), 503),
        (mirakl("error", code=403), 403),
    ],
)
async def test_mirakl_answers_the_error_that_was_asked_for(world: World, wanted: Misbehaviour, status: int) -> None:
    world.sandbox.misbehave(wanted)
    assert (await world.mirakl("/api/inbox/threads")).status_code == status
    assert (await world.mirakl("/api/inbox/threads")).status_code == 200


async def test_an_error_needs_a_code_that_the_vendor_could_answer(world: World) -> None:
    for wanted in (messenger("error"), mirakl("error"), mirakl("error", code=10)):
        with pytest.raises(WrongCommand):
            world.sandbox.misbehave(wanted)


async def test_hanging_gives_no_answer_and_ends_when_the_client_leaves(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("hang"))
    with pytest.raises(httpx.ReadTimeout):
        await world.http.post(
            f"{world.url}/graph/v25.0/100/messages",
            json={},
            headers={"Authorization": "Bearer token-100"},
            timeout=0.2,
        )
    assert world.sandbox.sent("messenger") == []
    # Leaving the fixture would wait for a request that still hangs.


async def test_a_slow_answer_comes_late_and_is_right(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("slow", delay=0.2))
    started = time.monotonic()
    assert (await world.send()).status_code == 200
    assert time.monotonic() - started >= 0.2


async def test_a_misbehaviour_lasts_for_its_number_of_requests(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("500", times=2))
    assert [(await world.send()).status_code for _ in range(3)] == [500, 500, 200]


async def test_a_misbehaviour_lasts_for_its_time(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("500", seconds=60))
    assert [(await world.send()).status_code for _ in range(3)] == [500] * 3
    world.clock.pass_by(seconds=60)
    assert (await world.send()).status_code == 200


@pytest.mark.parametrize("name", ["page", "target"])
async def test_a_misbehaviour_may_be_of_one_page(world: World, name: str) -> None:
    await world.heard()
    await world.heard(page="200")
    world.sandbox.misbehave(messenger("500", **{name: "200"}))
    assert (await world.send("me", "token-100")).status_code == 200
    assert (await world.send("me", "token-200")).status_code == 500


async def test_a_misbehaviour_may_be_of_one_shop_and_one_operation(world: World) -> None:
    thread = world.sandbox.mirakl_writes(MiraklMessage(shop="2001", customer="Marie", text="Bonjour"))["thread_id"]
    world.sandbox.misbehave(mirakl("500", shop="2002"))
    world.sandbox.misbehave(mirakl("503", operation="M12"))
    assert (await world.mirakl("/api/inbox/threads", shop_id="2001")).status_code == 200
    assert (await world.mirakl("/api/inbox/threads", shop_id="2002")).status_code == 500
    assert (await world.answer(thread)).status_code == 503


async def test_polls_do_not_use_up_the_loss_of_an_answer(world: World) -> None:
    thread = world.sandbox.mirakl_writes(MiraklMessage(shop="2001", customer="Marie", text="Bonjour"))["thread_id"]
    world.sandbox.misbehave(mirakl("drop_after_accept"))
    assert (await world.mirakl("/api/inbox/threads")).status_code == 200
    with pytest.raises(httpx.RemoteProtocolError):
        await world.answer(thread)
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    assert [m["from"]["type"] for m in shown["messages"]] == ["CUSTOMER_USER", "SHOP_USER"]
    assert len(world.sandbox.sent("mirakl")) == 1


async def test_good_behaviour_returns_on_request(world: World) -> None:
    await world.heard()
    world.sandbox.misbehave(messenger("500", times=100))
    world.sandbox.behave()
    assert (await world.send()).status_code == 200
