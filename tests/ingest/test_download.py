"""Fetching from an address that a stranger chose: real servers, and every way to lead us astray."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest

from services.ingest.download import download, own_headers, trusted_by
from shared.channels.contract import Source
from shared.errors import AccountBroken, DragomanError, Rejected, Throttled, Unavailable
from shared.guard import is_public

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each path as it was told, and keeps the heads of the requests."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.heads: list[str] = []
        self.port = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def source(self, path: str = "/file", **headers: str) -> Source:
        """Of an account whose configured base is this server."""
        return Source(url=f"http://{self.host}{path}", headers=headers, hosts=frozenset({self.host}))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            several = self.answers.get(head.split(" ")[1], [ok(b"", status="404 Not Found")])
            answer = several.pop(0) if len(several) > 1 else several[0]
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def ok(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Connection: close", *headers]
    if not any(h.lower().startswith(("content-length", "transfer-encoding")) for h in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def to(location: str) -> bytes:
    return ok(b"", f"Location: {location}", status="302 Found")


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    made = Server()
    async with await asyncio.start_server(made.serve, "127.0.0.1", 0) as listening:
        made.port = listening.sockets[0].getsockname()[1]
        yield made


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with serving() as made:
        yield made


async def failing(source: Source, **limits: float) -> DragomanError:
    with pytest.raises(DragomanError) as raised:
        await download(source, **limits)  # type: ignore[arg-type]
    return raised.value


async def test_the_bytes_come_with_the_account_s_credentials(server: Server) -> None:
    server.answers["/file"] = [ok(b"bytes", "Content-Type: Image/PNG; x=y")]
    found = await download(server.source(Authorization="Bearer t"))
    assert (found.content, found.declared) == (b"bytes", "image/png")
    assert "Authorization: Bearer t" in server.heads[0]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
        "192.0.0.192", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
        "fec0::1", "ff02::1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2001::1", "2001:db8::1", "100::1",
        "not an address", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_in_the_open_internet(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.215.14", "2606:2800:21f:cb07::1", "::ffff:93.184.215.14", "64:ff9b::5db8:d70e"]
)
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://127.0.0.1:{port}/file", "private_address"), ("https://[::1]:{port}/file", "private_address"),
        ("https://[::ffff:127.0.0.1]:{port}/file", "private_address"),
        ("https://2130706433:{port}/", "private_address"),
        ("https://0x7f.1:{port}/", "private_address"), ("https://127.1:{port}/", "private_address"),
        ("https://localhost:{port}/file", "private_address"), ("https://169.254.169.254/latest", "private_address"),
        ("http://127.0.0.1:{port}/file", "not_https"), ("http://example.com/", "not_https"),
        ("file:///etc/passwd", "bad_address"), ("ftp://example.com/", "bad_address"), ("https://", "bad_address"),
        ("https://host:99999/", "bad_address"), ("gopher://127.0.0.1/", "bad_address"), ("", "bad_address"),
    ],
)  # fmt: skip
async def test_an_address_into_our_own_networks_is_refused_unasked(server: Server, url: str, code: str) -> None:
    error = await failing(Source(url=url.format(port=server.port)))
    assert isinstance(error, Rejected)
    assert error.code == code
    assert server.heads == []


async def test_a_name_that_resolves_to_loopback_is_refused_also_with_credentials_of_another_host(
    server: Server,
) -> None:
    source = Source(url=f"https://localhost:{server.port}/file", hosts=frozenset({"api.vendor.example"}))
    assert (await failing(source)).code == "foreign_host"
    assert server.heads == []


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("https://127.0.0.1:{other}/secret", "private_address"), ("http://127.0.0.1:{other}/secret", "not_https"),
        ("https://localhost:{other}/secret", "private_address"),
        ("http://169.254.169.254/latest/meta-data", "not_https"),
        ("//[::1]:{other}/secret", "not_https"), ("file:///etc/passwd", "bad_address"), ("", "too_many_redirects"),
    ],
)  # fmt: skip
async def test_a_redirect_into_our_own_networks_is_refused(server: Server, location: str, code: str) -> None:
    async with serving() as other:
        server.answers["/file"] = [to(location.format(other=other.port))]
        error = await failing(server.source(Authorization="secret"))
        assert (error.code, other.heads) == (code, [])


async def test_redirects_on_the_account_s_own_host_are_followed_five_times(server: Server) -> None:
    for n in range(7):
        server.answers[f"/{n}"] = [to(f"/{n + 1}")]
    server.answers["/5"] = [ok(b"there")]
    assert (await download(server.source("/0"))).content == b"there"
    server.answers["/5"] = [to("/6")]
    assert (await failing(server.source("/0"))).code == "too_many_redirects"


def test_credentials_are_the_first_origin_s_alone() -> None:
    source = Source(url="https://api.vendor.example/1", headers={"Authorization": "secret"})
    same, port, tls, other = (
        urlsplit(url)
        for url in (
            "https://API.vendor.example:443/2", "https://api.vendor.example:8443/", "http://api.vendor.example/",
            "https://cdn.vendor.example/",
        )
    )  # fmt: skip
    assert own_headers(source, same)["Authorization"] == "secret"
    assert not any("Authorization" in own_headers(source, url) for url in (port, tls, other))


def test_what_is_configured_opens_its_own_port_alone() -> None:
    url = urlsplit("http://10.0.0.5:8080/")
    trusted = trusted_by(Source(url=url.geturl(), hosts=frozenset({"10.0.0.5"})), url)
    trusted.check("10.0.0.5", 8080, "10.0.0.5")
    with pytest.raises(Rejected):
        trusted.check("10.0.0.5", 5432, "10.0.0.5")


async def test_a_file_that_announces_too_much_is_not_read(server: Server) -> None:
    async def announce(writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"", "Content-Length: 99999999"))
        await asyncio.sleep(5)

    server.answers["/file"] = [announce]
    assert (await failing(server.source(), most=1000, within=3)).code == "too_large"


async def test_a_file_without_a_length_is_cut_off_at_the_limit(server: Server) -> None:
    async def pour(writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"", "Transfer-Encoding: chunked"))
        while True:
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()

    server.answers["/file"] = [pour]
    assert (await failing(server.source(), most=100_000)).code == "too_large"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_small_packet_that_holds_gigabytes_is_cut_off(server: Server, encoding: str) -> None:
    packed = gzip.compress(bytes(50_000_000)) if encoding == "gzip" else zlib.compress(bytes(50_000_000))
    server.answers["/file"] = [ok(packed, f"Content-Encoding: {encoding}")]
    assert len(packed) < 100_000
    assert (await failing(server.source(), most=1_000_000)).code == "too_large"


async def test_what_is_packed_without_being_asked_is_unpacked(server: Server) -> None:
    content = bytes(range(256)) * 1000
    server.answers["/file"] = [ok(gzip.compress(content), "Content-Encoding: gzip")]
    assert (await download(server.source())).content == content
    server.answers["/file"] = [ok(gzip.compress(content)[:-20], "Content-Encoding: gzip")]
    assert (await failing(server.source())).code == "broken_off"
    for body, name in ((b"no gzip", "gzip"), (b"x", "br"), (b"x", "gzip, gzip")):
        server.answers["/file"] = [ok(body, f"Content-Encoding: {name}")]
        assert (await failing(server.source())).code == "bad_encoding"


async def test_a_server_that_hangs_costs_only_the_time_that_was_given(server: Server) -> None:
    async def hang(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await asyncio.sleep(5)

    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(ok(b"", "Content-Length: 1000"))
        while True:
            writer.write(b"x")
            await asyncio.sleep(0.05)

    for way in (hang, drip):
        server.answers["/file"] = [way]
        error = await failing(server.source(), within=0.3)
        assert (type(error), error.code) == (Unavailable, "slow")


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        ("404 Not Found", Unavailable, "not_there"),
        ("410 Gone", Rejected, "gone"),
        ("403 Forbidden", Rejected, "http_403"),
        ("401 Unauthorized", AccountBroken, "http_401"), ("429 Too Many Requests", Throttled, "http_429"),
        ("500 Oops", Unavailable, "http_500"), ("204 No Content", Unavailable, "http_204"),
    ],
)  # fmt: skip
async def test_what_a_status_means(server: Server, status: str, kind: type[DragomanError], code: str) -> None:
    server.answers["/file"] = [ok(b"", status=status)]
    error = await failing(server.source())
    assert (type(error), error.code) == (kind, code)


async def test_nonsense_and_nobody_there_may_come_later(server: Server) -> None:
    server.answers["/file"] = [b"this is no HTTP\r\n\r\n"]
    assert isinstance(await failing(server.source()), Unavailable)
    async with serving() as gone:
        source = gone.source()
    assert isinstance(await failing(source), Unavailable)
    assert (await failing(Source(url="https://no-such-host.invalid/"))).code == "no_such_host"
