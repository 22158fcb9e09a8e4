"""Whatever is asked: no 5xx, and every answer has the form that the documentation promises."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from starlette.testclient import TestClient

from services.router.api import Api, build
from services.router.dispatch import Dispatcher
from shared.db.transaction import Database
from shared.settings import Settings
from tests import servers
from tests.router.world import CHAT, MARKET, World, world

schema = schemathesis.pytest.from_fixture("document")


class PerCall(Database):
    """Opens for each use: the client runs every request on an event loop of its own."""


@pytest.fixture(scope="module")
def app(postgres: servers.Postgres) -> Iterator[Any]:
    """The API over a database with some conversations; requests run on the client's own event loop."""
    loop = asyncio.new_event_loop()

    async def prepare() -> str:
        context = postgres.database()
        url = await context.__aenter__()
        async with world(url) as w:
            await fill(w)
        return url

    url = loop.run_until_complete(prepare())
    databases = [Database(url, role=role) for role in ("dragoman_api", "dragoman_router")]
    from services.router.store.configuration import ConfigurationCache

    cache = ConfigurationCache()
    built = build(
        Api(
            database=databases[0],
            router_database=databases[1],
            cache=cache,
            channels={channel.name: channel for channel in (CHAT, MARKET)},
            dispatcher=Dispatcher(databases[1], cache),
            settings=Settings(development_tokens=True),
        )
    )
    with TestClient(built, raise_server_exceptions=False) as client:
        assert client.portal is not None
        for database in databases:
            client.portal.call(database.open)
        built.state.client = client
        yield built
        for database in databases:
            client.portal.call(database.close)
    loop.close()


async def fill(w: World) -> None:
    await w.there("anna", "claire")
    await w.receive(*(w.message(sender=f"s{n}") for n in range(5)))


@pytest.fixture(scope="module")
def document(app: Any) -> Any:
    return schemathesis.openapi.from_asgi("/v1/openapi.json", app)


@schema.parametrize()
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_every_answer_is_as_documented(case: schemathesis.Case, app: Any) -> None:
    case.headers = {**(case.headers or {}), "Authorization": "Bearer dev-anna"}
    url = case.as_transport_kwargs()
    response = app.state.client.request(
        case.method, case.formatted_path, params=case.query, headers=_sendable(case.headers), **_body(url)
    )
    case.validate_response(
        response,
        checks=(
            not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
        ),
    )  # fmt: skip


def _sendable(headers: Any) -> dict[str, str]:
    return {k: v for k, v in dict(headers).items() if str(v).isascii() and str(v).isprintable()}


def _body(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {name: kwargs[name] for name in ("json", "content", "data") if name in kwargs}
