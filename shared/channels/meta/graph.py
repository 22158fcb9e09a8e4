"""Calls of the Graph API: where they go, what an answer holds, and what its error codes mean.

Source: Meta for Developers, "Graph API - Error handling, Rate limits", v25.0.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec

from shared.accounts import Account
from shared.channels.http import error_of_status, retry_after
from shared.errors import AccountBroken, DragomanError, OutcomeUnknown, Throttled, Unavailable

DEFAULT_URL = "https://graph.facebook.com"
DEFAULT_VERSION = "v25.0"

Verdict = tuple[type[DragomanError], str]
# The vendor's (code, subcode); None stands for every other one.
Codes = Mapping[tuple[int | None, int | None], Verdict]
# What every product may answer.
COMMON: Codes = {
    (190, None): (AccountBroken, "token_invalid"),
    (613, None): (Throttled, "rate_limit"),
    (4, None): (Throttled, "rate_limit"),
    (17, None): (Throttled, "rate_limit"),
    (32, None): (Throttled, "rate_limit"),
    # Documented to come although the message was sent.
    (1, None): (OutcomeUnknown, "vendor_trouble"),
    (2, None): (OutcomeUnknown, "vendor_trouble"),
}


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What a product's error codes lead to; a range holds for those of its codes that have no line of their own."""

    codes: Codes
    ranges: Mapping[range, Verdict] = field(default_factory=dict)

    def of(self, code: int | None, subcode: int | None = None) -> Verdict | None:
        """The most specific line; None for a code that we do not know."""
        found = self.codes.get((code, subcode)) or self.codes.get((None, subcode)) or self.codes.get((code, None))
        return found or next((verdict for codes, verdict in self.ranges.items() if code in codes), None)


def root(account: Account) -> str:
    """The API's address at the account's version; calls without one fall to the oldest."""
    return f"{account.settings.get('graph_url', DEFAULT_URL)}/{account.settings.get('graph_version', DEFAULT_VERSION)}"


def bearer(token: str) -> dict[str, str]:
    """In a header: what stands in a query ends up in logs."""
    return {"Authorization": f"Bearer {token}"}


def answer_of(response: httpx.Response, verdicts: Verdicts, *, sent: bool = True) -> dict[str, Any]:
    """The object of a good answer. Raises what `verdicts` says of an error, also inside a 200.

    `sent` says that the request would have had an effect: trouble then leaves it unknown.
    """
    answer = _object(response)
    if "error" in answer:
        raise _verdict(answer["error"], response, verdicts, sent)
    if response.status_code != 200:
        raise error_of_status(response, sent=sent)
    return answer


def number(value: Any) -> int | None:
    """A code as it should be, None for anything else."""
    return value if isinstance(value, int) else None


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(response.content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _verdict(error: Any, response: httpx.Response, verdicts: Verdicts, sent: bool) -> DragomanError:
    """The vendor's code decides; the status only where there is no code that we know."""
    details = error if isinstance(error, dict) else {}
    code, subcode = number(details.get("code")), number(details.get("error_subcode"))
    found = verdicts.of(code, subcode)
    if found is None:
        return error_of_status(response, sent=sent)
    verdict, reason = found
    text = f"the vendor answered {code}/{subcode}: {reason}"
    if verdict is Throttled:
        return Throttled(text, code=reason, retry_after=retry_after(response))
    if verdict is OutcomeUnknown and not sent:
        return Unavailable(text, code=reason)
    return verdict(text, code=reason)
