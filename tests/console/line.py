"""The line between a browser and the product: it can be cut and mended, or lose an answer on the way back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Line:
    """A relay of bytes on loopback; while it is cut, nothing gets through and nothing stays open."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._writers: set[asyncio.StreamWriter] = set()
        self._is_cut = False
        self._to_lose: bytes | None = None
        self.url = ""

    def cut(self) -> None:
        self._is_cut = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._is_cut = False

    def lose_answer_to(self, request: bytes) -> None:
        """The next request with these bytes arrives; with its answer the whole line goes down."""
        self._to_lose = request

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers |= {writer, far_writer}
        losing = asyncio.Event()
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._ask(reader, far_writer, losing), self._answer(far_reader, writer, losing))
        for ended in (writer, far_writer):
            self._writers.discard(ended)
            ended.transport.abort()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if self._to_lose is not None and self._to_lose in data:
                self._to_lose = None
                losing.set()
            writer.write(data)
            await writer.drain()
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(65536):
            if losing.is_set():
                self.cut()
                return
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def line(to: str) -> AsyncIterator[Line]:
    """To the address of a running product."""
    relayed = Line(int(to.rsplit(":", 1)[1]))
    server = await asyncio.start_server(relayed.relay, "127.0.0.1", 0)
    relayed.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield relayed
    finally:
        server.close()
        relayed.cut()
