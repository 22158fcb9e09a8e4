"""Whether a token reaches its numbers, and whether their business accounts' webhooks come to us.

Source: Meta's OpenAPI of the WhatsApp Business Platform (phone number, subscribed apps), "App Subscriptions", v25.0.
"""

from collections.abc import Sequence
from functools import partial

import httpx

from shared.accounts import Account
from shared.channels.meta.examine import NO_APP_ID, entries, get, subscription
from shared.channels.whatsapp.media import TOKEN
from shared.channels.whatsapp.verdicts import VERDICTS
from shared.checks import Check, Finding, skipped, warning, well, wrong

FIELDS = frozenset({"messages"})
# The setting of an inbox that names the business account of its number.
BUSINESS_ACCOUNT = "business_account"


def examine(http: httpx.AsyncClient, account: Account, hook_urls: Sequence[str]) -> list[Check]:
    """Of the app, then of each number, then of each business account that an inbox names."""
    product = "whatsapp_business_account"
    webhooks = partial(subscription, http, account, hook_urls, VERDICTS, product=product, fields=FIELDS)
    numbers = [Check(f"number {address}", partial(_number, http, account, address)) for address in account.inboxes]
    named = [inbox.settings.get(BUSINESS_ACCOUNT) for inbox in account.inboxes.values()]
    subscribed = [
        Check(f"webhooks of business account {id_}", partial(_subscribed, http, account, str(id_)))
        for id_ in sorted({str(one) for one in named if one})
    ]
    unknown = [Check("webhooks of other business accounts", _not_asked)] if not all(named) else []
    return [Check("webhooks", webhooks), *numbers, *subscribed, *unknown]


async def _number(http: httpx.AsyncClient, account: Account, number: str) -> Finding:
    """Beside that it answers, what people think of its messages: a red number is soon limited."""
    found = await get(http, account, number, account.secret(TOKEN), VERDICTS)
    if found.get("quality_rating") == "RED":
        return warning("the vendor rates its messages as low", "look at it in the WhatsApp manager")
    return well("the token reaches it")


async def _subscribed(http: httpx.AsyncClient, account: Account, business_account: str) -> Finding:
    app_id = account.settings.get("app_id")
    if not app_id:
        return NO_APP_ID
    answer = await get(http, account, f"{business_account}/subscribed_apps", account.secret(TOKEN), VERDICTS)
    apps = [entry.get("whatsapp_business_api_data") for entry in entries(answer)]
    if str(app_id) in {str(app.get("id")) for app in apps if isinstance(app, dict)}:
        return well("it sends its events to the app")
    return wrong("it is not subscribed to the app", "POST to its `subscribed_apps`, as the channel's page says")


async def _not_asked() -> Finding:
    return skipped("some were not asked", f"add `{BUSINESS_ACCOUNT}` to the settings of the inboxes")
