"""Twilio's wire as its owner sees it: errors, signatures, who may call, how a webhook's address says what to do.

Source: Twilio, "Webhooks security", "Webhooks: connection overrides", "Error and warning dictionary", 2010-04-01.
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from services.sandbox.behaviour import Refusal

VERSION = "2010-04-01"
FORM = "application/x-www-form-urlencoded"
STATUSES = {20003: 401, 20404: 404, 20429: 429, 20500: 500, 20503: 503}


class TwilioError(Refusal):
    """The vendor's error document."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message
        self.status = STATUSES.get(code, 400)
        self.verdict = str(code)

    def body(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "message": self.message,
            "more_info": f"https://www.twilio.com/docs/errors/{self.code}",
            "status": self.status,
        }


def basic(header: str) -> tuple[str, str]:
    """User and password of an Authorization header; empty where it is none."""
    scheme, _, encoded = header.partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return (user, password) if scheme.lower() == "basic" and colon else ("", "")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a webhook goes, and how often it is tried after it failed: what the fragment of its address says."""

    url: str
    retries: int
    after: frozenset[str]

    @classmethod
    def of(cls, address: str) -> "Target":
        """By itself the vendor tries once more, and only where it could not connect."""
        parts = urlsplit(address)
        said = dict(parse_qsl(parts.fragment))
        after = frozenset(said.get("rp", "ct").split(","))
        return cls(urlunsplit(parts._replace(fragment="")), min(int(said.get("rc", "1")), 5), after)

    def again(self, status: int | None) -> bool:
        """Whether it is tried again after this status; None where nobody answered."""
        kind = "ct" if status is None else f"{status // 100}xx"
        return (status is None or status >= 400) and bool({kind, "all"} & self.after)

    def without_port(self) -> str:
        """The vendor signs some requests for the address without its port."""
        parts = urlsplit(self.url)
        host = parts.hostname or ""
        return urlunsplit(parts._replace(netloc=f"[{host}]" if ":" in host else host))


def signature(token: str, url: str, fields: Mapping[str, str | Sequence[str]]) -> str:
    """Of a form that goes to the address."""
    text = url
    for name in sorted(fields):
        value = fields[name]
        text += "".join(name + each for each in sorted({value} if isinstance(value, str) else set(value)))
    return base64.b64encode(hmac.new(token.encode(), text.encode(), hashlib.sha1).digest()).decode()
