"""Whether an account of Twilio's works, has its numbers, and where what comes to a number goes.

The account itself is asked with the token that signs webhooks, since an API key of the standard kind may not ask; the
numbers with what calls go out with. Where a WhatsApp sender's or a Messaging Service's messages go it does not say.
Source: Twilio, "Account", "IncomingPhoneNumber resource", "API keys", API version 2010-04-01.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import httpx

from shared.accounts import Account, Inbox
from shared.channels.registration import TO_DO, compared
from shared.channels.twilio import wire
from shared.checks import Check, Finding, skipped, well, wrong

# Which of a number's addresses a channel is called at; none: its numbers are no phone numbers of the account.
Calls = Literal["sms", "voice"] | None


def examine(http: httpx.AsyncClient, account: Account, hook_urls: Sequence[str], *, calls: Calls) -> list[Check]:
    """Of the account, then of each number."""
    checks = [Check("account", partial(_account, http, account))]
    if calls is None:
        return [*checks, Check("webhooks", _not_told)]
    return checks + [
        Check(f"number {inbox.address}", partial(_number, http, account, inbox, hook_urls, calls))
        for inbox in account.inboxes.values()
    ]


async def _account(http: httpx.AsyncClient, account: Account) -> Finding:
    status = (await wire.owner(http, account)).get("status")
    if status != "active":
        return wrong(
            f"the account is {status if status in ('suspended', 'closed') else 'not active'}", "ask the vendor"
        )
    return well("its token works, and it is active")


async def _not_told() -> Finding:
    return skipped("the vendor cannot be asked where a sender's messages go", "look at the senders in its console")


async def _number(
    http: httpx.AsyncClient, account: Account, inbox: Inbox, hook_urls: Sequence[str], calls: Literal["sms", "voice"]
) -> Finding:
    page = await wire.get(http, account, "IncomingPhoneNumbers.json", {"PhoneNumber": inbox.address})
    found = next((n for n in _numbers(page) if n.get("phone_number") == inbox.address), None)
    if found is None:
        return wrong("the account has no such number", "mend the inbox's address or the account, `dragoman apply`")
    if calls == "sms" and inbox.settings.get("messaging_service_sid"):
        return skipped("its Messaging Service says where messages go", "look at the service in the vendor's console")
    if found.get(f"{calls}_application_sid") or (calls == "voice" and found.get("trunk_sid")):
        return wrong("an application or a trunk takes what comes to it", f"remove that, and {TO_DO}")
    if found.get(f"{calls}_url") and found.get(f"{calls}_method") != "POST":
        return wrong("webhooks come by GET", "set the webhook's method to POST")
    return compared(str(found.get(f"{calls}_url") or ""), hook_urls)


def _numbers(page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = page.get("incoming_phone_numbers")
    return [number for number in found if isinstance(number, dict)] if isinstance(found, list) else []
