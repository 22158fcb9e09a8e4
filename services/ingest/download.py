"""Fetches a file from an address that a stranger may have chosen.

Every hop goes through the guard against our own networks; redirects are followed by hand.
"""

import asyncio
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urljoin, urlsplit

import aiohttp

from shared.channels.contract import Source
from shared.errors import AccountBroken, DragomanError, Rejected, Throttled, Unavailable
from shared.guard import Guard, Trusted, origin, parsed, raised_inside

MOST_BYTES = 25_000_000
WITHIN = 60.0
TIMEOUTS = aiohttp.ClientTimeout(total=None, connect=10, sock_connect=5, sock_read=15)
REDIRECTS = 5
REDIRECTING = (301, 302, 303, 307, 308)
CHUNK = 65_536
# How zlib is to read it.
PACKED = {"gzip": 31, "x-gzip": 31, "deflate": 15}


@dataclass(frozen=True, slots=True)
class Fetched:
    """The bytes, and the type that the server declared."""

    content: bytes
    declared: str


def trusted_by(source: Source, url: SplitResult) -> Trusted:
    """The source's own origin, where the configuration names it.

    Raises Rejected where the source names hosts and this is none of them.
    """
    if source.hosts is None:
        return Trusted()
    own = origin(url)
    _, host, port = own
    if not {host, f"{host}:{port}", url.netloc.rpartition("@")[2].lower()} & {h.lower() for h in source.hosts}:
        raise Rejected("the file is not at the vendor's own host", code="foreign_host")
    return Trusted(frozenset({own}))


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
        guarded = raised_inside(error)
        if guarded is not None:
            raise guarded from None
        raise Unavailable(f"the file did not come: {type(error).__name__}", code="broken_off") from None


async def _download(source: Source, most: int) -> Fetched:
    url = parsed(source.url)
    trusted = trusted_by(source, url)
    connector = aiohttp.TCPConnector(resolver=Guard(trusted), use_dns_cache=False, force_close=True, limit=2)
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=TIMEOUTS,
        trust_env=False,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        for _ in range(REDIRECTS + 1):
            trusted.check_url(url)
            headers = own_headers(source, url)
            async with session.get(url.geturl(), headers=headers, allow_redirects=False) as response:
                if response.status not in REDIRECTING:
                    return await _read(response, most)
                url = parsed(urljoin(url.geturl(), response.headers.get("location", "")))
    raise Rejected("the file's address leads on and on", code="too_many_redirects")


def own_headers(source: Source, url: SplitResult) -> dict[str, str]:
    """What a hop is asked with; credentials go to the source's own origin alone."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "Dragoman"}
    return headers | dict(source.headers) if origin(url) == origin(urlsplit(source.url)) else headers


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
