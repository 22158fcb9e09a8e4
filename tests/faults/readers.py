"""Readers of the live stream who lose their connection at random, and what each of them believes."""

import asyncio
import json
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

# Seconds between two connections of one reader, on average.
STAYS = 8.0
# A router that was killed answers nobody, and an open connection to it just ends.
GONE = (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError)


@dataclass
class Reader:
    """Follows the stream of any of the routers from where it stopped; `known` is version and agent by conversation."""

    routers: Sequence[str]
    token: str
    chance: random.Random
    known: dict[str, tuple[int, str | None]] = field(default_factory=dict)
    seq: int | None = None
    seqs: list[int] = field(default_factory=list)
    connections: int = 0
    # Where they were when they were told that they had missed something.
    resyncs: list[int | None] = field(default_factory=list)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            url = urlsplit(self.chance.choice(self.routers))
            with suppress(*GONE):
                async with asyncio.timeout(self.chance.uniform(0.2, 2 * STAYS)):
                    await self._connected(str(url.hostname), int(url.port or 0))
            await asyncio.sleep(self.chance.uniform(0.1, 1.0))

    async def _connected(self, host: str, port: int) -> None:
        reader, writer = await asyncio.open_connection(host, port)
        try:
            place = "" if self.seq is None else f"Last-Event-ID: {self.seq}\r\n"
            head = f"GET /v1/stream HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {self.token}\r\n{place}\r\n"
            writer.write(head.encode())
            status = await reader.readuntil(b"\r\n\r\n")
            if b" 200 " not in status[:20]:
                return
            self.connections += 1
            rest = b""
            while length := int(await reader.readline(), 16):
                *events, rest = (rest + (await reader.readexactly(length + 2))[:-2]).split(b"\n\n")
                for event in events:
                    self._told(event.decode())
        finally:
            writer.close()

    def _told(self, event: str) -> None:
        fields = dict(line.split(": ", 1) for line in event.splitlines() if line and not line.startswith(":"))
        if "data" not in fields:
            return
        name, data = fields["event"], json.loads(fields["data"])
        if name == "resync":
            self.resyncs.append(self.seq)
        elif name != "begin":
            self.seqs.append(data["seq"])
            self.known[data["conversation_id"]] = (data["n"], data["agent_id"])
        self.seq = data["seq"]
