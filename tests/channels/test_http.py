"""Each way in which a call can fail: "nothing was written" is never confused with "it may have arrived"."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

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
        if mode == "not_http":
            writer.write(b"220 mail.example ESMTP\r\n\r\n")
            await writer.drain()
        if mode == "broken_gzip":
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nplain")
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
    "not_http": OutcomeUnknown,
    "broken_gzip": OutcomeUnknown,
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


def _certificate(folder: Path) -> ssl.SSLContext:
    """A server's context whose certificate nobody vouches for."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nobody")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@TRANSPORTS
async def test_a_certificate_that_nobody_vouches_for_gets_nothing(tmp_path: Path, plain: bool) -> None:
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=_certificate(tmp_path))
    async with server, http.client(plain_httpx=plain) as client:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable), http.calling():
            await client.post(f"https://localhost:{port}/", json={"text": "secret"})
        server.close()
    assert got == []


@TRANSPORTS
@pytest.mark.parametrize("url", ["http://vendor.invalid/", "ftp://127.0.0.1/", "http://[/", "", "http://127.0.0.1:1/"])
async def test_an_address_that_leads_nowhere_was_never_written_to(url: str, plain: bool) -> None:
    async with http.client(plain_httpx=plain) as client:
        with pytest.raises(Unavailable), http.calling():
            await client.post(url, json={})


@TRANSPORTS
async def test_whoever_waits_too_long_for_one_of_eight_connections_has_written_nothing(plain: bool) -> None:
    open_now = most = 0
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await reader.readuntil(b"\r\n\r\n")
        await over.wait()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        open_now -= 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, http.client(plain_httpx=plain) as client:
        client.timeout = httpx.Timeout(connect=1, write=1, read=5, pool=0.3)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        calls = [asyncio.create_task(client.post(url)) for _ in range(http.CONNECTIONS)]
        while open_now < http.CONNECTIONS:
            await asyncio.sleep(0.01)
        with pytest.raises(Unavailable), http.calling():
            await client.post(url)
        over.set()
        assert [answer.status_code for answer in await asyncio.gather(*calls)] == [200] * http.CONNECTIONS
    assert most == http.CONNECTIONS


@TRANSPORTS
async def test_a_redirect_is_not_followed_with_our_token(plain: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, http.client(plain_httpx=plain) as client:
        answer = await client.get(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert type(http.error_of_status(answer)) is OutcomeUnknown


@TRANSPORTS
async def test_a_clients_every_wait_has_an_end(plain: bool) -> None:
    async with http.client(plain_httpx=plain) as client:
        assert all(wait is not None and wait <= 20 for wait in client.timeout.as_dict().values())


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
    ("given", "seconds"),
    [
        ("7", 7),
        ("99999", 3600),
        ("9" * 5000, 3600),
        ("\xb2", None),
        ("Fri, 01 Jan 2021 00:00:00 GMT", 0),
        ("soon", None),
        ("", None),
    ],
)
def test_what_the_vendor_asks_to_wait_is_at_most_an_hour(given: str, seconds: float | None) -> None:
    wait = http.retry_after(httpx.Response(429, headers={b"retry-after": given.encode("latin-1")}))
    assert (wait.total_seconds() if wait is not None else None) == seconds


@settings(deadline=None)
@given(value=st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=60))
def test_whatever_the_header_says_is_a_wait_within_the_hour_or_none(value: str) -> None:
    wait = http.retry_after(httpx.Response(503, headers={b"retry-after": value.encode("latin-1")}))
    assert wait is None or timedelta(0) <= wait <= http.LONGEST_WAIT


def test_a_date_far_beyond_any_calendar_is_no_wait() -> None:
    assert (
        http.retry_after(httpx.Response(503, headers={"retry-after": "Fri, 01 Jan 99999999999 00:00:00 GMT"})) is None
    )
