"""Signatures of webhooks over the raw bytes, compared in constant time."""

import hashlib
import hmac
from collections.abc import Sequence

from shared.errors import BadSignature


def check_hmac_sha256(body: bytes, given: str, secrets: Sequence[str], *, prefix: str = "") -> None:
    """Raises BadSignature unless `given` is `prefix` and the hex HMAC-SHA256 of the body under one of the secrets."""
    if not given.startswith(prefix) or not given.isascii():
        raise BadSignature("the signature is missing or malformed", code="no_signature")
    digest = given[len(prefix) :]
    for secret in secrets:
        if hmac.compare_digest(hmac.digest(secret.encode(), body, hashlib.sha256).hex(), digest):
            return
    raise BadSignature("the signature does not fit any secret of this account", code="wrong_signature")
