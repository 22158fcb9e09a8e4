"""A small HTTP/1.1 load of signed webhooks from a process of its own: `python -m bench.load URL`.

For each line `CONNECTIONS SECONDS` it loads once, and prints requests per second, p50 and p99 in milliseconds, and how
many requests it made, as JSON. Raw sockets, for the client is not to be measured.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit

from bench.figures import percentile
from bench.vendors import MAKERS

DIFFERENT = 10_000


def request(url: str, n: int) -> bytes:
    """One signed message of the vendor whose channel the address names."""
    parts = urlsplit(url)
    target = url.partition(parts.netloc)[2]
    headers, body = MAKERS[parts.path.split("/")[2]](target, n)
    head = [f"POST {target} HTTP/1.1", f"host: {parts.netloc}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*head, f"content-length: {len(body)}", "", ""]).encode() + body


async def connection(url: str, until: float, requests: Iterator[bytes], times: list[float]) -> None:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    while time.perf_counter() < until:
        data = next(requests)
        started = time.perf_counter()
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            raise AssertionError(head)
        length = next(int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h.startswith(b"content-length"))
        await reader.readexactly(length)
        times.append(time.perf_counter() - started)
    writer.close()


async def load(url: str, connections: int, seconds: float, requests: Iterator[bytes]) -> dict[str, float]:
    times: list[float] = []
    started = time.perf_counter()
    await asyncio.gather(*(connection(url, started + seconds, requests, times) for _ in range(connections)))
    took = time.perf_counter() - started
    return {
        "rate": len(times) / took,
        "p50": percentile(times, 0.5) * 1000,
        "p99": percentile(times, 0.99) * 1000,
        "count": len(times),
    }


async def main(url: str) -> None:
    # Made beforehand: signing in the loop would cost the client as much as it costs the server.
    requests = cycle([request(url, n) for n in range(DIFFERENT)])
    for line in sys.stdin:
        connections, seconds = line.split()
        print(json.dumps(await load(url, int(connections), float(seconds), requests)), flush=True)


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(sys.argv[1]))
