"""The signature of Twilio's webhooks, and the form that it is computed over.

It covers the address as Twilio called it, which is our public one, and every field, also those that we do not know.
The vendor's library is what the tests compare with: it breaks addresses of IPv6 and an unexpected JSON body, and puts
the text together anew for each token and each form of the address.
Source: Twilio, "Webhooks security", with the vectors of its Python library 9.13.
"""

import hashlib
import hmac
import re
from binascii import b2a_base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from urllib.parse import parse_qsl

import msgspec

from shared.channels.contract import Hook
from shared.channels.signatures import mac
from shared.errors import BadPayload, BadSignature

HEADER = "x-twilio-signature"
FORM = "application/x-www-form-urlencoded"
# The vendor sends some forty.
MOST_FIELDS = 1000
ADDRESS = re.compile(r"(https?)://(\[[^\]]*\]|[^/?#:]*)(:\d+)?(.*)", re.DOTALL)
DEFAULT_PORTS = {"https": ":443", "http": ":80"}


class Fields(msgspec.Struct, frozen=True):
    """The fields of a request by name, each with its first value; empty ones count.

    `signed` has all names and values as the vendor signs them: in order, each value of a name once.
    """

    first: Mapping[str, str]
    signed: str

    def one(self, name: str) -> str:
        """The first value, empty where there is none."""
        return self.first.get(name, "")


def fields_of(hook: Hook) -> Fields:
    """What the request says: its form, or its query for a GET. Raises BadPayload where there are too many fields."""
    return _form(hook.body) if hook.method == "POST" else _gathered(hook.query)


_read_object = msgspec.json.Decoder(dict[str, str]).decode


# The check and the reader of one request both ask.
@lru_cache(maxsize=1)
def _form(body: bytes) -> Fields:
    """As `urllib.parse.parse_qsl` reads it, in a quarter of its time: most of a webhook's cost would be this.

    A form is rewritten as the object in JSON that it would be, whose reader finds whatever is unusual about it.
    """
    count = body.count(b"&") + 1
    if count > MOST_FIELDS:
        raise BadPayload("the form has too many fields", code="too_many_fields")
    # As they are these would be JSON's own marks; browsers and the vendor escape them.
    if body.isascii() and b'"' not in body and b"\\" not in body:
        text = body.replace(b"+", b" ").replace(b"&", b'","').replace(b"=", b'":"').replace(b"%", b"\\u00")
        try:
            first = _read_object(b'{"%b"}' % text)
        except msgspec.DecodeError:
            first = {}
        signed = _in_order(first) if len(first) == count else ""
        if not signed.isascii():
            first = _as_utf8(first)
            signed = _in_order(first)
        if len(first) == count:
            return Fields(first, signed)
    # Names that are repeated, an equals sign in a value, a broken escape: what the vendor seldom sends.
    return _gathered(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True))


def _in_order(fields: Mapping[str, str]) -> str:
    """Of at least one field."""
    values, text = _pattern(tuple(fields))
    return text % values(fields)


# The vendor's forms are few.
@lru_cache(maxsize=16)
def _pattern(names: Sequence[str]) -> tuple[Callable[[Mapping[str, str]], Sequence[str]], str]:
    """What gives the values in order, and the text of the names that they are put into."""
    in_order = sorted(names)
    return itemgetter(*in_order), "".join(name.replace("%", "%%") + "%s" for name in in_order)


def _as_utf8(fields: Mapping[str, str]) -> dict[str, str]:
    """Each escape became a character of its own; together they are UTF-8."""
    return {
        name.encode("latin-1").decode("utf-8", "replace"): value.encode("latin-1").decode("utf-8", "replace")
        for name, value in fields.items()
    }


def _gathered(pairs: Iterable[tuple[str, str]]) -> Fields:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    signed = "".join(name + value for name in sorted(values) for value in sorted(set(values[name])))
    return Fields({name: found[0] for name, found in values.items()}, signed)


def check(hook: Hook, tokens: Sequence[str]) -> None:
    """Raises BadSignature unless the request is signed with one of the account's tokens.

    A body that is no form is covered by its hash in the signed address.
    """
    given = hook.headers.get(HEADER, "")
    if not given or not given.isascii():
        raise BadSignature("the signature is missing or malformed", code="no_signature")
    text = _signed_text(hook)
    for token in tokens:
        for url in variants(hook.url):
            digest = mac(token, (url + text).encode(), "sha1")
            if hmac.compare_digest(b2a_base64(digest, newline=False), given.encode()):
                return
    raise BadSignature("the signature does not fit any token of this account", code="wrong_signature")


def _signed_text(hook: Hook) -> str:
    """What is signed after the address. Raises BadSignature where the body's hash is not the one in the address."""
    if hook.method != "POST":
        return ""
    wanted = hook.parameter("bodySHA256") if hook.query else ""
    if wanted and not hook.headers.get("content-type", "").startswith(FORM):
        found = hashlib.sha256(hook.body).hexdigest()
        if not hmac.compare_digest(found.encode(), wanted.lower().encode("utf-8", "replace")):
            raise BadSignature("the body is not the one that was signed", code="wrong_body_hash")
        return ""
    try:
        return fields_of(hook).signed
    except BadPayload as error:
        raise BadSignature("the form is none that the vendor signs", code=error.code) from None


@lru_cache(maxsize=1000)
def variants(url: str) -> Sequence[str]:
    """The forms of an address that the vendor may have signed: without a port, and with it (the scheme's if none)."""
    match = ADDRESS.fullmatch(url)
    if match is None:
        return (url,)
    scheme, host, port, rest = match.groups()
    return (f"{scheme}://{host}{rest}", f"{scheme}://{host}{port or DEFAULT_PORTS[scheme]}{rest}")
