"""When WhatsApp lets a number write freely: 24 hours from the customer's last message.

Source: Meta for Developers, "WhatsApp Business Platform - Customer service windows", 2026.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from shared.accounts import Inbox
from shared.channels.contract import Draft, Permission
from shared.errors import Rejected

WINDOW = timedelta(hours=24)


class Context(msgspec.Struct, frozen=True):
    """What a reply needs of the message that it answers: who by number and business-scoped id, when, which one.

    One of the two names is always there.
    """

    phone: str
    user_id: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    message_id: str = ""
    v: int = 1

    @property
    def peer(self) -> str:
        """How we address them, and what receipts of our messages name."""
        return self.phone or self.user_id

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "Context":
        """Raises Rejected for a value that this channel did not make."""
        try:
            context = msgspec.json.decode(value, type=cls)
        except msgspec.DecodeError:
            context = None
        if context is None or not context.peer:
            raise Rejected("the reply does not say whom it answers", code="no_reply_context")
        return context


def may_write(draft: Draft, _inbox: Inbox, now: datetime) -> Permission:
    """Freely within 24 hours; afterwards only approved templates, which are not written by hand."""
    try:
        at = Context.decode(draft.reply_context).at
    except Rejected:
        return Permission(allowed=False, reason="no_reply_context", sentence="Nobody wrote here yet.")
    if now < at + WINDOW:
        return Permission(
            allowed=True, reason="response", until=at + WINDOW, sentence="Free to write for a day after their message."
        )
    return Permission(
        allowed=False,
        reason="window_closed",
        sentence="The day for free answers is over: WhatsApp takes nothing but an approved template now, so wait until "
        "they write or use another channel.",
    )
