"""Who may call, and what each role may do; the walls between brands."""

from base64 import urlsafe_b64encode

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.router.api.context import BURST
from services.router.api.pages import EARLIEST, LATEST, read_cursor, write_cursor
from services.router.api.problems import Problem
from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.test_dispatch import round_
from tests.router.world import World, id_of


async def test_only_known_tokens_are_let_in(api: Client, w: World) -> None:
    without = await api.http.get("/v1/me")
    assert (without.status_code, without.headers["www-authenticate"]) == (401, "Bearer")
    nobody = await api.get("/v1/me", "nobody")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, 'Bearer error="invalid_token"')
    assert (await api.get("/v1/me", "key-never-made")).status_code == 401
    assert (await api.http.get("/v1/me", headers={"Authorization": "Basic YTpi"})).status_code == 401
    shown = (await api.get("/v1/me")).json()
    assert (shown["actor"], shown["role"], shown["is_development"]) == ("anna", "agent", True)


async def test_a_key_is_known_by_its_hash_until_it_expires(api: Client, w: World) -> None:
    key = await api.key("crm", "admin", "shop")
    shown = (await api.get("/v1/me", key)).json()
    assert (shown["actor"], shown["brands"], shown["is_development"]) == ("key:crm", [str(id_of("shop"))], False)
    await w.fetch("UPDATE config.api_key SET expires_at = $1", w.clock.at.replace(hour=12))
    assert (await api.get("/v1/me", key)).status_code == 200
    w.clock.forward(hours=4)
    assert (await api.get("/v1/me", key)).status_code == 401


async def test_development_tokens_are_only_for_the_embedded_default(api: Client) -> None:
    api.parts.settings.development_tokens = False
    assert (await api.get("/v1/me")).status_code == 401


async def test_a_token_used_too_often_has_to_wait_and_others_do_not(api: Client, w: World) -> None:
    answers = [await api.get("/v1/me") for _ in range(int(BURST) + 1)]
    assert {a.status_code for a in answers[:-1]} == {200}
    assert (answers[-1].status_code, answers[-1].headers["retry-after"]) == (429, "1")
    assert (await api.get("/v1/me", "bernd")).status_code == 200
    w.clock.forward(seconds=1)
    assert (await api.get("/v1/me")).status_code == 200


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        # reading, noting, resolving what somebody else holds, being there, dead letters
        ("brand", (200, 403, 403, 403, 403)),
        ("agent", (200, 201, 403, 403, 403)),
        ("supervisor", (200, 201, 200, 403, 403)),
        ("admin", (200, 201, 200, 403, 200)),
    ],
)
async def test_what_each_role_may_do_without_being_an_agent(api: Client, role: str, expected: tuple[int, ...]) -> None:
    path = await api.held()
    key = await api.key("k", role, "shop")
    answers = [
        await api.get(path, key),
        await api.post(f"{path}/notes", key, {"text": "seen"}),
        await api.post(f"{path}/resolve", key, {}),
        await api.http.put("/v1/presence", json={"status": "available"}, headers=api.bearer(key)),
        await api.get("/v1/dead", key),
    ]
    assert tuple(a.status_code for a in answers) == expected


async def test_a_brand_can_look_and_change_nothing_at_all(api: Client, w: World) -> None:
    path = await api.held()
    key = await api.key("shop", "brand", "shop")
    reply = (await api.post(f"{path}/reply", body={"text": "Morgen!"})).json()["message_id"]
    version = (await api.get(path)).headers["etag"]
    bodies = {"reply": {"text": "x"}, "notes": {"text": "x"}, "language": {"language": "fr"}}
    actions = ("accept", "decline", "claim", "transfer", "resolve", *bodies)
    paths = [f"{path}/{action}" for action in actions] + [
        f"/v1/replies/{reply}/{how}" for how in ("withdraw", "replay")
    ]
    answers = [await api.post(p, key, bodies.get(p.rsplit("/", 1)[1], {})) for p in paths]
    assert {(a.status_code, a.json()["code"]) for a in answers} == {(403, "not_allowed")}
    assert (await api.get(path)).headers["etag"] == version


async def test_a_key_of_an_agent_acts_as_that_agent_for_their_brands_and_while_they_are_here(
    api: Client, w: World
) -> None:
    path = await api.offered("anna")
    key = await api.key("desk", "agent", "shop", "other", agent="anna")
    assert (await api.post(f"{path}/accept", key)).json()["agent_id"] == str(id_of("anna"))
    await w.fetch("UPDATE config.agent SET brands = $1 WHERE handle = 'anna'", [id_of("other")])
    await w.fetch("UPDATE config.revision SET n = n + 1")
    assert (await api.get("/v1/me", key)).json()["brands"] == [str(id_of("other"))]
    assert (await api.get(path, key)).status_code == 404
    await w.fetch("UPDATE config.agent SET is_active = false WHERE handle = 'anna'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    for token in (key, "anna"):
        assert (await api.get("/v1/me", token)).status_code == 401
    await w.fetch("UPDATE config.api_key SET agent_id = $1", new_id())
    assert (await api.get("/v1/me", key)).status_code == 401


async def test_nobody_hands_a_conversation_to_whoever_left(api: Client, w: World) -> None:
    path = await api.held("anna")
    await w.there("bernd")
    await w.fetch("UPDATE config.agent SET is_active = false WHERE handle = 'bernd'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    refused = await api.post(f"{path}/transfer", "anna", {"agent_id": str(id_of("bernd"))})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_such_agent")


async def test_a_key_may_do_no_more_than_its_scopes(api: Client, w: World) -> None:
    path = await api.held()
    key = await api.key("reporting", "supervisor", "shop")
    await w.fetch("UPDATE config.api_key SET scopes = '{read}'")
    assert (await api.get(path, key)).status_code == 200
    refused = await api.post(f"{path}/notes", key, {"text": "x"})
    assert (refused.status_code, refused.json()["code"]) == (403, "out_of_scope")
    await w.fetch("UPDATE config.api_key SET scopes = '{write,admin}'")
    assert (await api.get(path, key)).json()["code"] == "out_of_scope"
    assert (await api.post(f"{path}/notes", key, {"text": "x"})).status_code == 201
    # A scope gives nothing that the role has not.
    assert (await api.get("/v1/dead", key)).json()["code"] == "not_allowed"
    assert (await api.get("/v1/me", key)).status_code == 200


async def test_a_foreign_id_answers_exactly_like_an_unknown_one(api: Client, w: World) -> None:
    await w.there("olaf")
    foreign = await api.received(inbox="other-chat")
    assert (await api.post(f"{foreign}/claim", "olaf")).status_code == 200
    answer = await api.post(f"{foreign}/reply", "olaf", {"text": "Morgen!"})
    customer = await w.value("SELECT id FROM router.customer")
    pairs = [
        (foreign, f"/v1/conversations/{new_id()}"),
        (f"/v1/replies/{answer.json()['message_id']}", f"/v1/replies/{new_id()}"),
        (f"/v1/customers/{customer}", f"/v1/customers/{new_id()}"),
    ]
    asked = [(pairs[0], "GET", suffix) for suffix in ("", "/history")]
    asked += [(pairs[2], "GET", suffix) for suffix in ("", "/timeline")]
    asked += [(pairs[1], "POST", suffix) for suffix in ("/withdraw", "/replay")]
    actions = ("accept", "decline", "claim", "reply", "notes", "transfer", "resolve", "language")
    asked += [(pairs[0], "POST", f"/{action}") for action in actions]
    bodies = {"/reply": {"text": "x"}, "/notes": {"text": "x"}, "/language": {"language": "fr"}}
    for pair, method, suffix in asked:
        answers = [
            await api.get(path + suffix, "bernd")
            if method == "GET"
            else await api.post(path + suffix, "bernd", bodies.get(suffix, {}))
            for path in pair
        ]
        assert {a.status_code for a in answers} == {404}, suffix
        assert answers[0].content == answers[1].content
        assert answers[0].headers.keys() == answers[1].headers.keys()
    for listing in ("/v1/conversations", "/v1/queues"):
        items = (await api.get(listing, "bernd")).json()["items"]
        assert [item for item in items if item.get("waiting", 1)] == []


async def test_a_cursor_opens_nothing(api: Client, w: World) -> None:
    """It is a place in an order, whoever wrote it: the walls stand around what comes after it."""
    for n in range(3):
        await api.received(inbox="other-chat", sender=f"k{n}")
    theirs = (await api.get("/v1/conversations?limit=1", "olaf")).json()["next"]
    assert len((await api.get(f"/v1/conversations?cursor={theirs}", "olaf")).json()["items"]) == 2
    assert (await api.get(f"/v1/conversations?cursor={theirs}", "bernd")).json() == {"items": [], "next": None}


@given(st.one_of(st.text(max_size=80), st.binary(max_size=80).map(lambda raw: urlsafe_b64encode(raw).decode())))
@example(write_cursor(LATEST, id_of("shop"))[:-3])
def test_a_cursor_is_a_place_or_none_of_ours(cursor: str) -> None:
    try:
        at, _ = read_cursor(cursor) or (LATEST, None)
    except Problem as problem:
        # Whatever else it might raise fails the test.
        at, document = LATEST, problem.document
        assert document.code == "bad_cursor"
    assert EARLIEST <= at <= LATEST


async def test_the_database_itself_shows_an_unscoped_query_nothing(api: Client, w: World) -> None:
    await api.received()
    async with w.api.transaction() as tx:
        assert await tx.fetch("SELECT id FROM router.conversation") == []
    async with w.api.transaction(brands=[id_of("other")]) as tx:
        assert await tx.fetch("SELECT id FROM router.message") == []
        assert await tx.execute("UPDATE router.conversation SET subject = 'mine'") == 0
    async with w.api.transaction(brands=[id_of("shop")]) as tx:
        assert len(await tx.fetch("SELECT id FROM router.conversation")) == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        async with w.api.transaction(brands=[id_of("other")]) as tx:
            await tx.execute(
                "INSERT INTO router.audit (id, brand_id, at, actor, action, data) VALUES ($1, $2, $3, 'a', 'b', '{}')",
                new_id(), id_of("shop"), tx.now,
            )  # fmt: skip


async def test_an_agents_load_counts_in_every_brand_whoever_asks(api: Client, w: World) -> None:
    """A supervisor of one brand sees nothing of the other, and yet cannot overload who works for both."""
    lead = await api.key("lead", "supervisor", "shop")
    await w.receive(*(w.message(inbox="other-chat", sender=f"k{n}") for n in range(2)))
    await w.there("anna")
    assert await round_(w) == 2
    path = await api.received()
    given = await api.post(f"{path}/transfer", lead, {"agent_id": str(id_of("anna"))})
    assert (given.status_code, given.json()["code"]) == (409, "no_capacity")
    shown = {agent["agent_id"]: agent for agent in (await api.get("/v1/agents", lead)).json()["items"]}
    assert shown[str(id_of("anna"))]["load"] == 2
