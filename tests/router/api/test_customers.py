"""One customer on people's screens: every channel in order, who else they may be, and who did what about it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from shared.events import OptOutChanged, WithdrawReply
from tests.router.api.conftest import Client
from tests.router.test_identities import CLAIMED, DMARC, MAIL, NUMBER, also, customer_of, split, word
from tests.router.world import MONDAY, World, id_of


async def namesakes(api: Client, w: World) -> tuple[str, str]:
    """The paths of a chat's and a number's customer of the same name."""
    await w.receive(w.message("Guten Tag, wo ist mein Paket?", sender="u1", name="Ina Kunde"))
    await w.receive(w.message("Und hier noch einmal per SMS", inbox="shop-sms", sender=NUMBER, name="Ina Kunde"))
    return f"/v1/customers/{await customer_of(w, 'u1')}", f"/v1/customers/{await customer_of(w, NUMBER)}"


def id_in(path: str) -> str:
    return path.rsplit("/", 1)[1]


async def shown(api: Client, path: str) -> dict[str, Any]:
    answer = await api.get(path)
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


async def texts(api: Client, path: str) -> list[str]:
    return [item["text"] for item in (await shown(api, f"{path}/timeline"))["items"]]


async def history(api: Client, path: str) -> list[tuple[str, str, list[str]]]:
    items = (await shown(api, f"{path}/history"))["items"]
    return [(item["actor"], item["action"], item["reasons"]) for item in items]


async def test_a_suggestion_is_confirmed_and_the_history_is_one(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    (suggestion,) = (await shown(api, chat))["suggestions"]
    assert (suggestion["customer_id"], suggestion["name"]) == (id_in(phone), "Ina Kunde")
    assert suggestion["reasons"] == ["Both have the same name."]
    assert await texts(api, chat) == ["Guten Tag, wo ist mein Paket?"]
    answer = await api.post(f"{chat}/suggestions/{id_in(phone)}/confirm")
    assert answer.status_code == 200
    for path in (chat, phone):
        document = await shown(api, path)
        assert document == answer.json()
        assert (document["id"], document["merged"], document["suggestions"]) == (id_in(chat), [id_in(phone)], [])
        assert [(a["kind"], a["verified_by"]) for a in document["addresses"]] == [
            ("chat", "channel"), ("phone", "channel"),
        ]  # fmt: skip
        assert await texts(api, path) == ["Und hier noch einmal per SMS", "Guten Tag, wo ist mein Paket?"]
        assert await history(api, path) == [("anna", "customer.merged", ["Both have the same name."])]


async def test_what_was_dismissed_is_not_suggested_again_but_can_be_confirmed(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    answer = await api.post(f"{chat}/suggestions/{id_in(phone)}/dismiss")
    assert (answer.status_code, answer.json()["suggestions"]) == (200, [])
    await w.receive(w.message("Noch einmal", sender="u1", matter="4711", also=also(NUMBER)))
    await w.receive(w.message("Und noch einmal", inbox="shop-sms", sender=NUMBER, matter="4711"))
    document = await shown(api, phone)
    assert (document["merged"], document["suggestions"]) == ([], []), "nor linked by what the vendor says"
    assert (await api.post(f"{phone}/suggestions/{id_in(chat)}/confirm")).json()["merged"] == [id_in(phone)]
    assert [entry[:2] for entry in await history(api, chat)] == [
        ("anna", "customer.merged"), ("anna", "customer.kept_apart"),
    ]  # fmt: skip


async def test_a_split_takes_the_address_and_its_conversations_out(api: Client, w: World) -> None:
    await w.receive(w.message("Guten Tag, wo ist mein Paket?", sender="u1"))
    await w.receive(w.message("Und hier noch einmal per SMS", inbox="shop-sms", sender=NUMBER, also=also("u1", "chat")))
    chat, phone = [f"/v1/customers/{await customer_of(w, value)}" for value in ("u1", NUMBER)]
    assert (await shown(api, phone))["id"] == id_in(chat)
    answer = await api.post(f"{phone}/split", "bernd")
    assert (answer.status_code, answer.json()["id"], answer.json()["merged"]) == (200, id_in(phone), [])
    assert [a["value"] for a in answer.json()["addresses"]] == [NUMBER]
    assert await texts(api, phone) == ["Und hier noch einmal per SMS"]
    assert await texts(api, chat) == ["Guten Tag, wo ist mein Paket?"]
    for path in (chat, phone):
        assert await history(api, path) == [
            ("bernd", "customer.split", []),
            ("router", "customer.merged", ["The vendor says that both addresses are one person's."]),
        ]
    assert (await api.post(f"{phone}/split")).json()["code"] == "not_merged"


async def test_the_survivor_can_be_split_off_too(api: Client, w: World) -> None:
    await w.receive(w.message(sender="u1", also=[*also("u2", "chat"), *also("u3", "chat")]))
    one, two, three = [str(await customer_of(w, f"u{n}")) for n in (1, 2, 3)]
    survivor = min(one, two, three)
    rest = sorted({one, two, three} - {survivor})
    assert (await api.post(f"/v1/customers/{survivor}/split")).json()["merged"] == []
    document = await shown(api, f"/v1/customers/{rest[1]}")
    assert (document["id"], document["merged"]) == (rest[0], rest[1:])


async def test_an_unproven_mail_is_suggested_to_its_claimed_owner(api: Client, w: World) -> None:
    await w.receive(
        w.message(inbox="shop-mail", sender=MAIL, **DMARC), w.message(inbox="shop-mail", sender=MAIL, **CLAIMED)
    )
    document = await shown(api, f"/v1/customers/{await customer_of(w, MAIL)}")
    assert document["suggestions"][0]["reasons"] == [
        "Both wrote from the same address (email), but it is not proven to be theirs in both cases."
    ]
    other = await shown(api, f"/v1/customers/{document['suggestions'][0]['customer_id']}")
    assert [(a["value"], a["verified_by"]) for a in other["addresses"]] == [(MAIL, None)]


async def test_two_who_look_at_the_same_customer_cannot_both_answer(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    etag = (await api.get(chat)).headers["etag"]
    confirm = f"{chat}/suggestions/{id_in(phone)}/confirm"
    assert (await api.post(confirm, etag=None)).status_code == 428
    await w.receive(w.message("Nur noch eine Nachricht", sender="u1"))
    assert (await api.post(f"{chat}/suggestions/{id_in(phone)}/dismiss", etag=etag)).status_code == 200
    answer = await api.post(confirm, "bernd", etag=etag)
    assert (answer.status_code, answer.json()["code"]) == (412, "changed")
    answer = await api.post(confirm, "bernd", etag=answer.headers["etag"])
    assert answer.status_code == 200
    assert (await api.post(f"{chat}/split", etag=etag)).status_code == 412
    assert (await api.post(confirm, "bernd")).json()["code"] == "already_one"


async def test_the_same_request_again_gives_the_same_answer(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    answers = [await api.post(f"{chat}/suggestions/{id_in(phone)}/confirm", key="once") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(await history(api, chat)) == 1


async def test_nobody_confirms_what_nobody_suggested(api: Client, w: World) -> None:
    await w.receive(w.message(sender="u1"), w.message(sender="u2"), w.message(sender="u1", inbox="other-chat"))
    one, two = await customer_of(w, "u1"), await customer_of(w, "u2")
    other = await w.value("SELECT id FROM router.customer WHERE brand_id = $1", id_of("other"))
    mine = await w.value("SELECT id FROM router.customer WHERE brand_id = $1 AND id <> $2", id_of("shop"), two)
    assert one in (mine, other)
    for missing in (two, other, UUID(int=7)):
        for what in ("confirm", "dismiss"):
            answer = await api.post(f"/v1/customers/{mine}/suggestions/{missing}/{what}")
            assert answer.status_code == 404
    assert (await api.post(f"/v1/customers/{UUID(int=7)}/split")).status_code == 404


async def test_another_brands_customers_are_not_there(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    for path in (chat, f"{chat}/timeline", f"{chat}/history"):
        assert (await api.get(path, "olaf")).status_code == 404
    assert (await api.post(f"{chat}/suggestions/{id_in(phone)}/confirm", "olaf")).status_code == 404


async def test_the_timeline_pages_neither_skip_nor_repeat_where_instants_are_equal(api: Client, w: World) -> None:
    chat, phone = await namesakes(api, w)
    await api.post(f"{chat}/suggestions/{id_in(phone)}/confirm")
    for n in range(8):
        # Written at the same instant; what was received first is handled last.
        inbox, sender = [("shop-chat", "u1"), ("shop-sms", NUMBER)][n % 2]
        event = w.message(f"Nummer {n}", inbox=inbox, sender=sender, at=MONDAY)
        await w.receive(replace(event, time=MONDAY - timedelta(seconds=n // 2)))
    whole = (await shown(api, f"{chat}/timeline"))["items"]
    order = [(item["occurred_at"], item["received_at"], item["id"]) for item in whole]
    assert order == sorted(order, reverse=True)
    assert {item["channel"] for item in whole} == {"chat", "sms"}
    paged: list[dict[str, Any]] = []
    path = f"{phone}/timeline?limit=3"
    while path:
        page = await shown(api, path)
        paged += page["items"]
        path = f"{phone}/timeline?limit=3&cursor={page['next']}" if page["next"] else ""
    assert (len(whole), paged) == (10, whole)
    other = await api.get(f"{chat}/timeline?cursor={(await shown(api, '/v1/conversations?limit=1'))['next']}")
    assert (other.status_code, other.json()["code"]) == (400, "bad_cursor")


async def test_a_conversation_shows_the_whole_history_beside_it(api: Client, w: World) -> None:
    path = await api.received(inbox="shop-sms", sender=NUMBER)
    await w.receive(w.message("Vom Chat", sender="u1", name="Ina Kunde", also=also(NUMBER)))
    document = await shown(api, path)
    assert (document["customer_name"], len(document["messages"])) == ("Ina Kunde", 1)
    assert {item["channel"] for item in document["timeline"]} == {"chat", "sms"}


async def opted(api: Client, w: World) -> str:
    """The path of an SMS conversation that anna holds, whose customer said STOP."""
    await w.there("anna")
    path = await api.received(inbox="shop-sms", sender=NUMBER)
    assert (await api.post(f"{path}/claim")).status_code == 200
    await w.receive(word(w, opted_out=True))
    return path


async def test_nobody_writes_to_whoever_said_stop_until_they_say_start(api: Client, w: World) -> None:
    path = await opted(api, w)
    may_write = (await shown(api, path))["may_write"]
    assert (may_write["allowed"], may_write["reason"]) == (False, "opted_out")
    answer = await api.post(f"{path}/reply", body={"text": "Hallo!"})
    assert (answer.status_code, answer.json()["code"]) == (409, "opted_out")
    assert answer.json()["detail"] == may_write["sentence"]
    w.clock.forward(minutes=1)
    await w.receive(w.message("Hallo?", inbox="shop-sms", sender=NUMBER))
    assert (await api.post(f"{path}/reply", body={"text": "Hallo!"})).status_code == 409
    await w.receive(word(w, opted_out=False))
    assert (await api.post(f"{path}/reply", body={"text": "Hallo!"})).status_code == 202


async def test_a_stop_holds_for_its_address_in_its_inbox(api: Client, w: World) -> None:
    path = await opted(api, w)
    elsewhere = await api.received(inbox="shop-whatsapp", sender=NUMBER)
    assert (await shown(api, elsewhere))["may_write"]["allowed"]
    # The same person goes on in the conversation with another number, to which a reply goes.
    await w.receive(w.message("Andere Nummer", inbox="shop-sms", sender="+4930123456", also=also(NUMBER)))
    assert (await shown(api, path))["may_write"]["allowed"]
    await w.receive(w.message("Wieder die alte", inbox="shop-sms", sender=NUMBER))
    assert not (await shown(api, path))["may_write"]["allowed"]


async def test_what_waits_to_be_sent_is_withdrawn_by_a_stop(api: Client, w: World) -> None:
    await w.there("anna")
    path = await api.received(inbox="shop-sms", sender=NUMBER)
    await api.post(f"{path}/claim")
    reply = (await api.post(f"{path}/reply", body={"text": "Hallo!"})).json()["message_id"]
    await w.receive(
        word(w, opted_out=False),
        word(w, opted_out=True, value="+4930123456"),
        word(w, opted_out=True, marketing_only=True),
    )
    assert (await shown(api, path))["may_write"]["allowed"]
    withdrawn = "SELECT value FROM bus.outbox WHERE headers->>'ce_type' = 'dragoman.withdraw.reply.v1'"
    assert await w.fetch(withdrawn) == []
    stop = word(w, opted_out=True)
    assert isinstance(stop.data, OptOutChanged)
    await w.receive(stop)
    (row,) = await w.fetch(withdrawn)
    assert str(msgspec.json.decode(row["value"], type=WithdrawReply).reply_id) == reply


async def test_a_split_by_anybody_leaves_the_conversations_of_both_as_they_are(api: Client, w: World) -> None:
    path = await api.received(inbox="shop-sms", sender=NUMBER, also=also("u1", "chat"))  # type: ignore[arg-type]
    before = await shown(api, path)
    await split(w, await customer_of(w, NUMBER))
    after = await shown(api, path)
    assert (after["version"], after["customer_id"]) == (before["version"], before["customer_id"])
