"""The sandbox on a real server, a receiver of its webhooks, and a clock that tests may move."""

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from services.sandbox.app import Sandbox, serve
from services.sandbox.commands import MessengerMessage
from services.sandbox.state import SandboxConfig
from shared.trust import trust

APP_SECRET = "a secret of the app"
VERIFY_TOKEN = "a token to verify"


@dataclass
class Clock:
    at: datetime = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.at

    def pass_by(self, **time: float) -> None:
        self.at += timedelta(**time)


@dataclass
class Receiver:
    """Keeps every webhook as it came; answers 200 unless other statuses are waiting."""

    got: list[tuple[bytes, dict[str, str]]] = field(default_factory=list)
    statuses: deque[int] = field(default_factory=deque)

    @property
    def app(self) -> ASGIApp:
        return Starlette(routes=[Route("/hook", self.post, methods=["POST"]), Route("/hook", self.verify)])

    async def post(self, request: Request) -> Response:
        self.got.append((await request.body(), dict(request.headers)))
        return Response(status_code=self.statuses.popleft() if self.statuses else 200)

    async def verify(self, request: Request) -> Response:
        query = request.query_params
        if query["hub.mode"] != "subscribe" or query["hub.verify_token"] != VERIFY_TOKEN:
            return Response(status_code=403)
        return PlainTextResponse(query["hub.challenge"])

    @property
    def bodies(self) -> list[Any]:
        return [json.loads(body) for body, _ in self.got]

    @property
    def items(self) -> list[Any]:
        return [item for body in self.bodies for entry in body["entry"] for item in entry["messaging"]]


@dataclass
class World:
    sandbox: Sandbox
    url: str
    http: httpx.AsyncClient
    receiver: Receiver
    clock: Clock

    async def heard(self, psid: str = "4711", page: str = "100", **more: Any) -> None:
        """A customer wrote, so that the page may answer."""
        await self.sandbox.messenger_writes(MessengerMessage(page=page, psid=psid, text="Hallo?", **more))

    async def send(
        self, page: str = "100", token: str | None = None, psid: str = "4711", **change: Any
    ) -> httpx.Response:
        """A message as it should be, but for the change."""
        body = {"recipient": {"id": psid}, "messaging_type": "RESPONSE", "message": {"text": "Guten Tag"}} | change
        headers = {"Authorization": f"Bearer {token or f'token-{page}'}"}
        return await self.http.post(f"{self.url}/graph/v25.0/{page}/messages", json=body, headers=headers)

    async def mirakl(self, path: str, *, key: str = "key", **query: Any) -> httpx.Response:
        return await self.http.get(f"{self.url}/mirakl{path}", params=query, headers={"Authorization": key})

    async def answer(
        self, thread: str, message: Any = None, *, shop: str = "2001", files: tuple[tuple[str, bytes], ...] = ()
    ) -> httpx.Response:
        """An answer as it should be, unless there is another message."""
        message = {"body": "Bonjour", "to": [{"type": "CUSTOMER"}]} if message is None else message
        form: list[Any] = [("message_input", (None, json.dumps(message).encode(), "application/json"))]
        form += [("files", (name, content, "application/octet-stream")) for name, content in files]
        return await self.http.post(
            f"{self.url}/mirakl/api/inbox/threads/{thread}/message",
            params={"shop_id": shop},
            files=form,
            headers={"Authorization": "key"},
        )


@asynccontextmanager
async def at_a_port(
    app: ASGIApp, listening: socket.socket | None = None, *, http: str = "httptools", lifespan: str = "off"
) -> AsyncIterator[str]:
    """A real server's address. Its start and stop without its main loop, whose ticks would be most of a test's time."""
    listening = listening or socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, http=http, lifespan=lifespan, access_log=False, log_config=None)  # type: ignore[arg-type]
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup([listening])
    try:
        yield address(listening)
    finally:
        await server.shutdown([listening])


def address(listening: socket.socket) -> str:
    return f"http://127.0.0.1:{listening.getsockname()[1]}"


def beside(receiver: ASGIApp, sandbox: ASGIApp) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (receiver if scope["path"] == "/hook" else sandbox)(scope, receive, send)

    return app


@asynccontextmanager
async def a_world(*, server: str = "httptools", **config: Any) -> AsyncIterator[World]:
    receiver, clock = Receiver(), Clock()
    listening = socket.create_server(("127.0.0.1", 0))
    wanted = {
        "pages": {"100": "token-100", "200": "token-200"},
        "human_agent_pages": frozenset({"100"}),
        "app_secret": APP_SECRET,
        "verify_token": VERIFY_TOKEN,
        "hook_url": f"{address(listening)}/hook",
        "api_key": "key",
        "shops": {"2001": "Alpenlicht FR", "2002": "Seabird ES"},
        "now": clock,
        "retry_waits": (timedelta(milliseconds=10),) * 2,
    } | config
    async with (
        serve(SandboxConfig(**wanted)) as sandbox,
        at_a_port(beside(receiver.app, sandbox), listening, http=server) as url,
        httpx.AsyncClient(timeout=5, trust_env=False, verify=trust()) as http,
    ):
        yield World(sandbox, url, http, receiver, clock)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as made:
        yield made


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
