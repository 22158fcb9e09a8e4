"""What agents' frontends can do, and what they cannot."""

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.router.check import check
from services.router.store import screens
from services.router.timers import lapse_offers
from shared.db.transaction import Transaction
from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.test_dispatch import round_, sweep
from tests.router.world import World, id_of


async def test_an_offer_is_accepted_answered_and_resolved(api: Client, w: World) -> None:
    path = await api.offered("anna")
    shown = await api.get(path)
    assert shown.json()["decision"]["sentence"] == "Anna answers in German as a native speaker and was free."
    accepted = await api.post(f"{path}/accept", etag=shown.headers["etag"])
    assert accepted.json()["state"] == "assigned"
    replied = await api.post(f"{path}/reply", body={"text": "Morgen!", "resolve": True}, etag=accepted.headers["etag"])
    assert (replied.status_code, replied.json()["state"]) == (202, "resolved")
    (row,) = await w.fetch("SELECT headers, value FROM bus.outbox WHERE topic = 'outbound'")
    assert row["headers"]["ce_type"] == "dragoman.send.reply.v1"
    assert b"Morgen!" in row["value"]
    assert await w.value("SELECT state FROM router.clock") == "running", "the vendor has not taken it yet"
    messages = (await api.get(path)).json()["messages"]
    assert [(m["kind"], m["state"]) for m in messages] == [("inbound", None), ("reply", "queued")]


async def test_a_declined_offer_goes_to_somebody_else_and_not_back(api: Client, w: World) -> None:
    path = await api.offered("anna")
    assert (await api.post(f"{path}/decline", body={"reason": "lunch"})).json()["state"] == "waiting"
    assert await round_(w) == 0
    await w.there("bernd")
    assert await round_(w) == 1
    assert (await api.get(path, "bernd")).json()["agent_name"] == "Bernd"


async def test_two_agents_who_claim_the_same_get_one_yes(api: Client, w: World) -> None:
    await w.receive(w.message())
    path = f"/v1/conversations/{await w.value('SELECT id FROM router.conversation')}"
    await w.there("anna", "bernd")
    answers = await asyncio.gather(*(api.post(f"{path}/claim", agent) for agent in ("anna", "bernd")))
    assert sorted(a.status_code for a in answers) == [200, 409]


async def test_nobody_claims_above_their_capacity(api: Client, w: World) -> None:
    await w.there("anna")
    await w.receive(*(w.message(sender=f"s{n}") for n in range(3)))
    ids = [row["id"] for row in await w.fetch("SELECT id FROM router.conversation")]
    answers = await asyncio.gather(*(api.post(f"/v1/conversations/{id_}/claim") for id_ in ids))
    assert sorted(a.status_code for a in answers) == [200, 200, 409]
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"no_capacity"}


async def test_a_stale_view_changes_nothing(api: Client) -> None:
    path = await api.offered("anna")
    old = (await api.get(path)).headers["etag"]
    await api.post(f"{path}/notes", body={"text": "careful"})
    stale = await api.post(f"{path}/accept", etag=old)
    assert (stale.status_code, stale.headers["etag"] != old) == (412, True)
    assert (await api.post(f"{path}/accept", etag=None)).status_code == 428
    assert (await api.post(f"{path}/accept", etag=stale.headers["etag"])).status_code == 200


async def test_the_same_request_again_has_one_effect_and_the_same_answer(api: Client, w: World) -> None:
    path = await api.held()
    body = {"text": "Morgen!"}
    answers = await asyncio.gather(*(api.post(f"{path}/reply", body=body, key="one") for _ in range(5)))
    assert {a.status_code for a in answers} == {202}
    assert len({a.content for a in answers}) == 1
    assert await w.value("SELECT count(*) FROM router.message WHERE kind = 'reply'") == 1
    other = await api.post(f"{path}/reply", body={"text": "Übermorgen!"}, key="one")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_failed_request_may_be_repeated_with_its_key(api: Client) -> None:
    path = await api.offered("anna")
    assert (await api.post(f"{path}/reply", body={"text": "hi"}, key="r")).status_code == 409
    await api.post(f"{path}/accept")
    assert (await api.post(f"{path}/reply", body={"text": "hi"}, key="r")).status_code == 202


async def test_a_wrong_language_goes_to_the_right_queue_with_its_age_and_clock(api: Client, w: World) -> None:
    path = await api.held()
    before = (await api.get(path)).json()
    w.clock.forward(minutes=5)
    assert (await api.post(f"{path}/language", body={"language": "fr"})).json()["state"] == "waiting"
    after = (await api.get(path)).json()
    assert (after["language"], after["due_at"]) == ("fr", before["due_at"])
    assert await w.value("SELECT pool_id FROM router.queue") == id_of("pool-fr")
    await w.receive(w.message("Das ist doch Deutsch, was ich hier schreibe!"))
    assert (await api.get(path, "sam")).json()["language"] == "fr", "an agent's word holds"


async def test_only_the_holder_or_a_supervisor_changes_what_is_held(api: Client) -> None:
    path = await api.held()
    assert (await api.post(f"{path}/resolve", "bernd", {})).status_code == 403
    assert (await api.post(f"{path}/transfer", "sam", {"reason": "shift ends"})).json()["state"] == "waiting"


async def test_the_whole_timeline_of_a_customer_crosses_inboxes_but_not_brands(api: Client, w: World) -> None:
    await w.receive(w.message("Hallo, wo ist mein Paket?"), w.message("Und nun?", inbox="other-chat"))
    rows = await w.fetch("SELECT id, customer_id FROM router.conversation WHERE brand_id = $1", id_of("shop"))
    page = (await api.get(f"/v1/customers/{rows[0]['customer_id']}/timeline?limit=1", "anna")).json()
    assert [m["text"] for m in page["items"]] == ["Hallo, wo ist mein Paket?"]
    assert (await api.get(f"/v1/customers/{rows[0]['customer_id']}", "anna")).json()["addresses"][0]["value"] == "kunde"


async def test_pages_neither_skip_nor_repeat(api: Client, w: World) -> None:
    await w.receive(*(w.message(sender=f"s{n}") for n in range(7)))
    seen, cursor = [], ""
    while True:
        page = (await api.get(f"/v1/conversations?limit=3{cursor}", "sam")).json()
        seen += [item["id"] for item in page["items"]]
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    assert len(seen) == len(set(seen)) == 7
    tampered = await api.get("/v1/conversations?cursor=bm90aGluZw==", "sam")
    assert (tampered.status_code, tampered.json()["code"]) == (400, "bad_cursor")


async def test_presence_is_a_lease(api: Client, w: World) -> None:
    headers = {"Authorization": "Bearer dev-anna"}
    assert (await api.http.put("/v1/presence", json={"status": "available"}, headers=headers)).status_code == 200
    assert (await api.get("/v1/presence")).json()["status"] == "available"
    w.clock.forward(seconds=61)
    assert (await api.get("/v1/presence")).json()["status"] == "away"


async def test_queues_show_what_waits_in_my_pools(api: Client, w: World) -> None:
    await w.receive(w.message(), w.message("Où est ma commande ?", sender="b"))
    mine = {q["name"]: q["waiting"] for q in (await api.get("/v1/queues", "bernd")).json()["items"]}
    assert mine == {"de": 1}
    assert len((await api.get("/v1/queues", "sam")).json()["items"]) == 3


async def test_a_queue_counts_who_is_there_of_the_callers_brands(api: Client, w: World) -> None:
    await w.there("bernd", "claire", "olaf")
    shop = await api.key("desk", "supervisor", "shop")
    queues = (await api.get("/v1/queues", shop)).json()["items"]
    assert {q["name"]: q["agents_present"] for q in queues} == {"de": 2, "fr": 1, "all": 0}


async def test_colleagues_are_those_of_my_brands_with_what_they_hold(api: Client, w: World) -> None:
    await api.held("anna")
    shown = (await api.get("/v1/agents", "bernd")).json()["items"]
    assert {a["agent_id"] for a in shown} == {str(id_of(a)) for a in ("anna", "bernd", "claire", "gina", "sam")}
    found = {a["agent_id"]: a for a in shown}
    anna, claire = found[str(id_of("anna"))], found[str(id_of("claire"))]
    assert (anna["status"], anna["load"], anna["capacity"]) == ("available", 1, 2)
    assert (claire["status"], claire["load"], claire["languages"]) == ("away", 0, ["de", "fr"])
    brand = await api.key("shop", "brand", "shop")
    assert (await api.get("/v1/agents", brand)).status_code == 403


async def test_an_offer_says_when_it_lapses_and_what_is_held_does_not(api: Client, w: World) -> None:
    path = await api.offered("anna")
    (listed,) = (await api.get("/v1/conversations?agent=me")).json()["items"]
    shown = (await api.get(path)).json()
    assert listed["offered_until"] == shown["offered_until"]
    assert datetime.fromisoformat(shown["offered_until"]) - w.clock.at == timedelta(seconds=45)
    assert (await api.post(f"{path}/accept")).status_code == 200
    assert (await api.get(path)).json()["offered_until"] is None


async def test_an_offer_that_lapsed_cannot_be_accepted(api: Client, w: World) -> None:
    path = await api.offered("anna")
    w.clock.forward(seconds=46)
    assert await sweep(w, lapse_offers) == 1
    late = await api.post(f"{path}/accept")
    assert (late.status_code, late.json()["code"]) == (409, "wrong_state")
    assert (await api.get(path)).json()["decision"]["sentence"] == (
        "Waits for de by the plan plan-de for German (the offer lapsed)."
    )


async def test_a_retry_while_the_first_is_in_flight_waits_for_its_answer(api: Client, w: World) -> None:
    path = await api.held()
    async with w.router.transaction() as tx:
        await tx.fetch("SELECT FROM router.conversation FOR UPDATE")
        both = [asyncio.create_task(api.post(f"{path}/reply", body={"text": "Hi!"}, key="one")) for _ in range(2)]
        done, _ = await asyncio.wait(both, timeout=0.3)
        assert not done, "the first waits for the conversation, the second for the first"
    answers = await asyncio.gather(*both)
    assert [a.status_code for a in answers] == [202, 202]
    assert answers[0].content == answers[1].content
    assert sorted(a.headers.get("idempotency-replayed", "") for a in answers) == ["", "true"]
    assert await w.value("SELECT count(*) FROM bus.outbox WHERE topic = 'outbound'") == 1


async def test_keys_of_the_same_name_do_not_get_each_others_answers(api: Client, w: World) -> None:
    path = await api.received()
    keys = [await api.key("crm", role, "shop") for role in ("admin", "supervisor")]
    answers = [await api.post(f"{path}/notes", key, {"text": "seen"}, key="same") for key in keys]
    assert [a.status_code for a in answers] == [201, 201]
    assert await w.value("SELECT count(*) FROM router.message WHERE kind = 'note'") == 2


async def test_a_transfer_to_a_pool_waits_there_alone_and_comes_back_there(api: Client, w: World) -> None:
    path = await api.held()
    before = (await api.get(path)).json()
    body = {"pool_id": str(id_of("pool-all")), "reason": "warranty"}
    assert (await api.post(f"{path}/transfer", body=body)).json()["state"] == "waiting"
    assert [row["pool_id"] for row in await w.fetch("SELECT pool_id FROM router.queue")] == [id_of("pool-all")]
    shown = (await api.get(path)).json()
    assert shown["decision"]["sentence"] == "Waits for all, where somebody gave it (warranty)."
    assert shown["due_at"] == before["due_at"]
    assert await round_(w) == 0, "anna is there, but not in that pool"
    await w.there("gina")
    assert await round_(w) == 1
    assert (await api.post(f"{path}/decline", "gina", {"reason": "lunch"})).status_code == 200
    assert [row["pool_id"] for row in await w.fetch("SELECT pool_id FROM router.queue")] == [id_of("pool-all")]
    assert await check(w.router) == (1, [])


async def test_a_transfer_to_a_colleague_says_who_gave_it(api: Client, w: World) -> None:
    path = await api.held()
    body = {"agent_id": str(id_of("bernd")), "reason": "knows about warranties"}
    assert (await api.post(f"{path}/transfer", body=body)).json()["code"] == "not_there"
    await w.there("bernd")
    assert (await api.post(f"{path}/transfer", body=body)).json()["agent_id"] == str(id_of("bernd"))
    sentence = (await api.get(path)).json()["decision"]["sentence"]
    assert sentence == "Anna gave it to Bernd (knows about warranties)."
    assert (await api.post(f"{path}/transfer", "bernd", body)).json()["code"] == "already_theirs"
    other = {"agent_id": str(id_of("olaf"))}
    assert (await api.post(f"{path}/transfer", "bernd", other)).json()["code"] == "no_such_agent"
    nowhere = {"pool_id": str(new_id())}
    assert (await api.post(f"{path}/transfer", "bernd", nowhere)).json()["code"] == "no_such_pool"
    assert (await api.post(f"{path}/transfer", "bernd", body | nowhere)).status_code == 422
    assert (await api.post(f"{path}/transfer", "bernd", {"agent": "sam"})).status_code == 422, "no such field"


async def test_transfers_at_once_never_go_above_capacity(api: Client, w: World) -> None:
    await w.there("bernd", "claire", "gina")
    await w.receive(*(w.message(sender=f"s{n}") for n in range(4)))
    ids = [row["id"] for row in await w.fetch("SELECT id FROM router.conversation")]
    body = {"agent_id": str(id_of("bernd"))}
    answers = await asyncio.gather(*(api.post(f"/v1/conversations/{id_}/transfer", "sam", body) for id_ in ids))
    assert sorted(a.status_code for a in answers) == [200, 200, 409, 409]


async def test_who_claimed_says_so(api: Client, w: World) -> None:
    await w.there("anna")
    path = await api.received()
    assert (await api.post(f"{path}/claim")).json()["state"] == "assigned"
    assert (await api.get(path)).json()["decision"]["sentence"] == "Anna took it from the queue de."
    elsewhere = await api.received(text="Où est ma commande ?", sender="b")
    assert (await api.post(f"{elsewhere}/claim")).json()["code"] == "not_your_queue"


async def test_a_language_that_no_plan_serves_is_a_conflict_and_changes_nothing(api: Client, w: World) -> None:
    path = await api.held()
    await w.fetch("DELETE FROM config.plan WHERE handle = 'plan-any'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    refused = await api.post(f"{path}/language", body={"language": "zu"})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_plan")
    assert (await api.get(path)).json()["language"] == "de"


async def test_resolving_stops_the_clock_where_no_reply_is_on_its_way(api: Client, w: World) -> None:
    path = await api.held()
    assert (await api.get(path)).json()["clock"]["seconds_left"] == 3600
    assert (await api.post(f"{path}/resolve", body={"reason": "only thanks"})).json()["state"] == "resolved"
    assert await w.value("SELECT state FROM router.clock") == "stopped"
    shown = (await api.get(path)).json()
    assert (shown["clock"], shown["due_at"]) == (None, None)
    assert (await api.post(f"{path}/resolve", body={})).status_code == 409


async def test_history_tells_every_change_in_order(api: Client, w: World) -> None:
    path = await api.held()
    await api.post(f"{path}/notes", body={"text": "careful"})
    items = (await api.get(f"{path}/history")).json()["items"]
    assert [item["n"] for item in items] == list(range(1, len(items) + 1))
    assert [(item["kind"], item["actor"]) for item in items[-3:]] == [
        ("offered", "router"), ("assigned", "anna"), ("note_added", "anna"),
    ]  # fmt: skip


async def test_the_timeline_pages_over_inboxes_and_merged_customers(api: Client, w: World) -> None:
    await w.receive(*(w.message(f"Frage {n} zur Bestellung", sender=f"s{n % 2}") for n in range(5)))
    first, second = [row["id"] for row in await w.fetch("SELECT id FROM router.customer ORDER BY id")]
    await w.fetch("UPDATE router.customer SET survivor_id = $1 WHERE id = $2", first, second)
    texts, cursor = [], ""
    while True:
        page = (await api.get(f"/v1/customers/{second}/timeline?limit=2{cursor}")).json()
        texts += [item["text"] for item in page["items"]]
        if not page["next"]:
            break
        cursor = f"&cursor={page['next']}"
    assert sorted(texts) == [f"Frage {n} zur Bestellung" for n in range(5)]


async def test_pages_go_on_where_nothing_is_due(api: Client, w: World) -> None:
    await w.receive(*(w.message(sender=f"s{n}") for n in range(3)))
    await w.fetch("UPDATE router.conversation SET due_at = NULL")
    page = (await api.get("/v1/conversations?limit=2", "sam")).json()
    rest = (await api.get(f"/v1/conversations?limit=2&cursor={page['next']}", "sam")).json()
    assert (len(page["items"]), len(rest["items"]), rest["next"]) == (2, 1, None)


async def test_the_list_is_filtered(api: Client, w: World) -> None:
    path = await api.held()
    await w.receive(w.message("Où est ma commande ?", sender="b"))
    for query, expected in (("agent=me", 1), ("state=waiting", 1), ("language=fr", 1), ("language=it", 0), ("", 2)):
        assert len((await api.get(f"/v1/conversations?{query}")).json()["items"]) == expected, query
    assert path.endswith((await api.get("/v1/conversations?agent=me")).json()["items"][0]["id"])
    assert (await api.get("/v1/conversations?state=&agent=me")).status_code == 422


async def test_a_conversation_explains_its_clocks(api: Client) -> None:
    path = await api.held()
    document = (await api.get(path)).json()
    (clock,) = document["clocks"]
    assert document["clock"] == clock
    assert clock.items() >= {
        "target": "first_response", "family": "contract", "policy": "default", "state": "running", "is_missed": False,
        "sentence": "1 h around the clock; due Mon 10:00 UTC",
    }.items()  # fmt: skip


async def test_what_needs_no_reply_waits_for_nobody_any_more(api: Client) -> None:
    path = await api.held()
    answer = await api.post(f"{path}/no-reply-needed", body={"reason": "thanks"})
    assert (answer.status_code, answer.json()["state"]) == (200, "assigned")
    document = (await api.get(path)).json()
    assert (document["clock"], document["due_at"], document["unanswered_since"]) == (None, None, None)
    assert document["clocks"][0]["sentence"].endswith("due Mon 10:00 UTC; stopped Mon 09:00 UTC")
    again = await api.post(f"{path}/no-reply-needed", body={})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_unanswered")
    waiting = await api.received(text="Danke!", sender="another")
    answer = await api.post(f"{waiting}/no-reply-needed", body={})
    assert (answer.status_code, answer.json()["state"]) == (200, "resolved")
    assert await api.world.value("SELECT count(*) FROM router.queue") == 0


async def test_a_document_is_of_one_instant_and_its_etag_with_it(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await api.held()
    messages = screens.messages

    async def after_a_note(tx: Transaction, conversation_id: UUID) -> list[dict[str, Any]]:
        """Somebody writes while the document is being put together."""
        monkeypatch.setattr(screens, "messages", messages)
        assert (await api.post(f"{path}/notes", body={"text": "careful"})).status_code == 201
        return await messages(tx, conversation_id)

    before = await api.get(path)
    monkeypatch.setattr(screens, "messages", after_a_note)
    meanwhile = await api.get(path)
    assert (meanwhile.headers["etag"], len(meanwhile.json()["messages"])) == (before.headers["etag"], 1)
    after = await api.get(path)
    assert after.headers["etag"] != before.headers["etag"]
    assert len(after.json()["messages"]) == 2
