"""What all of Twilio's products share: whose account it is, how a call goes out, what each error means.

Account settings: `account_sid`; `api_url` where it is not the vendor's own (a region, a stand-in); `api_key_sid` where
calls use an API key. Secrets: `auth_token`, which also signs webhooks, and `api_key_secret` beside an API key.
Source: Twilio, "REST API: Requests", "Error and warning dictionary", API version 2010-04-01.
"""

import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from shared.accounts import Account
from shared.channels.http import calling, error_of_status, retry_after
from shared.errors import (
    AccountBroken,
    DragomanError,
    InboxBroken,
    InboxMisconfigured,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
    WindowClosed,
)

DEFAULT_URL = "https://api.twilio.com"
VERSION = "2010-04-01"
LONGEST_CODE = 30
AUTH_TOKEN = "auth_token"  # noqa: S105 - the name of a secret, not a secret
API_KEY_SECRET = "api_key_secret"  # noqa: S105

# A value may be a list: its name is then repeated.
Form = Mapping[str, str | Sequence[str]]
Verdict = type[DragomanError]

# What the vendor's code means, whether it comes as an answer or later in a callback.
VERDICTS: Mapping[int, tuple[Verdict, str]] = {
    20003: (AccountBroken, "credentials_refused"),
    20005: (AccountBroken, "account_not_active"),
    20403: (AccountBroken, "forbidden"),
    20404: (AccountBroken, "no_such_resource"),
    20429: (Throttled, "rate_limit"),
    20500: (OutcomeUnknown, "vendor_trouble"),
    20503: (OutcomeUnknown, "vendor_trouble"),
    21203: (Rejected, "country_not_enabled"),
    21205: (AccountBroken, "bad_callback_address"),
    21210: (InboxBroken, "bad_sender"),
    21211: (Rejected, "bad_number"),
    21212: (InboxBroken, "bad_sender"),
    21214: (Rejected, "bad_number"),
    21215: (Rejected, "country_not_enabled"),
    21216: (Rejected, "blocked"),
    21217: (Rejected, "bad_number"),
    21219: (Rejected, "number_not_verified"),
    21220: (Rejected, "over_already"),
    21408: (Rejected, "country_not_enabled"),
    21602: (Rejected, "empty_message"),
    21603: (InboxBroken, "bad_sender"),
    21606: (InboxBroken, "bad_sender"),
    21609: (AccountBroken, "bad_callback_address"),
    21610: (Rejected, "opted_out"),
    21611: (Throttled, "queue_full"),
    21612: (Rejected, "unreachable_from_this_number"),
    21614: (Rejected, "not_a_mobile_number"),
    21616: (InboxBroken, "bad_sender"),
    21617: (Rejected, "text_too_long"),
    21619: (Rejected, "empty_message"),
    21620: (Rejected, "attachment_refused"),
    21654: (Rejected, "bad_template"),
    21655: (Rejected, "bad_template"),
    21656: (Rejected, "bad_template"),
    21701: (InboxBroken, "bad_messaging_service"),
    21702: (InboxBroken, "bad_messaging_service"),
    21703: (InboxBroken, "bad_messaging_service"),
    21704: (InboxBroken, "bad_messaging_service"),
    21705: (InboxBroken, "bad_messaging_service"),
    21910: (Rejected, "other_channel"),
    30001: (Throttled, "queue_full"),
    30002: (AccountBroken, "account_not_active"),
    30003: (Rejected, "phone_unreachable"),
    30004: (Rejected, "blocked"),
    30005: (Rejected, "no_such_phone"),
    30006: (Rejected, "not_a_mobile_number"),
    30007: (Rejected, "filtered_by_carrier"),
    30008: (Rejected, "unknown_to_carrier"),
    30017: (Rejected, "carrier_congested"),
    30022: (Throttled, "carrier_limit"),
    30023: (Throttled, "carrier_limit"),
    30027: (Throttled, "carrier_limit"),
    30032: (InboxBroken, "number_not_registered"),
    30034: (InboxBroken, "number_not_registered"),
    63001: (InboxBroken, "sender_not_authorised"),
    63002: (InboxBroken, "bad_sender"),
    63003: (Rejected, "not_on_whatsapp"),
    63005: (Rejected, "content_refused"),
    63006: (Rejected, "content_refused"),
    63007: (InboxBroken, "bad_sender"),
    63008: (InboxBroken, "sender_not_authorised"),
    63009: (OutcomeUnknown, "vendor_trouble"),
    63010: (OutcomeUnknown, "vendor_trouble"),
    63012: (OutcomeUnknown, "vendor_trouble"),
    63013: (Rejected, "against_policy"),
    63014: (Rejected, "blocked"),
    63015: (Rejected, "not_joined_the_trial"),
    63016: (WindowClosed, "window_closed"),
    63017: (Throttled, "rate_limit"),
    63018: (Throttled, "rate_limit"),
    63019: (Rejected, "attachment_unreachable"),
    63020: (InboxBroken, "sender_not_authorised"),
    63021: (Rejected, "content_refused"),
    63024: (Rejected, "bad_number"),
    63027: (Rejected, "bad_template"),
    63028: (Rejected, "bad_template"),
    63030: (Rejected, "content_refused"),
    63032: (Rejected, "limited_by_whatsapp"),
    63033: (Rejected, "blocked"),
    63034: (Rejected, "attachment_refused"),
    63036: (Rejected, "phone_unreachable"),
    63038: (Throttled, "carrier_limit"),
    63040: (Rejected, "bad_template"),
    63041: (Rejected, "bad_template"),
    63049: (Rejected, "withheld_by_whatsapp"),
    63051: (InboxBroken, "sender_locked"),
}


def account_sid(account: Account) -> str:
    """Raises InboxMisconfigured where the account does not name it."""
    sid = account.settings.get("account_sid")
    if not isinstance(sid, str) or not sid:
        raise InboxMisconfigured(f"account {account.id} has no setting `account_sid`", code="no_account_sid")
    return sid


def tokens(account: Account) -> Sequence[str]:
    """The tokens that sign webhooks: two while one is being changed."""
    return account.secrets.get(AUTH_TOKEN, ())


def api_host(account: Account) -> str:
    """The host, and the port where it has one, that calls go to; credentials are its alone."""
    return urlsplit(_api_url(account)).netloc


def resource(account: Account, path: str) -> str:
    """The address of a resource of the account, e.g. `Messages.json`. Raises InboxMisconfigured."""
    return f"{_api_url(account)}/{VERSION}/Accounts/{account_sid(account)}/{path}"


def authorization(account: Account) -> dict[str, str]:
    """The header of a call: an API key where there is one, else the account itself. Raises InboxMisconfigured."""
    key = account.settings.get("api_key_sid")
    if key:
        return _basic(str(key), account.secret(API_KEY_SECRET))
    return _basic(account_sid(account), account.secret(AUTH_TOKEN))


def _basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def post(http: httpx.AsyncClient, account: Account, path: str, form: Form) -> dict[str, Any]:
    """What the vendor made of it. Raises what `error_of` says; OutcomeUnknown where nobody can tell."""
    headers, url = authorization(account), resource(account, path)
    with calling():
        response = await http.post(url, data=dict(form), headers=headers)
    if response.status_code not in (200, 201):
        raise error_of(response)
    return _object(response)


async def get(
    http: httpx.AsyncClient, account: Account, path: str, query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """A resource as it is. Raises what `error_of` says; Unavailable where the vendor is in trouble."""
    return await _get(http, resource(account, path), authorization(account), query)


async def owner(http: httpx.AsyncClient, account: Account) -> dict[str, Any]:
    """The account itself, asked with its own token, and with that token in the answer. Raises as `get` does."""
    url = f"{_api_url(account)}/{VERSION}/Accounts/{account_sid(account)}.json"
    return await _get(http, url, _basic(account_sid(account), account.secret(AUTH_TOKEN)))


async def follow(http: httpx.AsyncClient, account: Account, uri: str) -> dict[str, Any]:
    """The next page of a list, by the address that the vendor gives, which begins at the root. Raises as `get` does."""
    if not uri.startswith("/"):
        raise Unavailable("the vendor's list goes on at another host", code="unreadable_list")
    return await _get(http, _api_url(account) + uri, authorization(account))


async def _get(
    http: httpx.AsyncClient, url: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None
) -> dict[str, Any]:
    with calling(sent=False):
        response = await http.get(url, params=query, headers=headers)
    if response.status_code != 200:
        raise error_of(response, sent=False)
    return _object(response)


def error_of(response: httpx.Response, *, sent: bool = True) -> DragomanError:
    """The vendor's code decides, the status only where there is none that we know.

    A server that fails leaves it open whether it took the request (`sent`), whatever its code says.
    """
    code = _object(response).get("code")
    known = VERDICTS.get(code) if isinstance(code, int) else None
    if known is None or not 400 <= response.status_code < 500:
        found = error_of_status(response, sent=sent)
        # The code is what people look up at the vendor's.
        named = isinstance(code, int) and isinstance(found, Rejected)
        return Rejected(f"the vendor answered {code}", code=f"error_{code}"[:LONGEST_CODE]) if named else found
    verdict, reason = known
    text = f"the vendor answered {code}: {reason}"
    if issubclass(verdict, Throttled):
        return Throttled(text, code=reason, retry_after=retry_after(response))
    return verdict(text, code=reason)


def reason_of(code: str) -> str:
    """Our word for the error code of a callback, which comes as text; `error_` and the code for one without a word."""
    known = VERDICTS.get(int(code)) if code.isascii() and code.isdigit() and len(code) < 10 else None
    return known[1] if known else f"error_{code}"[:LONGEST_CODE]


def _api_url(account: Account) -> str:
    return str(account.settings.get("api_url") or DEFAULT_URL).rstrip("/")


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(response.content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
