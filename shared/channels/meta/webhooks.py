"""Webhooks of a Meta app: the handshake, the signature, and batches of which one bad item holds nobody back.

Source: Meta for Developers, "Webhooks - Getting started, Validating payloads", Graph API v25.0.
"""

import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from shared.accounts import Account
from shared.channels.contract import Answer, BadItem, Hook, Item, Received
from shared.channels.signatures import check_hmac_sha256
from shared.channels.text import clean, read_json, write_json
from shared.errors import BadPayload, BadSignature

TAKEN = Answer(200, b"EVENT_RECEIVED")
# The vendor gathers a thousand at most; every item holds up the others' requests for some twenty microseconds.
MOST_ITEMS = 2000
# Numbers above this are milliseconds; both units have been seen in either place.
MILLISECONDS_FROM = 10**12


def verify(hook: Hook, account: Account) -> None:
    """Raises BadSignature. GET is the handshake with the verify token, POST is signed by the app's secret."""
    if hook.method == "GET":
        given = hook.parameter("hub.verify_token").encode("utf-8", "replace")
        tokens = account.secrets.get("verify_token", ())
        if hook.parameter("hub.mode") != "subscribe" or not any(
            hmac.compare_digest(given, token.encode()) for token in tokens
        ):
            raise BadSignature("the verify token is not this account's", code="wrong_verify_token")
        return
    check_hmac_sha256(
        hook.body, hook.headers.get("x-hub-signature-256", ""), account.secrets.get("app_secret", ()), prefix="sha256="
    )


def received(hook: Hook, product: str, items_of: Callable[[Any], Iterable[Item | BadItem]]) -> Received:
    """The challenge of a handshake, else the items of every entry of this product's batch.

    Raises BadPayload where the whole body is unreadable.
    """
    if hook.method == "GET":
        # The challenge as it came, without the quotes that JSON would put round it.
        return Received((), Answer(200, clean(hook.parameter("hub.challenge")).encode()))
    body = read_json(hook.body)
    if not isinstance(body, dict):
        raise BadPayload("the body is not an object", code="not_an_object")
    if body.get("object") != product:
        # One callback URL may serve several products of the app; the others are not ours.
        return Received((), TAKEN)
    entries = body.get("entry")
    if not isinstance(entries, list):
        raise BadPayload("the body has no list of entries", code="no_entries")
    items = list(islice((item for entry in entries for item in items_of(entry)), MOST_ITEMS + 1))
    if len(items) > MOST_ITEMS:
        raise BadPayload(f"the batch has more than {MOST_ITEMS} items", code="too_many_items")
    return Received(items, TAKEN)


def guarded(address: str | None, raw: Any, read: Callable[[bytes], Iterable[Item]]) -> Sequence[Item | BadItem]:
    """What `read` makes of an item's bytes; where it breaks the documented form, the item as it came."""
    encoded = write_json(raw)
    try:
        return list(read(encoded))
    except BadPayload as error:
        return [BadItem(encoded, error.code, str(error), address)]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError) as error:
        # Only the class: the text may quote the customer.
        text = f"the item breaks the documented form: {type(error).__name__}"
        return [BadItem(encoded, "broken_item", text, address)]


def text_of(value: Any) -> str:
    """Storable. Raises BadPayload for anything but a text."""
    if not isinstance(value, str):
        raise BadPayload("a text is not a text", code="not_text")
    return clean(value)


def list_of(value: Any) -> list[Any]:
    """Empty where there is none. Raises BadPayload for anything but a list."""
    if not isinstance(value, list | None):
        raise BadPayload("a list is not a list", code="not_list")
    return value or []


def instant(value: Any) -> datetime:
    """Of seconds or milliseconds, as a number or a text. Raises ValueError, TypeError, OverflowError, OSError."""
    number = int(value)
    return datetime.fromtimestamp(number / 1000 if number >= MILLISECONDS_FROM else number, UTC)
