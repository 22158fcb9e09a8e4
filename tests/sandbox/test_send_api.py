"""The Graph API's stand-in takes what the vendor takes and refuses the rest in the vendor's own words."""

from typing import Any

import pytest

from tests.sandbox.conftest import World

IMAGE = {"attachment": {"type": "image", "payload": {"url": "https://cdn.example/a.jpg"}}}
LATER = {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}


def an_image(url: str) -> dict[str, Any]:
    return {"message": {"attachment": {"type": "image", "payload": {"url": url}}}}


WRONG: dict[str, tuple[dict[str, Any], int, int, int | None]] = {
    "wrong token": ({"token": "token-999"}, 401, 190, None),
    "another page's token": ({"token": "token-200"}, 400, 100, 33),
    "unknown page": ({"page": "999", "token": "token-100"}, 400, 100, 33),
    "unknown field": ({"recipients": []}, 400, 100, None),
    "unknown field of the message": ({"message": {"text": "a", "mood": "good"}}, 400, 100, None),
    "no recipient": ({"recipient": None}, 400, 100, None),
    "recipient by another key": ({"recipient": {"phone_number": "1"}}, 400, 100, None),
    "recipient as a number": ({"recipient": {"id": 4711}}, 400, 100, None),
    "recipient who never wrote": ({"psid": "4712"}, 400, 100, 2018001),
    "no message": ({"message": {}}, 400, 100, None),
    "message as text": ({"message": "a"}, 400, 100, None),
    "text and attachment at once": ({"message": {"text": "a", **IMAGE}}, 400, 100, None),
    "empty text": ({"message": {"text": ""}}, 400, 100, None),
    "text that is no text": ({"message": {"text": 5}}, 400, 100, None),
    "text too long": ({"message": {"text": "a" * 2001}}, 400, 100, None),
    "metadata too long": ({"message": {"text": "a", "metadata": "m" * 1001}}, 400, 100, None),
    "too many quick replies": ({"message": {"text": "a", "quick_replies": [{}] * 14}}, 400, 100, None),
    "attachment from a disk": (an_image("file:///etc/passwd"), 400, 100, None),
    "attachment without an address": (an_image(""), 400, 100, None),
    "attachment of an unknown kind": (
        {"message": {"attachment": {"type": "smell", "payload": {"url": "https://a.example"}}}}, 400, 100, None),
    "attachment without payload": ({"message": {"attachment": {"type": "image"}}}, 400, 100, None),
    "no messaging_type": ({"messaging_type": None}, 400, 100, None),
    "unknown messaging_type": ({"messaging_type": "PROMOTION"}, 400, 100, None),
    "tag without its messaging_type": ({"tag": "HUMAN_AGENT"}, 400, 100, None),
    "messaging_type without its tag": ({"messaging_type": "MESSAGE_TAG"}, 400, 100, None),
    "dead tag": ({"messaging_type": "MESSAGE_TAG", "tag": "ACCOUNT_UPDATE"}, 400, 100, None),
    "unknown tag": ({"messaging_type": "MESSAGE_TAG", "tag": "ANY"}, 400, 100, None),
    "unknown notification_type": ({"notification_type": "LOUD"}, 400, 100, None),
    "reply to nothing": ({"reply_to": {}}, 400, 100, None),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_request_gets_the_vendors_error(world: World, name: str) -> None:
    change, status, code, subcode = WRONG[name]
    await world.heard()
    answer = await world.send(**change)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error.get("error_subcode")) == (status, code, subcode)
    assert set(error) - {"error_subcode"} == {"message", "type", "code", "fbtrace_id"}
    assert error["type"] == ("GraphMethodException" if subcode == 33 else "OAuthException")
    assert world.sandbox.sent("messenger") == []
    (request,) = world.sandbox.requests()
    assert (request["status"], request["verdict"][:7]) == (status, "refused")


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"recipient": {"id": "4711"}}', "application/x-www-form-urlencoded"),
        (b'{"recipient": {"id": "4711"', "application/json"),
        (b"[]", "application/json"),
        (b"\xff", "application/json"),
    ],
)
async def test_a_body_that_is_no_json_object_is_error_100(world: World, body: bytes, content_type: str) -> None:
    headers = {"Authorization": "Bearer token-100", "Content-Type": content_type}
    answer = await world.http.post(f"{world.url}/graph/v25.0/100/messages", content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 100)


async def test_a_key_that_is_no_bearer_token_is_error_190(world: World) -> None:
    for headers in ({}, {"Authorization": "token-100"}, {"Authorization": "Basic token-100"}):
        answer = await world.http.post(f"{world.url}/graph/v25.0/100/messages", json={}, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, 190)


@pytest.mark.parametrize("path", ["25/100/messages", "v25.0/100/nothing", "v25.0", "v25.0/100/messages/1"])
async def test_a_path_that_does_not_exist_is_an_error_of_the_vendor(world: World, path: str) -> None:
    headers = {"Authorization": "Bearer token-100"}
    answer = await world.http.post(f"{world.url}/graph/{path}", json={}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 2500)


async def test_what_is_accepted_is_kept_in_order(world: World) -> None:
    await world.heard()
    first = await world.send(message={"text": "a" * 2000, "metadata": "ours-1"}, messaging_type="UPDATE")
    second = await world.send("me", "token-100", message=IMAGE)
    assert first.json() == {"recipient_id": "4711", "message_id": world.sandbox.sent("messenger")[0]["id"]}
    assert second.json()["message_id"].startswith("m_")
    shown = [(m["page"], m["psid"], m["text"], m["metadata"], m["at"]) for m in world.sandbox.sent("messenger")]
    now = world.clock().isoformat()
    assert shown == [("100", "4711", "a" * 2000, "ours-1", now), ("100", "4711", None, None, now)]
    assert world.sandbox.sent("messenger")[1]["attachment"] == IMAGE["attachment"]
    assert [(r["target"], r["verdict"]) for r in world.sandbox.requests()] == [("100", "accepted")] * 2


@pytest.mark.parametrize(
    ("page", "hours", "change", "code", "subcode"),
    [
        ("100", 23.99, {}, None, None),
        ("100", 24, {}, 10, 2018278),
        ("100", 24, {"messaging_type": "UPDATE"}, 10, 2018278),
        ("100", 24, LATER, None, None),
        ("100", 24 * 7 - 0.01, LATER, None, None),
        ("100", 24 * 7, LATER, 10, 2018278),
        ("200", 1, LATER, 10, None),
    ],
)
async def test_windows_count_from_the_users_last_action(
    world: World, page: str, hours: float, change: dict[str, Any], code: int | None, subcode: int | None
) -> None:
    await world.heard(page=page)
    # What happened before does not close what was opened later.
    await world.heard(page=page, at=world.clock().replace(year=2025))
    world.clock.pass_by(hours=hours)
    error = (await world.send(page, **change)).json().get("error", {})
    assert (error.get("code"), error.get("error_subcode")) == (code, subcode)


async def test_a_window_is_of_one_page_and_one_user(world: World) -> None:
    await world.heard("4711", "100")
    assert (await world.send("200", psid="4711")).json()["error"]["error_subcode"] == 2018001


async def test_a_page_may_see_the_name_of_who_wrote(world: World) -> None:
    await world.heard(name="Ana María Gómez")
    url, headers = f"{world.url}/graph/v25.0/4711", {"Authorization": "Bearer token-100"}
    answer = await world.http.get(url, params={"fields": "first_name,last_name,profile_pic"}, headers=headers)
    assert answer.json() == {"first_name": "Ana", "last_name": "María Gómez", "id": "4711"}
    wrong = await world.http.get(url, params={"fields": "salary"}, headers=headers)
    assert wrong.json()["error"]["code"] == 100
    stranger = await world.http.get(url, headers={"Authorization": "Bearer token-200"})
    assert stranger.json()["error"]["error_subcode"] == 33
