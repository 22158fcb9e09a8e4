"""Secrets of accounts at rest: Fernet with several keys, so that keys can be rotated."""

import base64
import hmac
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.errors import InboxMisconfigured


class Vault:
    """Seals with the first key, opens with any."""

    def __init__(self, keys: Sequence[str]) -> None:
        if not keys:
            raise InboxMisconfigured("DRAGOMAN_SECRET_KEYS is empty: secrets cannot be kept", code="no_secret_keys")
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._keys = [base64.urlsafe_b64decode(key) for key in keys]

    def seal(self, text: str) -> bytes:
        return self._fernet.encrypt(text.encode())

    def open(self, sealed: bytes) -> str:
        """Raises InboxMisconfigured where no key fits."""
        try:
            return self._fernet.decrypt(sealed).decode()
        except InvalidToken:
            raise InboxMisconfigured("no key of DRAGOMAN_SECRET_KEYS opens a stored secret", code="wrong_key") from None

    def derived(self, purpose: str) -> tuple[bytes, ...]:
        """A key of its own for each of the keys, newest first: what it signs tells nothing about the others."""
        return tuple(hmac.digest(key, purpose.encode(), "sha256") for key in self._keys)


def key_file(path: Path) -> str:
    """The embedded default's key: made at the first start, readable by its owner only."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(Fernet.generate_key())
    return path.read_text()
