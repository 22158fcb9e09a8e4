"""The operators' end of the story: takes the alerts that Dragoman posts, and believes only what is signed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import uuid4

from standardwebhooks import Webhook, WebhookVerificationError

from services.demo.api import Api
from shared.errors import Rejected

OPERATOR = "ada"
LONGEST = 100_000


class Receiver:
    """A small server on loopback; `alerts` are the bodies by their `webhook-id`, as often as they came."""

    def __init__(self) -> None:
        self.url = ""
        self.alerts: list[tuple[str, Any]] = []
        self._secret: str | None = None

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._answer, "127.0.0.1", 0) as server:
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield

    @asynccontextmanager
    async def told_by(self, api: Api) -> AsyncIterator[bool]:
        """Missed deadlines are posted to us until left; False where that Dragoman calls no address of this machine."""
        handle = f"demo-{uuid4().hex[:8]}"
        wanted = {"handle": handle, "url": self.url, "events": ["deadline.missed"]}
        try:
            made = (await api.ask("POST", "/v1/webhooks", OPERATOR, wanted, **{"Idempotency-Key": handle})).json()
        except Rejected:
            yield False
            return
        path = f"/v1/webhooks/{made['id']}"
        try:
            (self._secret,) = (await api.get(f"{path}/secret", OPERATOR))["secrets"]
            yield True
        finally:
            await api.ask("DELETE", path, OPERATOR)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[1:]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
            body = await reader.readexactly(min(int(headers.get("content-length", "0")), LONGEST))
            status = "204 No Content" if self._take(headers, body) else "401 Unauthorized"
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    def _take(self, headers: dict[str, str], body: bytes) -> bool:
        try:
            alert = Webhook(self._secret or "").verify(body, headers)
        except WebhookVerificationError:
            return False
        self.alerts.append((headers["webhook-id"], alert))
        return True
