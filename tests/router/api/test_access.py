"""Every operation of the OpenAPI document against every kind of caller; an operation without a row here fails."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from services.router.domain.roles import SCOPES_OF, Scope
from services.router.store import dead, webhooks
from shared.events import DeadLetter
from shared.ids import new_id
from tests.router import issuer as tokens
from tests.router.api.conftest import Client
from tests.router.issuer import Served
from tests.router.world import World, id_of

# What anybody may ask, with a token that holds or without one.
ANYBODY, NOBODY = "anybody", "nobody"


@dataclass(frozen=True)
class Row:
    """`needs` is the scope; `good` the status where it is had and ids are made up; `for_agents` needs an agent."""

    needs: Scope | str
    good: int
    body: Any = None
    query: str = ""
    for_agents: bool = False


SHOP = str(id_of("shop"))
ROWS: Mapping[str, Row] = {
    "getSignIn": Row(NOBODY, 200),
    "getMe": Row(ANYBODY, 200),
    "getPresence": Row("read", 200, for_agents=True),
    "setPresence": Row("write", 200, {"status": "away"}, for_agents=True),
    "listAgents": Row("write", 200),
    "listConversations": Row("read", 200),
    "getConversation": Row("read", 404),
    "getHistory": Row("read", 404),
    "acceptOffer": Row("write", 404),
    "declineOffer": Row("write", 404, {}),
    "claimConversation": Row("write", 404),
    "transferConversation": Row("write", 404, {}),
    "resolveConversation": Row("write", 404, {}),
    "correctLanguage": Row("write", 404, {"language": "fr"}),
    "addNote": Row("write", 404, {"text": "x"}),
    "writeReply": Row("write", 404, {"text": "x"}),
    "withdrawReply": Row("write", 404),
    "replayReply": Row("write", 404),
    "uploadAttachment": Row("write", 201, "a file", query=f"?brand_id={SHOP}"),
    "getCustomer": Row("read", 404),
    "getTimeline": Row("read", 404),
    "listQueues": Row("read", 200),
    "listChanges": Row("read", 200),
    "streamChanges": Row("read", 200),
    "getCustomerHistory": Row("read", 404),
    "dismissSuggestion": Row("write", 404),
    "confirmSuggestion": Row("write", 404),
    "splitCustomer": Row("write", 404),
    "requestCallback": Row("callbacks", 409, {"phone": "+4930123456", "brand_id": SHOP}),
    "getCallback": Row("read", 404),
    "withdrawCallback": Row("callbacks", 404),
    "callCustomer": Row("write", 404),
    "listDead": Row("admin", 200),
    "getDead": Row("admin", 404),
    "replayDead": Row("admin", 404),
    "listApiKeys": Row("admin", 200),
    "createApiKey": Row("admin", 201, {"name": "k", "role": "brand", "brands": [SHOP]}),
    "revokeApiKey": Row("admin", 404),
    "sayNoReplyNeeded": Row("write", 404, {}),
    "listWebhooks": Row("admin", 200),
    "createWebhook": Row("admin", 201, {"handle": "pager", "url": "https://hook.example/", "brands": [SHOP]}),
    "getWebhook": Row("admin", 404),
    "deleteWebhook": Row("admin", 404),
    "readWebhookSecret": Row("admin", 404),
    "rotateWebhookSecret": Row("admin", 404),
    "enableWebhook": Row("admin", 404),
    "disableWebhook": Row("admin", 404, {}),
    "testWebhook": Row("admin", 404),
    "listDeliveries": Row("admin", 404),
    "replayAlerts": Row("admin", 404, {"since": "2026-01-01T00:00:00Z"}),
}


@dataclass(frozen=True)
class Operation:
    """One of the document."""

    id: str
    method: str
    path: str
    row: Row

    async def ask(
        self, api: Client, headers: dict[str, str], ids: Mapping[str, UUID] | None = None, *, broken: bool = False
    ) -> httpx.Response:
        """With what it needs but a token; path parameters that `ids` does not have are made up."""
        path = self.path
        while "{" in path:
            name = path[path.index("{") + 1 : path.index("}")]
            path = path.replace(f"{{{name}}}", str((ids or {}).get(name) or uuid4()))
        headers = headers | {"If-Match": "*", "Idempotency-Key": str(uuid4())}
        content = {"content": b"{"} if broken else {} if self.row.body is None else {"json": self.row.body}
        return await api.http.request(self.method, path + self.row.query, headers=headers, **content)  # type: ignore[arg-type]


@pytest.fixture
async def operations(api: Client) -> list[Operation]:
    """All of them; a stream ends with its first event here."""
    api.parts.stream._stopping.set()
    document = (await api.http.get("/v1/openapi.json")).json()
    return [
        Operation(operation["operationId"], method.upper(), path, ROWS[operation["operationId"]])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
        if operation["operationId"] in ROWS
    ]


async def test_every_operation_has_its_row_and_every_row_its_operation(api: Client) -> None:
    document = (await api.http.get("/v1/openapi.json")).json()
    found = {operation["operationId"] for path in document["paths"].values() for operation in path.values()}
    assert found == ROWS.keys()


Make = Callable[[Client, Served], Awaitable[dict[str, str]]]


def bearing(make: Callable[[Served], str]) -> Make:
    async def made(_api: Client, issuer: Served) -> dict[str, str]:
        return {"Authorization": f"Bearer {make(issuer)}"}

    return made


async def no_token(_api: Client, _issuer: Served) -> dict[str, str]:
    return {}


async def another_scheme(api: Client, issuer: Served) -> dict[str, str]:
    return {"Authorization": f"Basic {issuer.token()}"}


async def revoked_key(api: Client, _issuer: Served) -> dict[str, str]:
    key = await api.key("k", "admin", "shop")
    await api.world.fetch("UPDATE config.api_key SET revoked_at = $1", api.world.clock.at)
    return api.bearer(key)


async def expired_key(api: Client, _issuer: Served) -> dict[str, str]:
    key = await api.key("k", "admin", "shop")
    await api.world.fetch("UPDATE config.api_key SET expires_at = $1", api.world.clock.at)
    return api.bearer(key)


async def agent_who_left(api: Client, issuer: Served) -> dict[str, str]:
    await api.world.fetch("UPDATE config.agent SET is_active = false WHERE handle = 'anna'")
    await api.world.fetch("UPDATE config.revision SET n = n + 1")
    return api.bearer(issuer.token("anna"))


STRANGERS: Mapping[str, tuple[Make, str]] = {
    "no token": (no_token, "Send"),
    "another scheme": (another_scheme, "Send"),
    "an empty token": (bearing(lambda _: ""), "Send"),
    "a malformed token": (bearing(lambda _: "eyJhbGciOiJFUzI1NiJ9.e30."), "signature"),
    "half a token": (bearing(lambda s: s.token()[:-40]), "signature"),
    "an unknown key": (bearing(lambda _: "dragoman_made-up"), "unknown"),
    "a revoked key": (revoked_key, "revoked"),
    "an expired key": (expired_key, "expired"),
    "an expired token": (bearing(lambda s: s.token(expires_in=-61)), "expired"),
    "another audience": (bearing(lambda s: s.token(aud="another")), "not meant for this API"),
    "another issuer": (bearing(lambda s: s.token(iss="https://elsewhere.example")), "another issuer"),
    "algorithm none": (bearing(lambda s: tokens.unsigned(s.token())), "algorithm"),
    "a shared secret": (
        bearing(lambda s: tokens.signed_with_the_public_key(s.token(), s.oidc._keys[0])), "algorithm",
    ),
    "a forged signature": (bearing(lambda s: tokens.signed_by_another(s.token())), "signature"),
    "changed claims": (bearing(lambda s: tokens.altered(s.token(), sub="sam")), "signature"),
    "a key of nobody's": (bearing(lambda s: tokens.signed_by_another(s.token(), kid="x")), "does not have"),
    "somebody whom we do not know": (bearing(lambda s: s.token("stranger")), "No active agent"),
    "an agent who left": (agent_who_left, "No active agent"),
    "a development token of nobody": (bearing(lambda _: "dev-nobody"), "No active agent"),
}  # fmt: skip


@pytest.mark.parametrize("name", STRANGERS)
async def test_strangers_are_let_in_nowhere_and_told_why(
    api: Client, issuer: Served, operations: list[Operation], name: str
) -> None:
    make, why = STRANGERS[name]
    headers = await make(api, issuer)
    for n, operation in enumerate(operations):
        # Half of the cases ask each operation with a body that nobody could read: that is not looked at first.
        answer = await operation.ask(api, headers, broken=(n + len(name)) % 2 == 0)
        if operation.row.needs == NOBODY:
            assert answer.status_code == operation.row.good
            continue
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized"), operation.id
        assert why in answer.json()["detail"]
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.fixture
async def admin(w: World) -> str:
    """The handle of one."""
    await w.fetch("UPDATE config.agent SET role = 'admin' WHERE handle = 'gina'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    return "gina"


# A brand is no person.
CALLERS = [*(("key", role) for role in SCOPES_OF), *(("agent", role) for role in ("agent", "supervisor", "admin"))]


@pytest.mark.parametrize(("kind", "role"), CALLERS)
async def test_each_role_may_do_what_it_is_for_and_nothing_else(
    api: Client, issuer: Served, operations: list[Operation], admin: str, role: str, kind: str
) -> None:
    token = await api.key("k", role, "shop")
    if kind == "agent":
        # What the token says of itself counts for nothing.
        handle = {"agent": "anna", "supervisor": "sam", "admin": admin}[role]
        token = issuer.token(handle, role="admin", roles=["admin"], brands=["everything"])
    for operation in operations:
        answer = await operation.ask(api, api.bearer(token))
        row = operation.row
        may = row.needs in (ANYBODY, NOBODY) or row.needs in SCOPES_OF[role]
        expected: tuple[int, str | None] = (row.good, None)
        if not may:
            expected = (403, "not_allowed")
        elif row.for_agents and kind == "key":
            expected = (403, "not_an_agent")
        code = answer.json()["code"] if answer.status_code == 403 else None
        assert (answer.status_code, code) == expected, operation.id


@pytest.fixture
async def foreign(api: Client, w: World) -> dict[str, UUID]:
    """One thing of each kind that a path can name, all of another brand."""
    await w.there("olaf")
    path = await api.received(inbox="other-chat")
    assert (await api.post(f"{path}/claim", "olaf")).status_code == 200
    reply = (await api.post(f"{path}/reply", "olaf", {"text": "Morgen!"})).json()["message_id"]
    letter = DeadLetter(
        topic="inbound", key="k", headers={"ce_id": str(uuid4())}, value=b"{}", code="bad_payload", error="broken"
    )
    async with w.router.transaction() as tx:
        await dead.keep(tx, [(id_of("other"), letter)])
        hook = new_id()
        assert await webhooks.insert(
            tx, webhook_id=hook, handle="theirs", url="https://theirs.example/", events=[], brands=[id_of("other")],
            sealed=[api.parts.vault.seal("theirs")],
        )  # fmt: skip
    await api.key("theirs", "brand", "other")
    wish = new_id()
    await w.fetch(
        "INSERT INTO router.callback "
        "(id, brand_id, conversation_id, created_at, phone, zone, state, attempts, outcome) "
        "VALUES ($1, $2, $3, $4, '+49301', '', 'queued', 0, '')",
        wish, id_of("other"), UUID(path.rsplit("/", 1)[1]), w.clock.at,
    )  # fmt: skip
    await api.received(inbox="other-chat", sender="another")
    customers = [row["id"] for row in await w.fetch("SELECT id FROM router.customer ORDER BY id")]
    return {
        "conversation_id": UUID(path.rsplit("/", 1)[1]),
        "reply_id": UUID(reply),
        "customer_id": customers[0],
        "other_id": customers[1],
        "callback_id": wish,
        "dead_id": dead.id_of(letter),
        "webhook_id": hook,
        "key_id": await w.value("SELECT id FROM config.api_key"),
    }


def seen(answer: httpx.Response) -> tuple[int, bytes, list[tuple[str, str]]]:
    return answer.status_code, answer.content, sorted(answer.headers.items())


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin", "brand"])
async def test_a_foreign_thing_is_answered_exactly_like_one_that_is_not_there(
    api: Client, issuer: Served, operations: list[Operation], foreign: dict[str, UUID], role: str
) -> None:
    key = await api.key("k", role, "shop", agent="bernd" if role == "agent" else None)
    asked = [operation for operation in operations if "{" in operation.path]
    assert len(asked) > 15
    for operation in asked:
        named = {name for name in foreign if f"{{{name}}}" in operation.path}
        assert named, f"{operation.id} names a thing of a kind that `foreign` does not have"
        theirs = await operation.ask(api, api.bearer(key), foreign)
        assert theirs.status_code in (403, 404)
        assert seen(theirs) == seen(await operation.ask(api, api.bearer(key))), operation.id


@pytest.mark.parametrize("role", ["agent", "supervisor", "admin", "brand"])
async def test_nothing_of_another_brand_is_listed(
    api: Client, issuer: Served, operations: list[Operation], foreign: dict[str, UUID], role: str
) -> None:
    key = await api.key("k", role, "shop", agent="bernd" if role == "agent" else None)
    theirs = [*foreign.values(), id_of("other"), id_of("olaf"), id_of("other-chat")]
    for operation in operations:
        if operation.method == "GET" and "{" not in operation.path:
            answer = await operation.ask(api, api.bearer(key))
            assert not [id_ for id_ in theirs if str(id_) in answer.text], operation.id


async def test_foreign_things_in_a_body_or_a_query_are_like_unknown_ones_too(api: Client, w: World) -> None:
    key = await api.key("k", "admin", "shop")
    path = await api.held("anna")

    async def alike(ask: Callable[[UUID], Awaitable[httpx.Response]], theirs: UUID, status: int) -> None:
        answers = [seen(await ask(theirs)), seen(await ask(new_id()))]
        assert answers[0] == answers[1]
        assert answers[0][0] == status

    new = {"name": "k", "role": "supervisor", "brands": [SHOP]}
    await alike(lambda id_: api.post("/v1/api-keys", key, new | {"brands": [SHOP, str(id_)]}), id_of("other"), 404)
    await alike(lambda id_: api.post("/v1/api-keys", key, new | {"agent_id": str(id_)}), id_of("olaf"), 404)
    hook = {"handle": "pager", "url": "https://hook.example/"}
    await alike(lambda id_: api.post("/v1/webhooks", key, hook | {"brands": [SHOP, str(id_)]}), id_of("other"), 404)
    wish = {"phone": "+4930123456"}
    await alike(lambda id_: api.post("/v1/callback-requests", key, wish | {"brand_id": str(id_)}), id_of("other"), 404)
    await alike(lambda id_: api.post(f"/v1/attachments?brand_id={id_}", key, "x"), id_of("other"), 404)
    await alike(lambda id_: api.post(f"{path}/transfer", key, {"agent_id": str(id_)}), id_of("olaf"), 409)


async def test_browsers_of_other_places_are_told_nothing(api: Client) -> None:
    headers = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    asked = [await api.http.options("/v1/me", headers=headers)]
    asked += [await api.http.get(path, headers=headers | api.bearer("anna")) for path in ("/v1/me", "/v1/sign-in")]
    assert [answer.status_code for answer in asked] == [405, 200, 200]
    assert not [name for answer in asked for name in answer.headers if name.startswith("access-control")]
