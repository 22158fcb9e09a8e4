"""What the suites need of Messenger: an account with two pages, its signature, a reply, and how the vendor takes it."""

import hashlib
import hmac
from dataclasses import replace
from uuid import UUID

from shared.accounts import Account, Inbox
from shared.channels.contract import Hook
from shared.channels.messenger.rules import Context
from tests.channels.tables import FAR_AHEAD

PAGE, OTHER_PAGE = "178900000000001", "178900000000002"
PSID = "4455000000000007"


def an_inbox(page: str, number: int, **settings: object) -> Inbox:
    return Inbox(
        id=UUID(int=number),
        brand_id=UUID(int=7),
        account_id=UUID(int=1),
        channel="messenger",
        address=page,
        settings=settings,
    )


INBOX = an_inbox(PAGE, 2)
ACCOUNT = Account(
    id=UUID(int=1),
    channel="messenger",
    settings={"app_id": "263902037430900"},
    secrets={
        # Both hold while the app's secret is changed.
        "app_secret": ["meta-app-secret-of-tomorrow", "meta-app-secret"],
        "verify_token": ["let-me-in"],
        f"page_token:{PAGE}": ["EAAG-token-of-the-first-page"],
        f"page_token:{OTHER_PAGE}": ["EAAG-token-of-the-second-page"],
    },
    inboxes={PAGE: INBOX, OTHER_PAGE: an_inbox(OTHER_PAGE, 3)},
)
REPLY_CONTEXT = Context(psid=PSID, at=FAR_AHEAD).encode()
ACCEPTED = (200, {"recipient_id": PSID, "message_id": "m_sample"}, "m_sample")


def sign(hook: Hook) -> Hook:
    """The request as the vendor sends it, under the app's older secret."""
    digest = hmac.new(b"meta-app-secret", hook.body, hashlib.sha256).hexdigest()
    return replace(hook, headers={**hook.headers, "x-hub-signature-256": f"sha256={digest}"})
