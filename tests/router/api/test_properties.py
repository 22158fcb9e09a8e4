"""Whatever is asked: no 5xx, and every answer has the form that the documentation promises."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from services.router.api import Api, build
from services.router.api.tokens import Tokens
from services.router.dispatch import Dispatcher
from services.router.domain.conversation import Assigned, Change, Message, ReplyMoved, ReplyWritten, Resolved
from services.router.store import conversations, dead, webhooks
from services.router.store.configuration import ConfigurationCache
from services.router.stream import Stream
from shared.db.transaction import Database
from shared.events import DeadLetter
from shared.ids import new_id
from shared.links import Links
from shared.objects import FolderStore
from shared.secrets import Vault
from shared.settings import Settings
from tests import servers
from tests.router.api.parts import KEY, an_api
from tests.router.line import a_wish, with_a_line
from tests.router.test_dispatch import round_
from tests.router.world import MONDAY, World, id_of, world

# Its last test looks at what the others did.
pytestmark = pytest.mark.alone
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
TOKENS = Tokens(ConfigurationCache(), Settings())
# The document needs no database, so its operations are known when the tests are collected.
schema = schemathesis.openapi.from_dict(
    build(
        Api(
            database=Database("", role=None),
            router_database=Database("", role=None),
            cache=ConfigurationCache(),
            channels={},
            dispatcher=Dispatcher(Database("", role=None), ConfigurationCache()),
            settings=Settings(),
            objects=FolderStore(Path("files")),
            links=Links(Vault([KEY]), ""),
            tokens=TOKENS,
            vault=Vault([KEY]),
            stream=Stream(Database("", role=None), TOKENS.recheck, asyncio.Event(), alone=True),
        )
    ).openapi()
    # It does not end; its own tests read from it.
).exclude(operation_id="streamChanges")


CALLERS = ("anna", "anna", "anna", "bernd", "sam", "gina")
OPERATORS = ("gina", "gina", "gina", "sam")
Known = dict[str, list[UUID]]


class Served(threading.Thread):
    """The API over a database with some conversations, on a real port and an event loop of its own."""

    def __init__(self, postgres: servers.Postgres) -> None:
        super().__init__(daemon=True)
        self.postgres = postgres
        self.api: Api | None = None
        self.server: uvicorn.Server | None = None
        self.known: Known = {}
        self.dice = random.Random(7)
        self.up = threading.Event()
        self.answers: Counter[tuple[str, int]] = Counter()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with self.postgres.database() as url, world(url) as w:
            self.known = await _fill(w)
            self.api = an_api(w)
            config = uvicorn.Config(build(self.api), port=0, lifespan="off", log_config=None)
            self.server = uvicorn.Server(config)
            serving = asyncio.create_task(self.server._serve())
            while not self.server.started:
                await asyncio.sleep(0.01)
            self.up.set()
            await serving

    @property
    def url(self) -> str:
        assert self.server is not None
        return f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def refill(self) -> None:
        """Time stands still in this world, so the buckets of tokens would never fill again."""
        assert self.api is not None
        self.api.buckets.clear()


async def _fill(w: World) -> Known:
    """Conversations in every state, replies of every kind, a dead letter, and gina as an admin."""
    await w.fetch("UPDATE config.agent SET role = 'admin' WHERE handle = 'gina'")
    await w.fetch("UPDATE config.agent SET capacity = 40")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    await w.there("anna")
    await with_a_line(w, a_day_per_number=1000, a_day=100_000)
    await w.receive(*(w.message(sender=f"s{n}") for n in range(16)))
    await w.receive(*(a_wish(w, f"+4930231251{n:02}") for n in range(12)))
    await round_(w)
    await w.receive(*(w.message(sender=f"w{n}") for n in range(4)))
    await w.receive(*(w.message(sender=f"n{n}", name="Ina Kunde") for n in range(3)))
    await w.there("bernd", "claire", "gina")
    async with w.router.transaction() as tx:
        offered = [row["id"] for row in await tx.fetch("SELECT id FROM router.conversation WHERE state = 'offered'")]
        held = await conversations.lock(tx, offered[4:])
        changes = [Change.of(c, tx.now) for c in held.values()]
        for n, change in enumerate(changes):
            _live(change, n)
        await conversations.save(tx, changes, await w.cache.current(tx))
        letter = DeadLetter(
            topic="inbound", key="k", headers={"ce_id": str(uuid4())}, value=b"{}", code="bad_payload", error="broken"
        )
        await dead.keep(tx, [(id_of("shop"), letter)])
        alike = [row["id"] for row in await tx.fetch("SELECT id FROM router.customer WHERE name = 'Ina Kunde'")]
        key_id = new_id()
        await tx.execute(
            "INSERT INTO config.api_key (id, name, digest, role, brands, created_at, created_by) "
            "VALUES ($1, 'k', 'x', 'brand', $2, $3, 'gina')",
            key_id, [id_of("shop")], tx.now,
        )  # fmt: skip
        hooks = [new_id() for _ in range(20)]
        for n, hook in enumerate(hooks):
            await webhooks.insert(
                tx, webhook_id=hook, handle=f"there-{n}", url="https://hook.example/", events=[],
                brands=[id_of("shop")], sealed=[Vault([KEY]).seal("a secret")],
            )  # fmt: skip
        chats = [row["id"] for row in await tx.fetch("SELECT id FROM router.conversation WHERE channel <> 'phone'")]
        lines = [row["id"] for row in await tx.fetch("SELECT id FROM router.conversation WHERE channel = 'phone'")]
        return {
            # Most operations are for texts; what is only for calls has ways of its own.
            "conversation_id": chats * 3 + lines,
            "customer_id": alike,
            "other_id": alike,
            "reply_id": [r["id"] for r in await tx.fetch("SELECT id FROM router.message WHERE kind = 'reply'")],
            "dead_id": [dead.id_of(letter)],
            "key_id": [key_id],
            "webhook_id": hooks,
            "callback_id": [row["id"] for row in await tx.fetch("SELECT id FROM router.callback")],
        }


def _live(change: Change, n: int) -> None:
    """A few steps of the life of a conversation, other ones for each `n`."""
    change.record(Assigned(agent_id=id_of("anna"), because="accepted"), "anna")
    reply = Message(kind="reply", author_kind="agent", author_id=id_of("anna"), text="Hallo!", state="queued",
                    occurred_at=change.now, received_at=change.now)  # fmt: skip
    if n % 3:
        change.messages.append(reply)
        change.record(ReplyWritten(message_id=reply.id, agent_id=id_of("anna")), "anna")
    if n % 3 == 2:
        change.record(ReplyMoved(message_id=reply.id, state="unknown", at=change.now), "responder")
    if n % 4 == 3:
        change.record(Resolved(because="answered", answered=True), "anna")


@pytest.fixture(scope="module")
def served(postgres: servers.Postgres) -> Iterator[Served]:
    thread = Served(postgres)
    thread.start()
    assert thread.up.wait(30)
    yield thread
    assert thread.server is not None
    thread.server.should_exit = True
    thread.join(10)


@schema.parametrize()
@settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case, served: Served) -> None:
    """Four in five ask for something that is there, most of them as it is now; by agents, a supervisor and an admin."""
    served.refill()
    if served.dice.random() < 0.8:
        for name in case.path_parameters:
            case.path_parameters[name] = str(served.dice.choice(served.known[name]))
        _mend(case.body, served)
    callers = OPERATORS if "operations" in case.operation.definition.raw["tags"] else CALLERS
    headers = {"Authorization": f"Bearer dev-{served.dice.choice(callers)}"}
    if served.dice.random() < 0.8 and case.method == "POST":
        headers |= {"If-Match": "*", "Idempotency-Key": str(uuid4())}
    answer = case.call(base_url=served.url, headers=headers)
    case.validate_response(answer, checks=CHECKS)
    served.answers[case.operation.definition.raw["operationId"], answer.status_code // 100] += 1


def _mend(body: object, served: Served) -> None:
    """Names what there is: a brand, a telephone in a country that is called, none of the files that nobody uploaded."""
    if not isinstance(body, dict):
        return
    if "brands" in body:
        body["brands"] = [str(id_of("shop"))]
    if "phone" in body:
        body |= {"phone": f"+4930231252{served.dice.randrange(100):02}", "brand_id": str(id_of("shop")), "zone": ""}
        body.pop("preferred_at", None)
    if body.pop("attachments", None) and not body.get("text"):
        body["text"] = "Hallo!"
    if "since" in body or "event_id" in body:
        body.pop("event_id", None)
        body |= {"since": MONDAY.isoformat(), "until": None}


def test_the_requests_reached_what_they_were_for(served: Served) -> None:
    """Without effects the test above would say little."""
    asked = {operation for operation, _ in served.answers}
    reached = {operation for operation, kind in served.answers if kind == 2}
    if len(asked) < 20:
        pytest.skip("only a part of the operations was asked")
    assert len(asked - reached) <= 3, asked - reached
