"""Whatever is asked: no 5xx, and every answer has the form that the documentation promises."""

import asyncio
import threading
from collections.abc import Iterator

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
from services.router.dispatch import Dispatcher
from services.router.store.configuration import ConfigurationCache
from shared.db.transaction import Database
from shared.settings import Settings
from tests import servers
from tests.router.world import World, world

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
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
        )
    ).openapi()
)


class Served(threading.Thread):
    """The API over a database with some conversations, on a real port and an event loop of its own."""

    def __init__(self, postgres: servers.Postgres) -> None:
        super().__init__(daemon=True)
        self.postgres = postgres
        self.server: uvicorn.Server | None = None
        self.up = threading.Event()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        async with self.postgres.database() as url, world(url) as w:
            await _fill(w)
            api = Api(
                database=w.api,
                router_database=w.router,
                cache=w.cache,
                channels={channel.name: channel for channel in w.channels},
                dispatcher=Dispatcher(w.router, w.cache),
                settings=Settings(development_tokens=True),
            )
            config = uvicorn.Config(build(api), port=0, lifespan="off", log_config=None)
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


async def _fill(w: World) -> None:
    # Time stands still in this world, so the bucket of tokens would never fill again.
    await w.there("anna", "claire")
    await w.receive(*(w.message(sender=f"s{n}") for n in range(5)))


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
    case.call_and_validate(base_url=served.url, headers={"Authorization": "Bearer dev-anna"}, checks=CHECKS)
