"""Signed links: whoever has one may read one file until it expires, without any other credential."""

import base64
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode
from uuid import UUID

import msgspec

from shared.errors import BadSignature, Rejected
from shared.events import Attachment
from shared.secrets import Vault

# For an agent's frontend, which asks for the conversation again.
SHOWN_FOR = timedelta(minutes=15)
# For a vendor that fetches what it is to send, and tries again for a while.
FETCHED_FOR = timedelta(hours=24)
# In a text to a customer, who may read it after a holiday.
WRITTEN_FOR = timedelta(days=30)
NAME_LIMIT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """The file that a link is for."""

    brand_id: UUID
    sha256: str
    media_type: str
    name: str
    expires_at: datetime


class Links:
    """Signs with a key that is derived from the vault's newest, and takes what any of its keys signed."""

    def __init__(self, vault: Vault, address: str) -> None:
        self._keys = vault.derived("media links")
        self._address = address

    def of(self, brand_id: UUID, attachment: Attachment, expires_at: datetime) -> str:
        """The address of a stored attachment. Raises Rejected for one that is not stored."""
        if not attachment.sha256:
            raise Rejected("the file is not stored", code="no_such_file")
        name = file_name(attachment.name)
        expires = int(expires_at.timestamp())
        signature = _sign(self._keys[0], brand_id, attachment.sha256, attachment.media_type, name, expires)
        query = urlencode({"type": attachment.media_type, "expires": expires, "signature": signature})
        return f"{self._address}/media/{brand_id}/{attachment.sha256}/{quote(name, safe='')}?{query}"

    def read(self, path: str, query: Mapping[str, str], now: datetime) -> Linked:
        """The file of a request's decoded path. Raises BadSignature, and Rejected (`expired`) once it is over."""
        parts = path.split("/")
        try:
            _, media, brand, sha256, name = parts
            brand_id, expires, media_type = UUID(brand), int(query["expires"]), query["type"]
            expires_at = datetime.fromtimestamp(expires, UTC)
        except (ValueError, KeyError, OverflowError, OSError):
            raise BadSignature("the link is not one of ours", code="bad_link") from None
        given = query.get("signature", "").encode("utf-8", "replace")
        wanted = [_sign(key, brand_id, sha256, media_type, name, expires).encode() for key in self._keys]
        if media != "media" or not any(hmac.compare_digest(given, each) for each in wanted):
            raise BadSignature("the link is not one of ours", code="bad_link")
        if now >= expires_at:
            raise Rejected("the link is over", code="expired")
        return Linked(brand_id=brand_id, sha256=sha256, media_type=media_type, name=name, expires_at=expires_at)


def _sign(key: bytes, brand_id: UUID, sha256: str, media_type: str, name: str, expires: int) -> str:
    said = msgspec.json.encode([str(brand_id), sha256, media_type, name, expires])
    return base64.urlsafe_b64encode(hmac.digest(key, said, "sha256")).decode().rstrip("=")


def file_name(name: str) -> str:
    """A name that is one step of a path and fits into a header: no slashes, no control characters, not hidden."""
    told = "".join("_" if c in '/\\"' or not c.isprintable() else c for c in name).strip(" .")
    if len(told) <= NAME_LIMIT:
        return told or "file"
    stem, dot, ending = told.rpartition(".")
    return f"{stem[: NAME_LIMIT - 11]}.{ending}" if dot and len(ending) <= 10 else told[:NAME_LIMIT]
