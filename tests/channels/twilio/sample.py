"""What the suites need of Twilio's written channels: an account, its signature made by hand, forms."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import parse_qsl, urlencode
from uuid import UUID

from shared.accounts import Account, Inbox
from shared.channels.contract import Hook
from tests.channels.tables import HOOK_URL

ACCOUNT_SID = "AC00000000000000000000000000000001"
NUMBER = "+15550001111"
TOKEN = b"0123456789abcdef0123456789abcdef"
SENT_SID = "SM000000000000000000000000000000aa"


def an_inbox(channel: str, **settings: object) -> Inbox:
    return Inbox(
        id=UUID(int=2),
        brand_id=UUID(int=7),
        account_id=UUID(int=1),
        channel=channel,
        address=NUMBER,
        settings=settings,
    )


def an_account(channel: str) -> Account:
    """Its token is being changed: the next one is known already, the vendor still signs with the older."""
    return Account(
        id=UUID(int=1),
        channel=channel,
        settings={"account_sid": ACCOUNT_SID},
        secrets={"auth_token": ["fedcba9876543210fedcba9876543210", TOKEN.decode()]},
        inboxes={NUMBER: an_inbox(channel)},
    )


def sign(hook: Hook) -> Hook:
    """The request as the vendor sends it: a form to our public address with the request's query."""
    url = hook.url or (f"{HOOK_URL}?{urlencode(list(hook.query))}" if hook.query else HOOK_URL)
    values: dict[str, set[str]] = {}
    for name, value in pairs(hook.body) if hook.method == "POST" else ():
        values.setdefault(name, set()).add(value)
    text = url + "".join(name + value for name in sorted(values) for value in sorted(values[name]))
    digest = base64.b64encode(hmac.new(TOKEN, text.encode(), hashlib.sha1).digest()).decode()
    kind = "application/x-www-form-urlencoded; charset=utf-8"
    return replace(hook, url=url, headers={**hook.headers, "content-type": kind, "x-twilio-signature": digest})


def pairs(body: bytes) -> list[tuple[str, str]]:
    return parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)


def says_the_same(body: bytes, other: bytes) -> bool:
    return set(pairs(body)) == set(pairs(other))


def encode(body: object) -> bytes:
    """The fields of a form; what is no text (only a test makes such) as Python writes it."""
    if not isinstance(body, Mapping):
        return str(body).encode("utf-8", "replace")
    return urlencode([(name, str(value)) for name, value in body.items()], errors="surrogatepass").encode()
