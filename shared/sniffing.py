"""What a file is by its own bytes, whatever its sender calls it."""

from codecs import utf_8_decode

import puremagic

# A browser would run what is in these, or nobody needs to see them in a page.
SHOWN = frozenset(
    {
        "image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "image/heic", "image/bmp",
        "audio/mpeg", "audio/ogg", "audio/mp4", "audio/aac", "audio/amr", "audio/wav", "audio/webm",
        "video/mp4", "video/webm", "video/ogg", "video/3gpp", "video/quicktime",
    }
)  # fmt: skip
UNKNOWN = "application/octet-stream"
# Behind white space and comments these begin what a browser takes for a page, a picture with scripts, or a feed.
MARKUP = (
    (b"<!doctype html", "text/html"), (b"<html", "text/html"), (b"<script", "text/html"), (b"<svg", "image/svg+xml"),
)  # fmt: skip
LOOKED_AT = 65_536
_CONTAINERS = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"avif": "image/avif", b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heic", b"M4A ": "audio/mp4",
    b"qt  ": "video/quicktime", b"3gp4": "video/3gpp", b"3gp5": "video/3gpp", b"3gp6": "video/3gpp",
}  # fmt: skip
_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"), (b"%PDF-", "application/pdf"), (b"OggS", "audio/ogg"), (b"ID3", "audio/mpeg"),
    (b"#!AMR", "audio/amr"),
)  # fmt: skip

_CONTROLS = bytes(code for code in range(32) if code not in b"\t\r\n\f")


def media_type_of(content: bytes, name: str = "") -> str:
    """The type that the bytes show; `name` only tells apart what begins alike. Never raises."""
    head = content[:LOOKED_AT]
    return _markup(head) or _certain(head) or _text(head) or _guessed(head, name)


def kind_of(media_type: str) -> str:
    """`image`, `audio`, `video`, else `file`."""
    kind = media_type.partition("/")[0]
    return kind if kind in ("image", "audio", "video") and media_type in SHOWN else "file"


def _markup(head: bytes) -> str:
    begins = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for mark, media_type in MARKUP:
        if begins.startswith(mark):
            return media_type
    if begins.startswith((b"<?xml", b"<!--")):
        return "image/svg+xml" if b"<svg" in begins else "text/xml"
    return ""


def _certain(head: bytes) -> str:
    for mark, media_type in _BEGINNINGS:
        if head.startswith(mark):
            return media_type
    if head[:4] == b"RIFF":
        return _CONTAINERS.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    return ""


def _text(head: bytes) -> str:
    """UTF-8 without control characters; the cut may go through a character."""
    try:
        utf_8_decode(head, "strict", len(head) < LOOKED_AT)
    except UnicodeDecodeError:
        return ""
    return "text/plain" if len(head.translate(None, _CONTROLS)) == len(head) else ""


def _guessed(head: bytes, name: str) -> str:
    try:
        return puremagic.from_string(head, mime=True, filename=name or None) or UNKNOWN
    except (puremagic.PureError, ValueError, LookupError):
        return UNKNOWN
