"""The marketplace's stand-in pages, filters and refuses as the seller API does."""

import json
from typing import Any

import httpx
import pytest

from services.sandbox.commands import File, MiraklMessage, WrongCommand
from tests.sandbox.conftest import World

TO_THE_BUYER = [{"type": "CUSTOMER"}]


def written(world: World, **message: Any) -> str:
    """The thread's id."""
    wanted = {"shop": "2001", "customer": "Marie", "text": "Où est mon colis ?"} | message
    return str(world.sandbox.mirakl_writes(MiraklMessage(**wanted))["thread_id"])


async def listed(world: World, **query: Any) -> list[str]:
    answer = await world.mirakl("/api/inbox/threads", **query)
    assert answer.status_code == 200, answer.text
    return [thread["id"] for thread in answer.json()["data"]]


# who asks


@pytest.mark.parametrize("key", ["Bearer key", "another", ""])
async def test_only_the_bare_key_is_a_key(world: World, key: str) -> None:
    answer = await world.mirakl("/api/inbox/threads", key=key)
    assert (answer.status_code, answer.json()) == (401, {"message": "Unauthorized", "status": 401})


async def test_a_shop_that_is_not_the_keys_is_forbidden(world: World) -> None:
    assert (await world.mirakl("/api/inbox/threads", shop_id="2003")).status_code == 403
    assert (await world.mirakl("/api/inbox/threads", shop_id="first")).status_code == 400


async def test_without_a_shop_the_default_shop_answers(world: World) -> None:
    thread = written(world, shop="2001")
    written(world, shop="2002")
    assert await listed(world) == [thread]


async def test_an_operation_that_is_not_there_is_a_404_on_the_record(world: World) -> None:
    answer = await world.http.get(f"{world.url}/mirakl/api/messages", headers={"Authorization": "key"})
    assert answer.json() == {"message": "Not Found", "status": 404}
    assert [(r["operation"], r["status"]) for r in world.sandbox.requests()] == [("unknown", 404)]


# M11


WRONG_LISTS: dict[str, dict[str, str]] = {
    "limit too small": {"limit": "9"},
    "limit too large": {"limit": "101"},
    "limit no number": {"limit": "many"},
    "entity_id without its type": {"entity_id": "order-1"},
    "unknown entity_type": {"entity_type": "ORDER"},
    "date that is none": {"updated_since": "yesterday"},
    "date without an offset": {"updated_since": "2026-11-24T12:00:00"},
    "with_messages no boolean": {"with_messages": "1"},
    "unknown sort": {"sort": "name,ASC"},
    "made-up page_token": {"page_token": "bGltaXQ9NTA="},
    "altered page_token": {"page_token": "e30=.AAAA"},
}


@pytest.mark.parametrize("name", WRONG_LISTS)
async def test_a_wrong_list_is_a_400(world: World, name: str) -> None:
    answer = await world.mirakl("/api/inbox/threads", **WRONG_LISTS[name])
    assert answer.status_code == 400
    assert answer.json().keys() == {"message", "status"}


async def test_threads_are_paged_newest_first_and_the_token_says_everything(world: World) -> None:
    threads = []
    for n in range(25):
        threads.append(written(world, order=f"order-{n}"))
        world.clock.pass_by(seconds=1)
    threads.reverse()
    first = (await world.mirakl("/api/inbox/threads", limit=10, with_messages="true")).json()
    assert [t["id"] for t in first["data"]] == threads[:10]
    assert "previous_page_token" not in first
    # Everything but the token is ignored.
    query = {"limit": "no number", "updated_since": "2099-01-01T00:00:00Z", "shop_id": "2002"}
    second = (await world.mirakl("/api/inbox/threads", page_token=first["next_page_token"], **query)).json()
    assert [t["id"] for t in second["data"]] == threads[10:20]
    assert all(len(t["messages"]) == 1 for t in second["data"])
    third = (await world.mirakl("/api/inbox/threads", page_token=second["next_page_token"])).json()
    assert [t["id"] for t in third["data"]] == threads[20:]
    assert "next_page_token" not in third
    back = (await world.mirakl("/api/inbox/threads", page_token=third["previous_page_token"])).json()
    assert [t["id"] for t in back["data"]] == threads[10:20]


async def test_a_thread_that_moves_while_it_is_paged_is_missed_by_later_pages(world: World) -> None:
    threads = []
    for _ in range(12):
        threads.append(written(world))
        world.clock.pass_by(seconds=1)
    first = (await world.mirakl("/api/inbox/threads", limit=10)).json()
    written(world, thread=threads[0], text="Et alors ?")
    second = (await world.mirakl("/api/inbox/threads", page_token=first["next_page_token"])).json()
    assert [t["id"] for t in second["data"]] == [threads[1]]


async def test_the_oldest_come_first_on_request(world: World) -> None:
    threads = []
    for _ in range(12):
        threads.append(written(world))
        world.clock.pass_by(seconds=1)
    first = (await world.mirakl("/api/inbox/threads", limit=10, sort="date,ASC")).json()
    second = (await world.mirakl("/api/inbox/threads", page_token=first["next_page_token"])).json()
    assert [t["id"] for t in (*first["data"], *second["data"])] == threads


async def test_updated_since_is_inclusive(world: World) -> None:
    written(world)
    world.clock.pass_by(seconds=5)
    thread = written(world)
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()["date_updated"]
    assert shown == "2026-11-24T12:00:05.000Z"
    assert await listed(world, updated_since=shown) == [thread]
    assert await listed(world, updated_since="2026-11-24T13:00:05.001+01:00") == []


async def test_threads_are_found_by_what_they_are_about(world: World) -> None:
    first = written(world, order="order-1", channel="FR")
    second = written(world, order="order-2", channel="BE")
    offer = written(world)
    assert set(await listed(world, entity_type="MMP_ORDER")) == {first, second}
    assert await listed(world, entity_type="MMP_OFFER") == [offer]
    assert await listed(world, entity_type="MMP_ORDER", entity_id="order-2,order-3") == [second]
    assert await listed(world, channel_codes="FR,DE") == [first]
    assert set(await listed(world, channel_codes=["FR", "BE"])) == {first, second}


async def test_the_list_shows_the_last_hundred_messages_and_the_thread_all(world: World) -> None:
    thread = written(world, text="1")
    for n in range(2, 121):
        written(world, thread=thread, text=str(n))
    (without,) = (await world.mirakl("/api/inbox/threads")).json()["data"]
    assert "messages" not in without
    (shown,) = (await world.mirakl("/api/inbox/threads", with_messages="true")).json()["data"]
    assert [m["body"] for m in shown["messages"]] == [str(n) for n in range(21, 121)]
    assert shown["metadata"]["total_count"] == 120
    whole = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    assert [m["body"] for m in whole["messages"]] == [str(n) for n in range(1, 121)]


async def test_a_thread_of_another_shop_is_not_found(world: World) -> None:
    thread = written(world, shop="2001")
    assert (await world.mirakl(f"/api/inbox/threads/{thread}", shop_id="2002")).status_code == 404
    assert (await world.mirakl("/api/inbox/threads/none")).status_code == 404
    assert (await world.answer(thread, shop="2002")).status_code == 404
    with pytest.raises(WrongCommand):
        written(world, shop="2002", thread=thread)
    with pytest.raises(WrongCommand):
        written(world, shop="2003")


async def test_who_writes_is_shown_with_the_organization(world: World) -> None:
    thread = written(world, text="<Bonjour>\nMarie", html=True)
    written(world, thread=thread, text="Merci de répondre", sender="operator")
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    buyer, operator = shown["messages"]
    customer = next(p for p in shown["authorized_participants"] if p["type"] == "CUSTOMER")
    assert buyer["body"] == "&lt;Bonjour&gt;<br />Marie"
    assert buyer["from"] == {
        "type": "CUSTOMER_USER", "display_name": "Marie", "organization_details": customer,
    }  # fmt: skip
    assert operator["from"]["type"] == "OPERATOR_USER"
    assert "id" not in operator["from"]["organization_details"]
    assert shown["metadata"]["last_sender"] == operator["from"]
    assert [p["type"] for p in shown["current_participants"]] == ["CUSTOMER", "SHOP", "OPERATOR"]


# M12


async def test_an_answer_returns_in_the_next_poll_as_the_shops(world: World) -> None:
    thread = written(world)
    since = "2026-11-24T12:00:00.000Z"
    world.clock.pass_by(minutes=5)
    written(world, thread=thread, text="Alors ?")
    (before,) = (await world.mirakl("/api/inbox/threads")).json()["data"]
    assert before["metadata"]["shop_reply_needed_since"] == since
    world.clock.pass_by(minutes=5)
    answer = await world.answer(thread, {"body": "Il arrive demain.", "to": TO_THE_BUYER})
    assert answer.status_code == 201
    query = {"updated_since": "2026-11-24T12:10:00Z", "with_messages": "true"}
    (after,) = (await world.mirakl("/api/inbox/threads", **query)).json()["data"]
    own = after["messages"][-1]
    assert answer.json() == {"message_id": own["id"], "thread_id": thread}
    assert (own["from"]["type"], own["body"], own["to"][0]["type"]) == ("SHOP_USER", "Il arrive demain.", "CUSTOMER")
    assert after["metadata"]["shop_reply_needed_since"] is None
    assert after["metadata"]["total_count"] == 3
    assert world.sandbox.sent("mirakl") == [
        {
            "id": own["id"], "shop": "2001", "thread": thread, "text": "Il arrive demain.", "to": TO_THE_BUYER,
            "files": [], "at": "2026-11-24T12:10:00.000Z",
        }
    ]  # fmt: skip


async def test_an_answer_in_the_back_office_ends_the_wait_too(world: World) -> None:
    thread = written(world)
    written(world, thread=thread, text="Répondu ici", sender="shop")
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    assert shown["messages"][-1]["from"]["type"] == "SHOP_USER"
    assert shown["metadata"]["shop_reply_needed_since"] is None
    assert world.sandbox.sent("mirakl") == []


WRONG_ANSWERS: dict[str, Any] = {
    "no body": {"to": TO_THE_BUYER},
    "body too short": {"body": "OK", "to": TO_THE_BUYER},
    "body too long": {"body": "a" * 50_001, "to": TO_THE_BUYER},
    "body that is no text": {"body": 12345, "to": TO_THE_BUYER},
    "to nobody": {"body": "Bonjour", "to": []},
    "no recipients": {"body": "Bonjour"},
    "recipients as strings": {"body": "Bonjour", "to": ["CUSTOMER"]},
    "recipient of an unknown type": {"body": "Bonjour", "to": [{"type": "BUYER"}]},
    "recipient without a type": {"body": "Bonjour", "to": [{"id": "1"}]},
    "recipient who is not in the thread": {"body": "Bonjour", "to": [{"type": "CUSTOMER", "id": "somebody"}]},
    "unknown field": {"body": "Bonjour", "to": TO_THE_BUYER, "subject": "?"},
    "topic too short": {"body": "Bonjour", "to": TO_THE_BUYER, "topic": {"type": "FREE_TEXT", "value": "?"}},
    "unknown topic": {"body": "Bonjour", "to": TO_THE_BUYER, "topic": {"type": "MOOD", "value": "good"}},
    "a list": [],
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
async def test_a_wrong_answer_is_a_400_and_nothing_is_posted(world: World, name: str) -> None:
    thread = written(world)
    answer = await world.answer(thread, WRONG_ANSWERS[name])
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert len((await world.mirakl(f"/api/inbox/threads/{thread}")).json()["messages"]) == 1
    assert world.sandbox.sent("mirakl") == []


def a_part(name: str = "message_input", kind: str = "application/json", more: str = "", content: str = "") -> bytes:
    content = content or json.dumps({"body": "Bonjour", "to": TO_THE_BUYER})
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n{kind}\r\n{content}\r\n'.encode()


JSON = "Content-Type: application/json\r\n"
FORM = "multipart/form-data; boundary=b"
FORMS: dict[str, tuple[str, bytes, int]] = {
    "as documented": (FORM, a_part(kind=JSON) + b"--b--\r\n", 201),
    "with a file name": (FORM, a_part(kind=JSON, more='; filename="blob"') + b"--b--\r\n", 201),
    "with a charset": (FORM, a_part(kind="Content-Type: application/json; charset=utf-8\r\n") + b"--b--\r\n", 201),
    "part without its content type": (FORM, a_part(kind="") + b"--b--\r\n", 415),
    "part as text": (FORM, a_part(kind="Content-Type: text/plain\r\n") + b"--b--\r\n", 415),
    "the part of another operation": (FORM, a_part("thread_input", JSON) + b"--b--\r\n", 400),
    "an unknown part": (FORM, a_part(kind=JSON) + a_part("mood", JSON) + b"--b--\r\n", 400),
    "the part twice": (FORM, a_part(kind=JSON) * 2 + b"--b--\r\n", 400),
    "no part": (FORM, b"--b--\r\n", 400),
    "part that is no JSON": (FORM, a_part(kind=JSON, content="{") + b"--b--\r\n", 400),
    "cut off": (FORM, a_part(kind=JSON), 415),
    "no multipart": (FORM, b"{}", 415),
    "no boundary": ("multipart/form-data", a_part(kind=JSON) + b"--b--\r\n", 415),
    "plain JSON": ("application/json", b'{"body": "Bonjour", "to": [{"type": "CUSTOMER"}]}', 415),
}


@pytest.mark.parametrize("name", FORMS)
async def test_the_multipart_must_be_as_documented(world: World, name: str) -> None:
    content_type, body, status = FORMS[name]
    url = f"{world.url}/mirakl/api/inbox/threads/{written(world)}/message"
    headers = {"Authorization": "key", "Content-Type": content_type}
    answer = await world.http.post(url, content=body, headers=headers)
    assert answer.status_code == status, answer.text


async def test_an_answer_may_change_the_topic_and_go_to_several(world: World) -> None:
    thread = written(world)
    to = [{"type": "CUSTOMER"}, {"type": "OPERATOR"}]
    topic = {"type": "REASON_CODE", "value": "1"}
    assert (await world.answer(thread, {"body": "Bonjour", "to": to, "topic": topic})).status_code == 201
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    assert shown["topic"] == topic
    assert [p["type"] for p in shown["messages"][-1]["to"]] == ["CUSTOMER", "OPERATOR"]


async def test_a_thread_takes_a_thousand_messages(world: World) -> None:
    thread = written(world)
    for n in range(999):
        written(world, thread=thread, text=str(n))
    assert (await world.answer(thread)).status_code == 400


# files


async def test_files_go_both_ways(world: World) -> None:
    thread = written(world, files=(File(name="photo.jpg", content=b"\xff\xd8\r\n--b\x00"),))
    assert (await world.answer(thread, files=(("bon.pdf", b"%PDF\r\n\r\n-"), ("b.txt", b"")))).status_code == 201
    shown = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()["messages"]
    photo, pdf, empty = (*shown[0]["attachments"], *shown[1]["attachments"])
    assert (photo["name"], photo["size"], pdf["name"], empty["size"]) == ("photo.jpg", 8, "bon.pdf", 0)
    for attachment, content in ((photo, b"\xff\xd8\r\n--b\x00"), (pdf, b"%PDF\r\n\r\n-"), (empty, b"")):
        answer = await world.mirakl(f"/api/inbox/threads/{attachment['id']}/download")
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["content-type"] == "application/octet-stream"
    assert (await world.mirakl(f"/api/inbox/threads/{photo['id']}/download", shop_id="2002")).status_code == 404
    assert (await world.mirakl("/api/inbox/threads/none/download")).status_code == 404


async def test_an_order_has_at_most_fifty_files_over_its_threads(world: World) -> None:
    fifty = tuple(File(name=f"{n}.txt", content=b"a") for n in range(50))
    written(world, order="order-1", files=fifty)
    other = written(world, order="order-1")
    assert (await world.answer(other, files=(("one.txt", b"a"),))).status_code == 400
    assert (await world.answer(other)).status_code == 201


async def test_what_is_too_large_is_a_413(world: World) -> None:
    thread = written(world)
    assert (await world.answer(thread, files=(("film.mp4", b"a" * 30_000_000),))).status_code == 413


# OR11


async def orders(world: World, **query: Any) -> httpx.Response:
    return await world.mirakl("/api/orders", **query)


async def test_an_order_knows_the_buyers_locale(world: World) -> None:
    written(world, order="order-1-A", locale="nl_BE", channel="BE")
    written(world, order="order-2-A")
    written(world, shop="2002", order="order-3-A")
    shown = (await orders(world, order_ids="order-1-A,order-3-A")).json()
    assert shown["total_count"] == 1
    (order,) = shown["orders"]
    assert (order["order_id"], order["commercial_id"]) == ("order-1-A", "order-1")
    assert (order["customer"]["locale"], order["channel"]["code"]) == ("nl_BE", "BE")


async def test_orders_come_ten_at_a_time_unless_asked_otherwise(world: World) -> None:
    for n in range(12):
        written(world, order=f"order-{n}")
        world.clock.pass_by(seconds=1)

    async def ids(**query: Any) -> list[str]:
        answer = (await orders(world, **query)).json()
        assert answer["total_count"] == 12
        return [order["order_id"] for order in answer["orders"]]

    assert await ids() == [f"order-{n}" for n in range(10)]
    assert await ids(offset=10) == ["order-10", "order-11"]
    assert len(await ids(max=100)) == 12
    assert (await orders(world, max=101)).status_code == 400
