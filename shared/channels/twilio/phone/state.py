"""What a call's webhooks need to know, sealed in their own addresses: no step of a call asks a database.

Sealed with a key that derives from the account's auth token, and so unreadable in the vendor's logs as well.
"""

import base64
import hmac
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlencode

import msgspec
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from shared.accounts import Account
from shared.channels.twilio.wire import AUTH_TOKEN, tokens
from shared.errors import BadPayload

# The vendor tries again where we do not answer; this part of an address is its own and not signed.
AGAIN = "#rc=2&rp=5xx,ct,rt"


class CallState(msgspec.Struct, frozen=True, kw_only=True, rename={
    "reference": "r", "line": "f", "customer": "t", "whisper": "w", "language": "l",
}):  # fmt: skip
    """Our call's id, the line's number, the customer's, what the agent hears, and in which language."""

    reference: str
    line: str
    customer: str
    whisper: str
    language: str


def seal(state: CallState, account: Account) -> str:
    """Raises InboxMisconfigured for an account without a token."""
    return _key(account.secret(AUTH_TOKEN)).encrypt(msgspec.json.encode(state)).decode()


def unseal(sealed: str, account: Account) -> CallState:
    """Raises BadPayload for what we did not seal."""
    return _opened(sealed, tuple(tokens(account)))


# All webhooks of a call bring the same.
@lru_cache(maxsize=1000)
def _opened(sealed: str, tokens: Sequence[str]) -> CallState:
    keys = [_key(token) for token in tokens]
    if not keys:
        raise BadPayload("the account has no token to open the call's state with", code="bad_state")
    try:
        return msgspec.json.decode(MultiFernet(keys).decrypt(sealed.encode("utf-8", "replace")), type=CallState)
    except (InvalidToken, msgspec.DecodeError):
        raise BadPayload("the call's state is not one of ours", code="bad_state") from None


def _key(token: str) -> Fernet:
    return Fernet(base64.urlsafe_b64encode(hmac.digest(token.encode(), b"state of a call", "sha256")))


def address_of(hook_url: str, step: str, sealed: str) -> str:
    """Where the vendor goes at a step of the call."""
    return f"{hook_url}?{urlencode({'step': step, 'call': sealed})}{AGAIN}"
