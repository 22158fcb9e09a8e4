"""`GET /media/...`: a stored file to whoever has a signed link to it; no other credential is asked for."""

from collections.abc import Callable, Sequence
from datetime import datetime
from urllib.parse import parse_qsl, quote

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.clock import utc_now
from shared.errors import BadSignature, DragomanError, Rejected, Unavailable
from shared.links import Linked, Links
from shared.objects import Objects, store_of
from shared.parts import Parts
from shared.sniffing import SHOWN, UNKNOWN

# In a browser's own cache, and not beyond the link's end.
CACHED = 300
PLAIN = frozenset({"application/pdf", "text/plain", *SHOWN})
Headers = list[tuple[bytes, bytes]]


def media(links: Links, objects: Objects, now: Callable[[], datetime] = utc_now) -> ASGIApp:
    """404 for a link that is not ours or a file that is gone, 410 once it is over, 503 while the store is away."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await _problem(send, 405, "Only GET and HEAD", [(b"allow", b"GET, HEAD")])
            return
        try:
            at = now()
            linked = links.read(scope["path"], dict(parse_qsl(scope["query_string"].decode("latin-1"))), at)
            content = await objects.get(linked.brand_id, linked.sha256)
        except (BadSignature, Rejected, Unavailable) as error:
            await _problem(send, _status(error), "The file cannot be had by this link")
            return
        body = content if scope["method"] == "GET" else b""
        await _send(send, 200, body, [*_headers(linked, at), (b"content-length", str(len(content)).encode())])

    return app


def media_of(parts: Parts) -> ASGIApp:
    """For the services whose address the world knows."""
    return media(Links(parts.vault, parts.settings.address), store_of(parts.settings))


def _status(error: DragomanError) -> int:
    if isinstance(error, Unavailable):
        return 503
    return 410 if error.code == "expired" else 404


def _headers(linked: Linked, now: datetime) -> Headers:
    """What a browser cannot run is shown in place; everything else is saved, and under a type that does nothing."""
    shown = linked.media_type in SHOWN
    media_type = linked.media_type if linked.media_type in PLAIN else UNKNOWN
    disposition = f"{'inline' if shown else 'attachment'}; filename*=UTF-8''{quote(linked.name, safe='')}"
    seconds = max(0, min(CACHED, int((linked.expires_at - now).total_seconds())))
    return [
        (b"content-type", media_type.encode("ascii", "replace")),
        (b"content-disposition", disposition.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"default-src 'none'; sandbox"),
        (b"cross-origin-resource-policy", b"cross-origin"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", f"private, max-age={seconds}, immutable".encode()),
    ]


async def _problem(send: Send, status: int, title: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    body = msgspec.json.encode({"type": "about:blank", "title": title, "status": status})
    length = (b"content-length", str(len(body)).encode())
    kind = (b"content-type", b"application/problem+json")
    await _send(send, status, body, [kind, length, (b"cache-control", b"no-store"), *headers])


async def _send(send: Send, status: int, body: bytes, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
