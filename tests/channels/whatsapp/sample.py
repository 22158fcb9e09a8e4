"""What the suites need of WhatsApp: an account with two numbers, its signature, a reply, how the vendor takes it."""

import hashlib
import hmac
from dataclasses import replace
from uuid import UUID

from shared.accounts import Account, Inbox
from shared.channels.contract import Hook
from shared.channels.whatsapp.rules import Context
from tests.channels.tables import FAR_AHEAD

NUMBER, OTHER_NUMBER = "106540352242922", "106540352242933"
PHONE, USER = "+5511999998888", "BR.1349160237458"


def an_inbox(number: str, id_: int, **settings: object) -> Inbox:
    return Inbox(
        id=UUID(int=id_),
        brand_id=UUID(int=7),
        account_id=UUID(int=1),
        channel="whatsapp",
        address=number,
        settings=settings,
    )


INBOX = an_inbox(NUMBER, 2)
ACCOUNT = Account(
    id=UUID(int=1),
    channel="whatsapp",
    secrets={
        # Both hold while the app's secret is changed.
        "app_secret": ["meta-app-secret-of-tomorrow", "meta-app-secret"],
        "verify_token": ["let-me-in"],
        "token": ["EAAG-token-of-the-system-user"],
    },
    inboxes={NUMBER: INBOX, OTHER_NUMBER: an_inbox(OTHER_NUMBER, 3)},
)
REPLY_CONTEXT = Context(phone=PHONE, user_id=USER, at=FAR_AHEAD, message_id="wamid.question").encode()
ACCEPTED = (
    200,
    {
        "messaging_product": "whatsapp",
        "contacts": [{"input": "5511999998888", "wa_id": "5511999998888"}],
        "messages": [{"id": "wamid.sample"}],
    },
    "wamid.sample",
)


def sign(hook: Hook) -> Hook:
    """The request as the vendor sends it, under the app's older secret."""
    digest = hmac.new(b"meta-app-secret", hook.body, hashlib.sha256).hexdigest()
    return replace(hook, headers={**hook.headers, "x-hub-signature-256": f"sha256={digest}"})
