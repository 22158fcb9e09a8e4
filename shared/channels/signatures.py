"""Signatures of webhooks over the raw bytes, compared in constant time."""

import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from shared.errors import BadSignature


def check_hmac_sha256(body: bytes, given: str, secrets: Sequence[str], *, prefix: str = "") -> None:
    """Raises BadSignature unless `given` is `prefix` and the hex HMAC-SHA256 of the body under one of the secrets."""
    if not given.startswith(prefix) or not given.isascii():
        raise BadSignature("the signature is missing or malformed", code="no_signature")
    digest = given[len(prefix) :]
    for secret in secrets:
        if hmac.compare_digest(mac(secret, body, "sha256").hex(), digest):
            return
    raise BadSignature("the signature does not fit any secret of this account", code="wrong_signature")


def mac(secret: str, text: bytes, digest: Literal["sha1", "sha256"]) -> bytes:
    """The HMAC of a text. Its key is set up once: for a webhook that would cost more than the text does."""
    begun = _keyed(secret, digest).copy()
    begun.update(text)
    return begun.digest()


@lru_cache(maxsize=1000)
def _keyed(secret: str, digest: str) -> hmac.HMAC:
    return hmac.new(secret.encode(), digestmod=digest)
