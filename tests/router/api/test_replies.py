"""Writing to customers: what the channel lets us, once, and by whom; and stopping or repeating it."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from services.router.results import Results, Told
from shared.channels.contract import Draft, Permission
from shared.errors import Rejected
from shared.events import Event, ReplyAccepted, ReplyProgressed, ReplyRefused, ReplyUnknown, SendReply
from tests.router.api.conftest import Client
from tests.router.world import World, id_of


def chat(api: Client, **differs: Any) -> None:
    """The channel `chat`, but different."""
    channels = dict(api.parts.channels)
    api.app.state.api = replace(api.parts, channels=channels | {"chat": replace(channels["chat"], **differs)})


async def written(api: Client, path: str, agent: str = "anna", **more: Any) -> str:
    answer = await api.post(f"{path}/reply", agent, {"text": "Morgen!"} | more)
    assert answer.status_code == 202
    return f"/v1/replies/{answer.json()['message_id']}"


async def tell(w: World, told: type[Told], **more: Any) -> None:
    """The responder told this of the one reply."""
    row = (await w.fetch("SELECT id, conversation_id FROM router.message WHERE kind = 'reply'"))[0]
    data = told(reply_id=row["id"], conversation_id=row["conversation_id"], at=w.clock.at, **more)
    async with w.router.transaction() as tx:
        await Results(w.cache)(tx, [Event(data=data, key="k", source="responder", time=w.clock.at)])


async def orders(w: World) -> list[dict[str, Any]]:
    rows = await w.fetch("SELECT headers, value FROM bus.outbox WHERE topic = 'outbound' ORDER BY id")
    return [{"type": row["headers"]["ce_type"], **msgspec.json.decode(row["value"])} for row in rows]


async def test_a_reply_leaves_complete(api: Client, w: World) -> None:
    path = await api.held()
    reply = await written(api, path)
    (order,) = await orders(w)
    history = (await api.get(f"{path}/history")).json()["items"]
    assert order["type"] == "dragoman.send.reply.v1"
    assert reply.endswith(order["reply_id"])
    assert order["number"] == next(item["n"] for item in history if item["kind"] == "reply_written")
    assert (order["text"], order["language"], order.get("author_kind", "agent")) == ("Morgen!", "de", "agent")
    assert order["expires_at"].startswith("2026-11-30T09:00:00"), "a week where the vendor sets no end"


async def test_a_reply_expires_with_the_vendors_window(api: Client, w: World) -> None:
    until = w.clock.at + timedelta(hours=3)
    chat(api, may_write=lambda *_: Permission(allowed=True, until=until))
    path = await api.held()
    await written(api, path)
    assert (await orders(w))[0]["expires_at"].startswith("2026-11-23T12:00:00")
    assert (await api.get(path)).json()["may_write"]["until"] == "2026-11-23T12:00:00Z"


async def test_a_closed_window_is_said_and_nothing_is_sent(api: Client, w: World) -> None:
    path = await api.held()
    closed = Permission(allowed=False, reason="window_closed", sentence="Wait until they write.")
    chat(api, may_write=lambda *_: closed)
    shown = (await api.get(path)).json()["may_write"]
    assert (shown.pop("text_limit"), shown) == (
        1000,
        {"allowed": False, "reason": "window_closed", "until": None, "sentence": "Wait until they write."},
    )
    refused = await api.post(f"{path}/reply", body={"text": "Hallo?"})
    assert (refused.status_code, refused.json()["code"]) == (409, "window_closed")
    assert refused.json()["detail"] == "Wait until they write."
    assert await orders(w) == []


async def test_what_the_channel_cannot_carry_is_refused_at_once(api: Client, w: World) -> None:
    def render(reply: SendReply) -> tuple[()]:
        raise Rejected("the vendor takes no text below 10 characters", code="text_too_short")

    path = await api.held()
    chat(api, render=render)
    refused = await api.post(f"{path}/reply", body={"text": "Ja."})
    assert (refused.status_code, refused.json()["code"]) == (409, "text_too_short")
    assert await orders(w) == []


async def test_a_program_is_not_taken_for_a_person(api: Client, w: World) -> None:
    def only_people(draft: Draft, *_: object) -> Permission:
        return Permission(allowed=draft.author_kind == "agent", reason="people_only")

    path = await api.held()
    program = await api.key("crm", "supervisor", "shop")
    await written(api, path, program)
    assert (await orders(w))[0]["author_kind"] == "automatic"
    chat(api, may_write=only_people)
    assert (await api.get(path)).json()["may_write"]["allowed"] is True
    assert (await api.get(path, program)).json()["may_write"]["allowed"] is False
    assert (await api.post(f"{path}/reply", program, {"text": "Hi!"})).json()["code"] == "people_only"


@pytest.mark.parametrize("resolve", [True, False])
async def test_the_clock_runs_until_the_vendor_took_the_reply(api: Client, w: World, resolve: bool) -> None:
    path = await api.held()
    await written(api, path, resolve=resolve)
    if not resolve:
        assert (await api.post(f"{path}/resolve", body={})).json()["state"] == "resolved"
    assert (await api.get(path)).json()["clock"]["target"] == "first_response"
    await tell(w, ReplyAccepted)
    shown = (await api.get(path)).json()
    assert (shown["state"], shown["clock"], shown["messages"][-1]["state"]) == ("resolved", None, "accepted")
    assert await w.value("SELECT state FROM router.clock") == "met"


async def test_a_reply_that_was_refused_brings_the_resolved_conversation_back(api: Client, w: World) -> None:
    path = await api.held()
    reply = await written(api, path, resolve=True)
    await tell(w, ReplyRefused, reason="rejected", code="551")
    shown = (await api.get(path)).json()
    assert (shown["state"], shown["messages"][-1]["reason"]) == ("waiting", "rejected (551)")
    assert (await api.post(f"{reply}/replay")).status_code == 202, "who wrote it may try again"
    assert [order["type"] for order in await orders(w)][1:] == ["dragoman.replay.delivery.v1"]


async def test_an_answer_that_comes_back_to_whoever_holds_it_has_a_clock_again(api: Client, w: World) -> None:
    path = await api.held()
    await written(api, path)
    await tell(w, ReplyAccepted)
    assert (await api.get(path)).json()["clock"] is None
    w.clock.forward(minutes=30)
    await tell(w, ReplyProgressed, state="failed", code="window_closed")
    shown = (await api.get(path)).json()
    assert (shown["state"], shown["messages"][-1]["reason"]) == ("assigned", "window_closed")
    assert shown["unanswered_since"] == "2026-11-23T09:30:00Z"
    assert shown["clock"]["state"] == "running"


async def test_what_has_not_left_can_be_withdrawn_and_what_has_cannot(api: Client, w: World) -> None:
    path = await api.held()
    reply = await written(api, path)
    assert (await api.post(f"{reply}/replay")).json()["code"] == "wrong_state"
    answers = [await api.post(f"{reply}/withdraw", key="one") for _ in range(2)]
    assert [a.status_code for a in answers] == [202, 202]
    assert [order["type"] for order in await orders(w)][1:] == ["dragoman.withdraw.reply.v1"], "once for two requests"
    (row,) = await w.fetch("SELECT actor, action, brand_id FROM router.audit")
    assert tuple(row.values()) == ("anna", "reply.withdrawn", id_of("shop"))
    await tell(w, ReplyAccepted)
    late = await api.post(f"{reply}/withdraw")
    assert (late.status_code, late.json()["detail"]) == (409, "Its state is accepted")


async def test_an_unknown_reply_is_replayed_only_where_one_may_still_write(api: Client, w: World) -> None:
    path = await api.held()
    reply = await written(api, path)
    await tell(w, ReplyUnknown, reason="no_proof")
    assert (await api.post(f"{reply}/replay", "bernd")).json()["code"] == "not_yours"
    chat(api, may_write=lambda *_: Permission(allowed=False, reason="window_closed"))
    assert (await api.post(f"{reply}/replay")).json()["code"] == "window_closed"
    chat(api, may_write=lambda *_: Permission(allowed=True))
    assert (await api.post(f"{reply}/replay", "sam")).status_code == 202


async def test_only_one_of_two_replies_to_the_same_view_is_written(api: Client, w: World) -> None:
    path = await api.held()
    etag = (await api.get(path)).headers["etag"]
    bodies = ({"text": "Heute!"}, {"text": "Morgen!"})
    answers = await asyncio.gather(*(api.post(f"{path}/reply", body=body, etag=etag) for body in bodies))
    assert sorted(a.status_code for a in answers) == [202, 412]
    assert len(await orders(w)) == 1
