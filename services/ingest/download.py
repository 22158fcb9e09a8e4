"""Fetches a file from an address that a stranger may have chosen.

Every hop's host is resolved here, its addresses are checked, and the connection goes to the very address that was
checked: a name that answers differently the second time gains nothing. Redirects are followed by hand.
"""

import asyncio
import ipaddress
import socket
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from shared.channels.contract import Source
from shared.errors import AccountBroken, DragomanError, Rejected, Throttled, Unavailable

MOST_BYTES = 25_000_000
WITHIN = 60.0
TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=5, sock_read=15)
RESOLVE_WITHIN = 5.0
REDIRECTS = 5
REDIRECTING = (301, 302, 303, 307, 308)
CHUNK = 65_536
# How zlib is to read it.
PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 15}
# Never another host's business to say where in our networks something is: what `is_global` of some Python versions
# leaves out, and forms that carry an IPv4 address inside.
CLOSED = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
        "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "5f00::/16",
        "fc00::/7", "fe80::/10", "fec0::/10",
    )
]  # fmt: skip
NAT64 = ipaddress.ip_network("64:ff9b::/96")
Addresses = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes, and the type that the server declared."""

    content: bytes
    declared: str


def is_public(address: str) -> bool:
    """Whether the address lies in the open internet, also inside an IPv6 form that wraps it."""
    try:
        ip: Addresses = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip in NAT64:
            ip = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        elif int(ip) < 1 << 32:
            return False
    if any(ip in network for network in CLOSED if network.version == ip.version):
        return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_loopback or ip.is_unspecified)


class _Guard(AbstractResolver):
    """Gives the connector only addresses that were checked."""

    def __init__(self, hosts: "Trusted") -> None:
        self._hosts = hosts

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        try:
            async with asyncio.timeout(RESOLVE_WITHIN):
                found = await asyncio.get_running_loop().getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except (OSError, UnicodeError, TimeoutError):
            raise Unavailable("the host's name does not resolve", code="no_such_host") from None
        addresses = list(dict.fromkeys((str(at[0]), number) for number, _, _, _, at in found))
        for address, _ in addresses:
            self._hosts.check(host, port, address)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=number, proto=0, flags=socket.AI_NUMERICHOST)
            for address, number in addresses
        ]

    async def close(self) -> None:
        """Holds nothing."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """The origin of a source's own host, where the configuration names it: it may be near, and without TLS."""

    origin: tuple[str, str, int] | None

    @classmethod
    def of(cls, source: Source, url: SplitResult) -> "Trusted":
        """Raises Rejected where the source names hosts and this is none of them."""
        if source.hosts is None:
            return cls(None)
        _, host, port = origin = _origin(url)
        if not {host, f"{host}:{port}", url.netloc.rpartition("@")[2].lower()} & {h.lower() for h in source.hosts}:
            raise Rejected("the file is not at the vendor's own host", code="foreign_host")
        return cls(origin)

    def is_at(self, url: SplitResult) -> bool:
        return self.origin is not None and _origin(url) == self.origin

    def check(self, host: str, port: int, address: str) -> None:
        """Raises Rejected for an address that is not in the open internet and not of the configured host."""
        if self.origin is not None and self.origin[1:] == (host.lower(), port):
            return
        if not is_public(address):
            raise Rejected("the file's address is not in the open internet", code="private_address")


def _origin(url: SplitResult) -> tuple[str, str, int]:
    return url.scheme, (url.hostname or "").lower(), url.port or (443 if url.scheme == "https" else 80)


async def download(source: Source, most: int = MOST_BYTES, within: float = WITHIN) -> Fetched:
    """The bytes at the source.

    Raises Rejected for what will never come (`private_address`, `not_https`, `foreign_host`, `too_large`,
    `too_many_redirects`, `bad_encoding`, `http_403`, ...), Unavailable for what may come later (`not_there` is a 404),
    Throttled, AccountBroken.
    """
    try:
        async with asyncio.timeout(within):
            return await _download(source, most)
    except TimeoutError:
        raise Unavailable("the file did not come in time", code="slow") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        guarded = _ours(error)
        if guarded is not None:
            raise guarded from None
        raise Unavailable(f"the file did not come: {type(error).__name__}", code="broken_off") from None


def _ours(error: BaseException) -> DragomanError | None:
    """What the guard raised inside the connector."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, DragomanError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


async def _download(source: Source, most: int) -> Fetched:
    url = _parsed(source.url)
    trusted = Trusted.of(source, url)
    connector = aiohttp.TCPConnector(resolver=_Guard(trusted), use_dns_cache=False, force_close=True, limit=2)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUTS,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        for _ in range(REDIRECTS + 1):
            _check(url, trusted)
            headers = own_headers(source, url)
            async with session.get(url.geturl(), headers=headers, allow_redirects=False) as response:
                if response.status not in REDIRECTING:
                    return await _read(response, most)
                url = _parsed(urljoin(url.geturl(), response.headers.get("location", "")))
    raise Rejected("the file's address leads on and on", code="too_many_redirects")


def own_headers(source: Source, url: SplitResult) -> dict[str, str]:
    """What a hop is asked with; credentials go to the source's own origin alone."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "Dragoman"}
    return headers | dict(source.headers) if _origin(url) == _origin(urlsplit(source.url)) else headers


def _parsed(text: str) -> SplitResult:
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        raise Rejected("the file has no usable address", code="bad_address") from None
    if url.scheme not in ("http", "https") or not url.hostname or port == 0:
        raise Rejected("the file has no usable address", code="bad_address")
    return url


def _check(url: SplitResult, trusted: Trusted) -> None:
    if trusted.is_at(url):
        return
    if url.scheme != "https":
        raise Rejected("the file is not to be had by https", code="not_https")
    host = url.hostname or ""
    # The connector asks nobody about a host that is an address, in whatever way it is written.
    with suppress(OSError):
        trusted.check(host, _origin(url)[2], socket.inet_ntoa(socket.inet_aton(host)))
    if ":" in host:
        trusted.check(host, _origin(url)[2], host)


async def _read(response: aiohttp.ClientResponse, most: int) -> Fetched:
    if response.status != 200:
        raise _error(response.status)
    announced = response.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:12]) > most:
        raise _too_large(most)
    inner = _unpacker(response.headers.get("content-encoding", "").strip().lower())
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_chunked(CHUNK):
        for piece in _unpacked(inner, chunk):
            size += len(piece)
            if size > most:
                raise _too_large(most)
            chunks.append(piece)
    if inner is not None and not inner.eof:
        raise Unavailable("the file broke off", code="broken_off")
    return Fetched(b"".join(chunks), response.headers.get("content-type", "").partition(";")[0].strip().lower())


def _too_large(most: int) -> Rejected:
    return Rejected(f"the file has more than {most} bytes", code="too_large")


def _unpacker(encoding: str) -> "zlib._Decompress | None":
    """We ask for none; some send packed files all the same. Raises Rejected for a form that we do not read."""
    if encoding in ("", "identity"):
        return None
    if encoding not in PACKED:
        raise Rejected("the file is packed in a way that nobody asked for", code="bad_encoding")
    return zlib.decompressobj(PACKED[encoding])


def _unpacked(inner: "zlib._Decompress | None", chunk: bytes) -> Iterator[bytes]:
    """Piece by piece, so that a small packet which holds gigabytes can be cut off early."""
    if inner is None:
        yield chunk
        return
    rest = chunk
    while not inner.eof:
        try:
            piece = inner.decompress(rest, CHUNK)
        except zlib.error:
            raise Rejected("the file is packed in a broken way", code="bad_encoding") from None
        yield piece
        rest = inner.unconsumed_tail
        if not rest and len(piece) < CHUNK:
            return


def _error(status: int) -> DragomanError:
    code = f"http_{status}"
    if status == 404:
        return Unavailable("the vendor does not have the file (yet)", code="not_there")
    if status == 429:
        return Throttled("the vendor asks us to slow down", code=code)
    if status == 401:
        return AccountBroken("the vendor does not accept the account's credentials", code=code)
    if status >= 500 or status in (408, 425) or status < 400:
        return Unavailable(f"the vendor answered {status}", code=code)
    return Rejected(f"the vendor answered {status}", code="gone" if status == 410 else code)
