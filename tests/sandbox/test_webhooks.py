"""Webhooks leave as the vendor's do: signed over the escaped bytes, batched, told again until the answer is 200."""

import asyncio
import hashlib
import hmac
import re
from datetime import timedelta

import pytest

from services.sandbox.commands import MessengerMessage, WrongCommand
from tests.sandbox.conftest import APP_SECRET, World, a_world, until

SIGNATURE = "x-hub-signature-256"


def signature(body: bytes) -> str:
    return "sha256=" + hmac.new(APP_SECRET.encode(), body, hashlib.sha256).hexdigest()


def a_message(text: str = "Hallo?", page: str = "100", psid: str = "4711", mid: str | None = None) -> MessengerMessage:
    return MessengerMessage(page=page, psid=psid, text=text, mid=mid)


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("schöne Grüße", rb"sch\u00f6ne Gr\u00fc\u00dfe"),
        ("https://a.example/b", rb"https:\/\/a.example\/b"),
        ("👍", rb"\ud83d\udc4d"),
        ('a "quoted" \\ word', rb"a \"quoted\" \\ word"),
    ],
)
async def test_the_signature_is_over_the_escaped_bytes(world: World, text: str, escaped: bytes) -> None:
    await world.sandbox.messenger_writes(a_message(text))
    ((body, headers),) = world.receiver.got
    assert escaped in body
    assert body.isascii()
    assert re.fullmatch(r"sha256=[0-9a-f]{64}", headers[SIGNATURE])
    assert headers[SIGNATURE] == signature(body)
    assert headers["content-type"] == "application/json"
    assert world.receiver.items[0]["message"]["text"] == text


async def test_messages_written_together_come_in_one_webhook(world: World) -> None:
    written = [a_message("1", mid="m_1"), a_message("2", "200", "c2"), a_message("3"), a_message("4", "100", "c4")]
    webhook = await world.sandbox.messenger_writes(*written)
    (body,) = world.receiver.bodies
    assert body["object"] == "page"
    stamp = int(world.clock().timestamp() * 1000)
    assert [(entry["id"], entry["time"]) for entry in body["entry"]] == [("100", stamp), ("200", stamp)]
    texts = [[item["message"]["text"] for item in entry["messaging"]] for entry in body["entry"]]
    assert texts == [["1", "3", "4"], ["2"]]
    assert body["entry"][0]["messaging"][0] == {
        "sender": {"id": "4711"}, "recipient": {"id": "100"}, "timestamp": stamp,
        "message": {"mid": "m_1", "text": "1"},
    }  # fmt: skip
    assert webhook.status == 200
    assert len(set(webhook.mids)) == 4


async def test_an_accepted_message_is_followed_by_its_echo_and_receipts(world: World) -> None:
    await world.heard()
    mid = (await world.send(message={"text": "Guten Tag", "metadata": "ours"})).json()["message_id"]
    await until(lambda: len(world.receiver.items) == 4)
    _, echo, delivery, read = world.receiver.items
    stamp = int(world.clock().timestamp() * 1000)
    assert echo == {
        "sender": {"id": "100"}, "recipient": {"id": "4711"}, "timestamp": stamp,
        "message": {"mid": mid, "is_echo": True, "app_id": 1000000001, "text": "Guten Tag", "metadata": "ours"},
    }  # fmt: skip
    user = {"sender": {"id": "4711"}, "recipient": {"id": "100"}, "timestamp": stamp}
    assert delivery == user | {"delivery": {"mids": [mid], "watermark": stamp}}
    assert read == user | {"read": {"watermark": stamp}}
    assert all(headers[SIGNATURE] == signature(body) for body, headers in world.receiver.got)


async def test_the_echo_of_an_attachment_shows_it(world: World) -> None:
    await world.heard()
    await world.send(message={"attachment": {"type": "file", "payload": {"url": "https://a.example/1.pdf"}}})
    await until(lambda: len(world.receiver.items) > 1)
    shown = world.receiver.items[1]["message"]["attachments"]
    assert shown == [{"type": "file", "payload": {"url": "https://a.example/1.pdf"}}]


async def test_what_becomes_due_together_leaves_together_over_pages() -> None:
    at_once = timedelta(milliseconds=50)
    delays = {"echo_after": at_once, "delivered_after": at_once, "read_after": at_once}
    async with a_world(**delays, gathered_for=timedelta(milliseconds=100)) as world:
        await asyncio.gather(world.heard("c1", "100"), world.heard("c2", "100"), world.heard("c3", "200"))
        world.receiver.got.clear()
        await asyncio.gather(world.send(psid="c1"), world.send(psid="c2"), world.send("200", psid="c3"))
        await until(lambda: world.receiver.got)
        (body,) = world.receiver.bodies
        assert {entry["id"]: len(entry["messaging"]) for entry in body["entry"]} == {"100": 6, "200": 3}


async def test_a_webhook_is_told_again_until_it_is_answered_200(world: World) -> None:
    world.receiver.statuses.extend([503, 202])
    webhook = await world.sandbox.messenger_writes(a_message())
    assert webhook.status == 200
    assert len({body for body, _ in world.receiver.got}) == 1
    (record,) = world.sandbox.webhooks()
    assert (record["statuses"], record["pages"], record["items"]) == ([503, 202, 200], ["100"], ["message"])


async def test_a_webhook_is_given_up_in_the_end(world: World) -> None:
    world.receiver.statuses.extend([500] * 9)
    webhook = await world.sandbox.messenger_writes(a_message())
    assert webhook.status == 500
    assert world.sandbox.webhooks()[0]["statuses"] == [500, 500, 500]


async def test_a_webhook_that_nobody_takes_has_no_status() -> None:
    async with a_world(hook_url="http://127.0.0.1:1/hook") as world:
        assert (await world.sandbox.messenger_writes(a_message())).status is None
        assert (await world.sandbox.messenger_forges(a_message())).status is None
        assert await world.sandbox.messenger_verifies() == (None, False)
        assert world.sandbox.webhooks()[0]["statuses"] == [None, None, None]


async def test_a_forged_webhook_is_wrongly_signed_and_nobody_wrote(world: World) -> None:
    world.receiver.statuses.append(401)
    assert (await world.sandbox.messenger_forges(a_message())).status == 401
    ((body, headers),) = world.receiver.got
    assert re.fullmatch(r"sha256=[0-9a-f]{64}", headers[SIGNATURE])
    assert headers[SIGNATURE] != signature(body)
    assert (await world.send()).json()["error"]["error_subcode"] == 2018001


async def test_the_handshake_wants_the_bare_challenge(world: World) -> None:
    assert await world.sandbox.messenger_verifies() == (200, True)
    assert await world.sandbox.messenger_verifies("another token") == (403, False)


async def test_a_page_that_is_not_configured_cannot_be_written_to(world: World) -> None:
    with pytest.raises(WrongCommand, match="no page 999"):
        await world.sandbox.messenger_writes(a_message(), a_message(page="999"))
    assert world.receiver.got == []


async def test_ids_are_fresh_in_every_run() -> None:
    mids = []
    for _ in range(2):
        async with a_world() as world:
            mids += (await world.sandbox.messenger_writes(a_message())).mids
            mids.append((await world.send()).json()["message_id"])
    assert len(set(mids)) == 4
