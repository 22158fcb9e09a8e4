"""The API over a world, without a socket."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from services.router.api import Api, build
from services.router.dispatch import Dispatcher
from shared.settings import Settings
from tests.router.world import World


class Client:
    """Requests of agents by their handles."""

    def __init__(self, app: FastAPI, world: World) -> None:
        self.app, self.world = app, world
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://test"
        )
        self._n = 0

    async def get(self, path: str, agent: str = "anna") -> httpx.Response:
        return await self.http.get(path, headers={"Authorization": f"Bearer dev-{agent}"})

    async def post(
        self, path: str, agent: str = "anna", body: object = None, *, etag: str | None = "*", key: str | None = None
    ) -> httpx.Response:
        self._n += 1
        headers = {"Authorization": f"Bearer dev-{agent}", "Idempotency-Key": key or f"k{self._n}"}
        if etag is not None:
            headers["If-Match"] = etag
        return await self.http.post(path, json=body, headers=headers)

    async def offered(self, *agents: str) -> str:
        """The path of a conversation that was just offered to one of the agents."""
        from tests.router.test_dispatch import round_

        await self.world.there(*agents)
        await self.world.receive(self.world.message())
        assert await round_(self.world) == 1
        return (
            f"/v1/conversations/{await self.world.value('SELECT id FROM router.conversation ORDER BY id DESC LIMIT 1')}"
        )

    async def held(self, agent: str = "anna") -> str:
        path = await self.offered(agent)
        assert (await self.post(f"{path}/accept", agent)).status_code == 200
        return path


@pytest.fixture
async def api(w: World) -> AsyncIterator[Client]:
    context = Api(
        database=w.api,
        router_database=w.router,
        cache=w.cache,
        channels={channel.name: channel for channel in w.channels},
        dispatcher=Dispatcher(w.router, w.cache),
        settings=Settings(development_tokens=True),
    )
    client = Client(build(context), w)
    async with client.http:
        yield client
