"""An account and its phone numbers as the vendor shows them, whichever of its products is asked.

Source: Twilio, "Account", "IncomingPhoneNumber resource", API version 2010-04-01.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

VERSION = "2010-04-01"
PAGE_SIZE = 50
Resource = dict[str, Any]


def account_shown(sid: str, token: str, now: datetime) -> Resource:
    """With its token in it, as the vendor gives it."""
    at, uri = format_datetime(now), f"/{VERSION}/Accounts/{sid}"
    return {
        "auth_token": token, "date_created": at, "date_updated": at, "friendly_name": "Dragoman",
        "owner_account_sid": sid, "sid": sid, "status": "active", "type": "Full", "uri": f"{uri}.json",
        "subresource_uris": {"messages": f"{uri}/Messages.json", "calls": f"{uri}/Calls.json"},
    }  # fmt: skip


def numbers_shown(
    account: str, numbers: Mapping[str, Mapping[str, str]], query: Mapping[str, str], now: datetime
) -> Resource:
    """The first page of those that the query asks for; each number with what its owner set on it."""
    found = [_number(account, number, set_, now) for number, set_ in numbers.items()]
    page = [each for each in found if query.get("PhoneNumber", each["phone_number"]) == each["phone_number"]]
    path = f"/{VERSION}/Accounts/{account}/IncomingPhoneNumbers.json"
    uri = f"{path}?{urlencode({**query, 'PageSize': PAGE_SIZE, 'Page': 0})}"
    return {
        "end": max(len(page) - 1, 0), "first_page_uri": uri, "incoming_phone_numbers": page[:PAGE_SIZE],
        "next_page_uri": None, "page": 0, "page_size": PAGE_SIZE, "previous_page_uri": None, "start": 0, "uri": uri,
    }  # fmt: skip


def _number(account: str, number: str, set_: Mapping[str, str], now: datetime) -> Resource:
    at, sid = format_datetime(now), f"PN{hashlib.md5(number.encode(), usedforsecurity=False).hexdigest()}"
    return {
        "account_sid": account, "address_requirements": "none", "address_sid": None, "api_version": VERSION,
        "beta": False, "bundle_sid": None, "capabilities": {"fax": False, "mms": True, "sms": True, "voice": True},
        "date_created": at, "date_updated": at, "emergency_address_sid": None,
        "emergency_address_status": "unregistered", "emergency_status": "Inactive", "friendly_name": number,
        "identity_sid": None, "origin": "twilio", "phone_number": number, "sid": sid, "sms_application_sid": None,
        "sms_fallback_method": "POST", "sms_fallback_url": "", "sms_method": "POST", "sms_url": "",
        "status": "in-use", "status_callback": "", "status_callback_method": "POST", "trunk_sid": None,
        "type": "local", "uri": f"/{VERSION}/Accounts/{account}/IncomingPhoneNumbers/{sid}.json",
        "voice_application_sid": None, "voice_caller_id_lookup": False, "voice_fallback_method": "POST",
        "voice_fallback_url": "", "voice_method": "POST", "voice_receive_mode": "voice", "voice_url": "", **set_,
    }  # fmt: skip
