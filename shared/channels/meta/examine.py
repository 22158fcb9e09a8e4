"""Whether an app of Meta's sends its webhooks to us.

Source: Meta for Developers, "App Subscriptions" (an app access token is needed) and "Access tokens", Graph API v25.0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from shared.accounts import Account
from shared.channels.http import calling
from shared.channels.meta.graph import Verdicts, answer_of, bearer, root
from shared.channels.registration import compared
from shared.checks import Finding, skipped, wrong

FIELDS_TO_DO = "subscribe to them in the app's dashboard, under Webhooks"
NO_APP_ID = skipped("the vendor was not asked whom it calls", "add `app_id` to the account's settings")


async def get(
    http: httpx.AsyncClient, account: Account, path: str, token: str, verdicts: Verdicts, **query: str
) -> dict[str, Any]:
    """An object or an edge as it is. Raises what `verdicts` says; a question has no effect, so nothing is in doubt."""
    with calling(sent=False):
        response = await http.get(f"{root(account)}/{path}", params=query, headers=bearer(token))
    return answer_of(response, verdicts, sent=False)


async def subscription(
    http: httpx.AsyncClient,
    account: Account,
    hook_urls: Sequence[str],
    verdicts: Verdicts,
    *,
    product: str,
    fields: frozenset[str],
) -> Finding:
    """Whether the app's subscription to a product is active, has the fields, and goes to one of `hook_urls`."""
    app_id = account.settings.get("app_id")
    if not app_id:
        return NO_APP_ID
    token = f"{app_id}|{account.secret('app_secret')}"
    answer = await get(http, account, f"{app_id}/subscriptions", token, verdicts)
    found = next((entry for entry in entries(answer) if entry.get("object") == product), None)
    if found is None or found.get("active") is not True:
        return wrong(f"the app has no active subscription to `{product}`", "set it up in the app's dashboard: Webhooks")
    named = {str(field.get("name") if isinstance(field, dict) else field) for field in _list(found.get("fields"))}
    if missing := sorted(fields - named):
        return wrong(f"the app is not subscribed to {', '.join(missing)}", FIELDS_TO_DO)
    return compared(str(found.get("callback_url") or ""), hook_urls)


def entries(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The objects of an edge."""
    return [entry for entry in _list(answer.get("data")) if isinstance(entry, dict)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
