"""What the suites need of Mirakl: a key with one shop, a reply, and how the platform takes it."""

from uuid import UUID

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.mirakl.inbound import Context

THREAD = "6c9f9d6a-9a3c-4a0e-9f0b-0f4f6f7f3c11"
INBOX = Inbox(id=UUID(int=2), brand_id=UUID(int=7), account_id=UUID(int=1), channel="mirakl", address="2001")
ACCOUNT = Account(
    id=UUID(int=1),
    channel="mirakl",
    settings={"url": "https://market-prod.mirakl.example"},
    secrets={"api_key": ["f3a1c0de-key-of-the-shop"]},
    inboxes={INBOX.address: INBOX},
)
REPLY_CONTEXT = msgspec.json.encode(Context(THREAD, [{"type": "CUSTOMER", "id": "8812"}]))
MESSAGE = "b7d4f8c2-52b8-4a3c-9d3f-3f0a5b7f0a01"
ACCEPTED = (201, {"message_id": MESSAGE, "thread_id": THREAD}, MESSAGE)
