"""The reference console: static files read once, compressed once, and revalidated by their ETag.

It is a frontend like any other: nothing here knows what the API knows. Its policy lets it load and ask nothing but
this address, the address of stored files, and the issuer that signs people in.
"""

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

STATIC = Path(__file__).parent / "static"
ADDRESS = "/console/"
INDEX = "index.html"
TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class File:
    """One file of the console, as it is sent."""

    content: bytes
    compressed: bytes
    media_type: str
    etag: str

    @classmethod
    def read(cls, path: Path) -> "File":
        content = path.read_bytes()
        # Weak: the same for both encodings. Without a time, so that every process gives the same bytes.
        etag = f'W/"{hashlib.sha256(content).hexdigest()[:32]}"'
        return cls(content, gzip.compress(content, 9, mtime=0), TYPES[path.suffix], etag)


def files() -> dict[str, File]:
    """All of them by name."""
    return {path.name: File.read(path) for path in sorted(STATIC.iterdir()) if path.suffix in TYPES}


def policy(addresses: Iterable[str]) -> str:
    """The content security policy; `addresses` are on servers that it may fetch from beside its own.

    Nothing inline runs or styles, and trusted types keep every string of data out of markup; the one exception is the
    policy by which a customer's HTML goes into its sandboxed frame (static/mail.js).
    """
    origins = {f"{url.scheme}://{url.netloc}" for url in map(urlsplit, addresses)}
    elsewhere = " ".join(["'self'", *sorted(origins)])
    rules = (
        "default-src 'none'", "script-src 'self'", "style-src 'self'", f"connect-src {elsewhere}",
        f"img-src {elsewhere} data:", f"media-src {elsewhere}", "frame-src 'self'", "base-uri 'none'",
        "form-action 'none'", "frame-ancestors 'none'", "trusted-types mail", "require-trusted-types-for 'script'",
    )  # fmt: skip
    return "; ".join(rules)


def routes(addresses: Iterable[str]) -> list[Route]:
    """`GET /console/` and its files; the bare address leads there."""
    known = files()
    headers = {
        "Cache-Control": "no-cache",
        "Content-Security-Policy": policy(addresses),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
    }

    async def file(request: Request) -> Response:
        found = known.get(request.path_params.get("name", INDEX))
        if found is None:
            return Response("There is no such file", 404, headers, "text/plain")
        return _answer(request, found, headers)

    async def begin(_request: Request) -> Response:
        return RedirectResponse(ADDRESS)

    return [Route("/", begin), Route("/console", begin), Route(ADDRESS, file), Route(ADDRESS + "{name}", file)]


def _answer(request: Request, file: File, headers: Mapping[str, str]) -> Response:
    tagged = {**headers, "ETag": file.etag}
    if file.etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=tagged)
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.compressed, headers={**tagged, "Content-Encoding": "gzip"}, media_type=file.media_type)
    return Response(file.content, headers=tagged, media_type=file.media_type)
