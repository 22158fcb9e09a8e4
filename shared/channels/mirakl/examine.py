"""Whether a key reaches its shops' messages.

Source: Mirakl's seller OpenAPI: M11, which every poll calls too. A01, the shop itself, may be called once a day only.
"""

from collections.abc import Sequence
from functools import partial

import httpx

from shared.accounts import Account
from shared.channels.mirakl.inbound import get
from shared.checks import Check, Finding, well


def examine(http: httpx.AsyncClient, account: Account, _hook_urls: Sequence[str]) -> list[Check]:
    """Of each shop; the platform calls nobody."""
    return [Check(f"shop {address}", partial(_shop, http, account, address)) for address in account.inboxes]


async def _shop(http: httpx.AsyncClient, account: Account, shop: str) -> Finding:
    await get(http, account, "/api/inbox/threads", {"shop_id": shop, "limit": 10})
    return well("the key reads its messages")
