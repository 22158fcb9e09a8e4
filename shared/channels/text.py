"""Text as vendors give it and take it: made storable, cut at a limit, compared with its echo."""

import hashlib
import json
from typing import Any

import msgspec

from shared.errors import BadPayload

# An index takes no key of any length; vendors' ids are far below this.
KEY_LIMIT = 400


def clean(text: str) -> str:
    """Without NUL and lone surrogates, which JSON may carry but neither PostgreSQL nor UTF-8 can hold."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def read_json(body: bytes) -> Any:
    """The value of a JSON body. Raises BadPayload.

    The fast parser refuses lone surrogates, which are legal in escaped JSON; only then the patient one is asked.
    """
    try:
        return msgspec.json.decode(body)
    except RecursionError:
        raise BadPayload("the body is nested too deeply", code="too_deep") from None
    except ValueError:
        pass
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadPayload("the body is not JSON", code="not_json") from None


def write_json(value: Any) -> bytes:
    """The bytes of one item, whatever characters it holds."""
    try:
        return msgspec.json.encode(value)
    except (UnicodeEncodeError, msgspec.MsgspecError):
        return json.dumps(value).encode()
    except RecursionError:
        return b'"nested too deeply to be kept"'


def split(text: str, limit: int) -> list[str]:
    """Pieces of at most `limit` characters, cut at the last white space that leaves more than half a piece."""
    pieces = []
    rest = text.strip()
    while len(rest) > limit:
        cut = max(rest.rfind(space, 0, limit + 1) for space in ("\n", " "))
        if cut <= limit // 2:
            cut = limit
        pieces.append(rest[:cut].rstrip())
        rest = rest[cut:].lstrip()
    return [*pieces, rest] if rest else pieces


def text_hash(text: str) -> str:
    """The same for a text and its echo: vendors change white space."""
    return hashlib.sha256(" ".join(text.split()).encode("utf-8", "replace")).hexdigest()[:32]


def key(kind: str, *marks: str) -> str:
    """What an item is known by: its kind, for edits and echoes share the id of their message, and what marks it."""
    whole = ":".join((kind, *marks))
    return whole if len(whole) <= KEY_LIMIT else f"{kind}:{hashlib.sha256(whole.encode()).hexdigest()}"
