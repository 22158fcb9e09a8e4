"""Whether an app and its pages work: each page's token, what the page sends the app, and where the app's webhooks go.

Source: Meta for Developers, "Page", "Page Subscribed Apps" and "App Subscriptions", Graph API v25.0.
"""

from collections.abc import Sequence
from functools import partial

import httpx

from shared.accounts import Account, Inbox
from shared.channels.messenger.outbound import RANGES, VERDICTS
from shared.channels.meta.examine import NO_APP_ID, entries, get, subscription
from shared.channels.meta.graph import Verdicts
from shared.checks import Check, Finding, well, wrong

# Without these nothing comes in, or an answer made in the page's own inbox is never seen.
FIELDS = frozenset({"messages", "message_echoes", "messaging_postbacks", "message_deliveries", "message_reads"})
ANSWERS = Verdicts(VERDICTS, RANGES)


def examine(http: httpx.AsyncClient, account: Account, hook_urls: Sequence[str]) -> list[Check]:
    """Of the app, then of each page."""
    webhooks = partial(subscription, http, account, hook_urls, ANSWERS, product="page", fields=FIELDS)
    checks = [Check("webhooks", webhooks)]
    for inbox in account.inboxes.values():
        checks.append(Check(f"page {inbox.address}", partial(_page, http, account, inbox)))
        checks.append(Check(f"webhooks of page {inbox.address}", partial(_subscribed, http, account, inbox)))
    return checks


async def _page(http: httpx.AsyncClient, account: Account, inbox: Inbox) -> Finding:
    """A page's token is that page's alone, so `me` must be the page."""
    token = account.secret(f"page_token:{inbox.address}")
    found = await get(http, account, "me", token, ANSWERS, fields="id")
    if found.get("id") != inbox.address:
        return wrong("its token belongs to another page or person", "make a page token of this page, `dragoman apply`")
    return well("its token works")


async def _subscribed(http: httpx.AsyncClient, account: Account, inbox: Inbox) -> Finding:
    app_id = account.settings.get("app_id")
    if not app_id:
        return NO_APP_ID
    token = account.secret(f"page_token:{inbox.address}")
    apps = entries(await get(http, account, f"{inbox.address}/subscribed_apps", token, ANSWERS))
    ours = next((app for app in apps if str(app.get("id")) == str(app_id)), None)
    to_do = "subscribe the page to the app and its fields in the app's dashboard, under Messenger"
    if ours is None:
        return wrong("the page is not subscribed to the app", to_do)
    named = ours.get("subscribed_fields")
    if missing := sorted(FIELDS - set(named if isinstance(named, list) else ())):
        return wrong(f"the page does not send {', '.join(missing)}", to_do)
    return well("the page sends its events to the app")
