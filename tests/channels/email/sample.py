"""What the suites need of e-mail: an account with one mailbox, and a mail that is answered."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from shared.accounts import Account, Inbox
from shared.channels.email.rules import Context

ADDRESS = "support@shop.example"
INBOX = Inbox(
    id=UUID(int=2),
    brand_id=UUID(int=7),
    account_id=UUID(int=1),
    channel="email",
    address=ADDRESS,
    name="Shop",
    settings={"trusted_authserv_ids": ["mx.shop.example"], "read_history": True},
)
SETTINGS: dict[str, Any] = {
    "user": ADDRESS,
    "imap_host": "127.0.0.1",
    "imap_port": 143,
    "imap_security": "none",
    "smtp_host": "127.0.0.1",
    "smtp_port": 25,
    "smtp_security": "none",
    "message_id_domain": "mail.shop.example",
}
ACCOUNT = Account(
    id=UUID(int=1),
    channel="email",
    settings=SETTINGS,
    secrets={
        "imap_password": ["imap-password-of-the-shop"],
        "smtp_password": ["smtp-password-of-the-shop"],
        "message_id_key": ["key-of-our-message-ids"],
    },
    inboxes={INBOX.address: INBOX},
)
CONTEXT = Context(
    to="marie@example.com",
    to_name="Marie L.",
    subject="Où est mon colis ?",
    message_id="<m1@example.com>",
    references=("<m0@example.com>",),
    at=datetime(2026, 8, 3, 8, 30, tzinfo=UTC),
)
REPLY_CONTEXT = CONTEXT.encode()
