"""What agents' frontends can do, and what they cannot."""

import asyncio
import hashlib

import pytest

from shared.channels.contract import Permission
from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.test_dispatch import round_
from tests.router.world import World, id_of


async def test_an_offer_is_accepted_answered_and_resolved(api: Client, w: World) -> None:
    path = await api.offered("anna")
    shown = await api.get(path)
    assert shown.json()["decision"]["sentence"] == "Anna answers de as a native speaker and was free."
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


async def test_a_closed_window_is_said_and_nothing_is_sent(
    api: Client, w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = await api.held()
    closed = Permission(allowed=False, reason="window_closed", sentence="Wait until they write.")
    chat = api.app.state.api.channels["chat"]
    monkeypatch.setitem(api.app.state.api.channels, "chat", _with(chat, lambda *_: closed))
    assert (await api.get(path)).json()["may_write"]["allowed"] is False
    refused = await api.post(f"{path}/reply", body={"text": "Hallo?"})
    assert (refused.status_code, refused.json()["code"]) == (409, "window_closed")
    assert await w.value("SELECT count(*) FROM bus.outbox WHERE topic = 'outbound'") == 0


def _with(channel: object, may_write: object) -> object:
    from dataclasses import replace

    return replace(channel, may_write=may_write)  # type: ignore[type-var]


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


async def test_a_foreign_id_answers_exactly_like_an_unknown_one(api: Client, w: World) -> None:
    await w.receive(w.message(inbox="other-chat"))
    foreign = f"/v1/conversations/{await w.value('SELECT id FROM router.conversation')}"
    unknown = f"/v1/conversations/{new_id()}"
    for suffix in ("", "/history"):
        answers = [await api.get(path + suffix, "bernd") for path in (foreign, unknown)]
        assert answers[0].status_code == answers[1].status_code == 404
        assert answers[0].content == answers[1].content
    for action, body in (("accept", None), ("reply", {"text": "x"}), ("notes", {"text": "x"}), ("resolve", {})):
        answers = [await api.post(f"{path}/{action}", "bernd", body) for path in (foreign, unknown)]
        assert answers[0].content == answers[1].content
        assert {a.status_code for a in answers} == {404}
    assert (await api.get("/v1/conversations", "bernd")).json()["items"] == []


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


async def test_tokens(api: Client, w: World) -> None:
    assert (await api.http.get("/v1/me")).status_code == 401
    assert (await api.get("/v1/me", "nobody")).status_code == 401
    assert (await api.get("/v1/me")).json()["is_development"] is True
    await w.fetch(
        "INSERT INTO config.api_key (id, name, digest, role, brands, expires_at) VALUES ($1, 'k', $2, 'admin', $3, $4)",
        new_id(), hashlib.sha256(b"a-long-enough-key").digest(), [id_of("shop")], w.clock.at.replace(hour=12),
    )  # fmt: skip
    headers = {"Authorization": "Bearer a-long-enough-key"}
    assert (await api.http.get("/v1/me", headers=headers)).json()["actor"] == "key:k"
    w.clock.forward(hours=4)
    assert (await api.http.get("/v1/me", headers=headers)).status_code == 401


async def test_development_tokens_are_only_for_the_embedded_default(api: Client) -> None:
    api.app.state.api.settings.development_tokens = False
    assert (await api.get("/v1/me")).status_code == 401


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


async def test_bad_requests_name_the_field_and_never_the_value(api: Client) -> None:
    path = await api.held()
    for body in ({"text": ""}, {"text": "x" * 60_000}, {"word": "secret-word"}, None):
        answer = await api.post(f"{path}/reply", body=body)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert "secret-word" not in answer.text
    assert (await api.post(f"{path}/reply", body={"text": "a\x00b"})).status_code == 422


async def test_a_dead_letter_is_for_admins(api: Client, w: World) -> None:
    assert (await api.get("/v1/dead", "sam")).status_code == 403
    await w.fetch("UPDATE config.agent SET role = 'admin' WHERE handle = 'sam'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    assert (await api.get("/v1/dead", "sam")).json() == {"items": [], "next": None}
    assert (await api.get(f"/v1/dead/{new_id()}", "sam")).status_code == 404
