"""The signature of Twilio's webhooks, and the form that it is computed over.

It covers the address as Twilio called it, which is our public one, and every field, also those that we do not know.
Source: Twilio, "Webhooks security", with the vectors of its Python library 9.13.
"""

import hashlib
import hmac
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from urllib.parse import parse_qsl

from twilio.request_validator import RequestValidator

from shared.channels.contract import Hook
from shared.errors import BadPayload, BadSignature

HEADER = "x-twilio-signature"
FORM = "application/x-www-form-urlencoded"
# The vendor sends some forty.
MOST_FIELDS = 1000
ADDRESS = re.compile(r"(https?)://(\[[^\]]*\]|[^/?#:]*)(:\d+)?(.*)", re.DOTALL)
DEFAULT_PORTS = {"https": ":443", "http": ":80"}


class Fields(dict[str, list[str]]):
    """The fields of a request by name, each with its values in order; empty ones count."""

    def one(self, name: str) -> str:
        """The first value, empty where there is none."""
        values = self.get(name)
        return values[0] if values else ""

    def getlist(self, name: str) -> list[str]:
        """For the vendor's library."""
        return self[name]


def fields_of(hook: Hook) -> Fields:
    """What the request says: its form, or its query for a GET. Raises BadPayload where there are too many fields."""
    return _form(hook.body) if hook.method == "POST" else _gathered(hook.query)


# The check and the reader of one request both ask.
@lru_cache(maxsize=1)
def _form(body: bytes) -> Fields:
    text = body.decode("utf-8", "replace")
    try:
        return _gathered(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_FIELDS))
    except ValueError:
        raise BadPayload("the form has too many fields", code="too_many_fields") from None


def _gathered(pairs: Sequence[tuple[str, str]]) -> Fields:
    fields = Fields()
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def check(hook: Hook, tokens: Sequence[str]) -> None:
    """Raises BadSignature unless the request is signed with one of the account's tokens.

    A body that is no form is covered by its hash in the signed address.
    """
    given = hook.headers.get(HEADER, "")
    if not given or not given.isascii():
        raise BadSignature("the signature is missing or malformed", code="no_signature")
    signed = _signed_fields(hook)
    for token in tokens:
        validator = RequestValidator(token)
        for url in variants(hook.url):
            if hmac.compare_digest(validator.compute_signature(url, signed), given):
                return
    raise BadSignature("the signature does not fit any token of this account", code="wrong_signature")


def _signed_fields(hook: Hook) -> Fields:
    """What is signed after the address. Raises BadSignature where the body's hash is not the one in the address."""
    if hook.method != "POST":
        return Fields()
    wanted = hook.parameter("bodySHA256")
    if wanted and not hook.headers.get("content-type", "").startswith(FORM):
        found = hashlib.sha256(hook.body).hexdigest()
        if not hmac.compare_digest(found.encode(), wanted.lower().encode("utf-8", "replace")):
            raise BadSignature("the body is not the one that was signed", code="wrong_body_hash")
        return Fields()
    try:
        return fields_of(hook)
    except BadPayload as error:
        raise BadSignature("the form is none that the vendor signs", code=error.code) from None


def variants(url: str) -> Iterator[str]:
    """The forms of an address that the vendor may have signed: without a port, and with it (the scheme's if none).

    The library's own forms break addresses of IPv6.
    """
    match = ADDRESS.fullmatch(url)
    if match is None:
        yield url
        return
    scheme, host, port, rest = match.groups()
    yield f"{scheme}://{host}{rest}"
    yield f"{scheme}://{host}{port or DEFAULT_PORTS[scheme]}{rest}"
