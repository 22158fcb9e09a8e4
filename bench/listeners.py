"""Agents' open streams, from a process of its own: `python -m bench.listeners URL COUNT`, for agents a0, a1, ...

Prints a line once all are open. A line on its input begins the measuring, the next one ends it: then it prints how
many changes came, and the seconds from each one's transaction until it was here, as JSON.
"""

import asyncio
import json
import sys
import time
from datetime import datetime
from urllib.parse import urlsplit

AT_ONCE = 20


class Listeners:
    """All of them; `waits` grows while measuring."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._opening = asyncio.Semaphore(AT_ONCE)
        self.waits: list[float] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def open(self, agent: str) -> None:
        async with self._opening:
            reader, writer = await asyncio.open_connection(self._url.hostname, self._url.port)
            head = f"GET /v1/stream?mine=true HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer dev-{agent}\r\n\r\n"
            writer.write(head.encode())
            status = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in status[:20]:
                raise AssertionError(status)
            await reader.readuntil(b"event: begin\n")
            await reader.readuntil(b"\n\n")
        self.tasks.append(asyncio.create_task(self._follow(reader, writer)))

    async def _follow(self, reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        # The transport's chunks do not matter: a line of data is never torn by one.
        while line := await reader.readline():
            if line.startswith(b"data: "):
                at = datetime.fromisoformat(json.loads(line[6:])["at"])
                self.waits.append(time.time() - at.timestamp())


async def main(url: str, count: int) -> None:
    commands = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    listeners = Listeners(url)
    await asyncio.gather(*(listeners.open(f"a{n}") for n in range(count)))
    print("open", flush=True)
    await commands.readline()
    listeners.waits.clear()
    await commands.readline()
    if any(task.done() for task in listeners.tasks):
        raise AssertionError("a stream ended")
    print(json.dumps(listeners.waits), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1], int(sys.argv[2])))
