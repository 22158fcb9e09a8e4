"""A marketplace on a real loopback port: gives its answers one after the other, and keeps what it was asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import httpx

from shared.accounts import Account
from tests.channels.mirakl.sample import ACCOUNT
from tests.channels.tables import bytes_of, shown_request

# Closes the connection once it has read the request.
DROPPED: Mapping[str, Any] = {"status": 0, "body": ""}


@dataclass
class Marketplace:
    answers: Sequence[Mapping[str, Any]]
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """The sample's account, with its instance here."""
        return replace(ACCOUNT, settings={"url": f"http://127.0.0.1:{self.port}"})

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await self._request(reader)
            answer = self.answers[len(self.requests) % len(self.answers)]
            self.requests.append(shown_request(request))
            if answer["status"]:
                writer.write(_written(answer))
                await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader) -> httpx.Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        headers = dict(line.split(": ", 1) for line in lines)
        length = next((int(value) for name, value in headers.items() if name.lower() == "content-length"), 0)
        content = await reader.readexactly(length)
        return httpx.Request(method, f"http://127.0.0.1:{self.port}{target}", headers=headers, content=content)


def _written(answer: Mapping[str, Any]) -> bytes:
    body = bytes_of(answer["body"])
    headers = {"content-length": str(len(body)), "connection": "close", **answer.get("headers", {})}
    lines = [f"HTTP/1.1 {answer['status']} Answer", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def listening(*answers: Mapping[str, Any]) -> AsyncIterator[Marketplace]:
    marketplace = Marketplace(answers)
    server = await asyncio.start_server(marketplace.serve, "127.0.0.1", 0)
    async with server:
        marketplace.port = server.sockets[0].getsockname()[1]
        yield marketplace
