"""Each way in which a call can fail: "nothing was written" is never confused with "it may have arrived"."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from shared.channels import http
from shared.errors import AccountBroken, DragomanError, OutcomeUnknown, Rejected, Throttled, Unavailable

TRANSPORTS = pytest.mark.parametrize("plain", [True, False], ids=["httpx", "aiohttp"])


@asynccontextmanager
async def vendor(mode: str) -> AsyncIterator[str]:
    """A server that fails in one way; its address."""

    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if mode == "reset_before_body":
            await reader.readuntil(b"\r\n\r\n")
        if mode != "reset_at_once":
            await reader.read(65_536)
        if mode == "hang":
            await over.wait()
        if mode == "half_an_answer":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            await writer.drain()
        writer.transport.abort()
        handled.set()

    handled = asyncio.Event()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    if mode == "refused":
        server.close()
        await server.wait_closed()
    try:
        yield f"{'https' if mode == 'tls' else 'http'}://127.0.0.1:{port}/"
    finally:
        over.set()
        server.close()
        if mode not in ("refused", "tls"):
            await handled.wait()


CASES = {
    "refused": Unavailable,
    "tls": Unavailable,
    "reset_at_once": OutcomeUnknown,
    "reset_before_body": OutcomeUnknown,
    "reset_after_body": OutcomeUnknown,
    "half_an_answer": OutcomeUnknown,
    "hang": OutcomeUnknown,
}


@TRANSPORTS
@pytest.mark.parametrize("mode", CASES)
async def test_how_a_call_fails_says_whether_it_may_have_arrived(mode: str, plain: bool) -> None:
    async with vendor(mode) as url, http.client(plain_httpx=plain) as client:
        client.timeout = httpx.Timeout(connect=1, write=1, read=0.3, pool=1)
        with pytest.raises(DragomanError) as caught, http.calling():
            await client.post(url, json={"text": "x" * 100_000})
    if mode == "tls" and not plain:
        # A handshake that the server breaks off cannot be told from a request that it broke off.
        assert isinstance(caught.value, Unavailable | OutcomeUnknown)
        return
    assert isinstance(caught.value, CASES[mode])


STATUSES = {
    400: Rejected, 401: AccountBroken, 403: Rejected, 404: Rejected, 408: OutcomeUnknown, 410: Rejected, 422: Rejected,
    429: Throttled, 500: OutcomeUnknown, 502: OutcomeUnknown, 503: OutcomeUnknown, 504: OutcomeUnknown,
}  # fmt: skip


@pytest.mark.parametrize("status", STATUSES)
def test_a_status_alone_has_a_verdict(status: int) -> None:
    assert type(http.error_of_status(httpx.Response(status))) is STATUSES[status]


def test_a_503_that_asks_to_wait_was_not_taken() -> None:
    error = http.error_of_status(httpx.Response(503, headers={"retry-after": "7"}))
    assert isinstance(error, Throttled)
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() == 7


@pytest.mark.parametrize(
    ("given", "seconds"), [("7", 7), ("99999", 3600), ("Fri, 01 Jan 2021 00:00:00 GMT", 0), ("soon", None), ("", None)]
)
def test_what_the_vendor_asks_to_wait_is_at_most_an_hour(given: str, seconds: float | None) -> None:
    wait = http.retry_after(httpx.Response(429, headers={"retry-after": given}))
    assert (wait.total_seconds() if wait is not None else None) == seconds
