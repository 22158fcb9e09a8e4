"""The API over a world, without a socket."""

import hashlib
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from services.router.api import Api
from shared.ids import new_id
from tests.router.api.parts import an_api, an_app
from tests.router.issuer import Served, an_issuer
from tests.router.test_dispatch import round_
from tests.router.world import World, id_of


class Client:
    """Requests of agents by their handles, and of keys by their names."""

    def __init__(self, app: FastAPI, world: World) -> None:
        self.app, self.world = app, world
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        )
        self._n = 0

    @property
    def parts(self) -> Api:
        api: Api = self.app.state.api
        return api

    @staticmethod
    def bearer(agent: str) -> dict[str, str]:
        is_token = agent.startswith(("key-", "eyJ", "dragoman_"))
        return {"Authorization": f"Bearer {agent if is_token else f'dev-{agent}'}"}

    async def key(self, name: str, role: str, *brands: str, agent: str | None = None) -> str:
        """A key that may be named wherever an agent may."""
        await self.world.fetch(
            "INSERT INTO config.api_key (id, name, digest, role, brands, agent_id) VALUES ($1, $2, $3, $4, $5, $6)",
            new_id(), name, hashlib.sha256(f"key-{name}-{role}".encode()).digest(), role,
            [id_of(brand) for brand in brands], id_of(agent) if agent else None,
        )  # fmt: skip
        return f"key-{name}-{role}"

    async def get(self, path: str, agent: str = "anna") -> httpx.Response:
        return await self.http.get(path, headers=self.bearer(agent))

    async def post(
        self, path: str, agent: str = "anna", body: object = None, *, etag: str | None = "*", key: str | None = None
    ) -> httpx.Response:
        self._n += 1
        headers = self.bearer(agent) | {"Idempotency-Key": key or f"k{self._n}"}
        if etag is not None:
            headers["If-Match"] = etag
        return await self.http.post(path, json=body, headers=headers)

    async def offered(self, *agents: str) -> str:
        """The path of a conversation that was just offered to one of the agents."""
        await self.world.there(*agents)
        path = await self.received()
        assert await round_(self.world) == 1
        return path

    async def received(self, **message: str) -> str:
        """The path of the conversation of a message that nobody has got yet."""
        await self.world.receive(self.world.message(**message))  # type: ignore[arg-type]
        newest = "SELECT id FROM router.conversation ORDER BY id DESC LIMIT 1"
        return f"/v1/conversations/{await self.world.value(newest)}"

    async def held(self, agent: str = "anna") -> str:
        path = await self.offered(agent)
        assert (await self.post(f"{path}/accept", agent)).status_code == 200
        return path


@pytest.fixture
async def api(w: World) -> AsyncIterator[Client]:
    context = an_api(w)
    client = Client(an_app(context), w)
    async with client.http, context.stream.running():
        yield client


@pytest.fixture
async def issuer(api: Client) -> AsyncIterator[Served]:
    """Its tokens are believed."""
    async with an_issuer(lambda: api.world.clock.at) as served:
        api.parts.tokens.issuer = served.issuer()
        yield served
