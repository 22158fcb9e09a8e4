"""When Messenger lets us write: 24 hours from the user's last action, 7 days for a human with the feature.

Source: Meta for Developers, "Messenger Platform Policy - Standard messaging window, Human Agent tag", 2026.
"""

from datetime import datetime, timedelta
from typing import Annotated

import msgspec

from shared.accounts import Inbox
from shared.channels.contract import Draft, Permission
from shared.errors import Rejected

WINDOW = timedelta(hours=24)
HUMAN_AGENT_WINDOW = timedelta(days=7)


class Context(msgspec.Struct, frozen=True):
    """What a reply needs of the message that it answers: who, and the instant of their last action."""

    psid: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    v: int = 1

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "Context":
        """Raises Rejected for a value that this channel did not make."""
        try:
            return msgspec.json.decode(value, type=cls)
        except msgspec.DecodeError:
            raise Rejected("the reply does not say whom it answers", code="no_reply_context") from None


def may_write(draft: Draft, inbox: Inbox, now: datetime) -> Permission:
    """RESPONSE within 24 hours, else HUMAN_AGENT within 7 days where the page has it and a person wrote."""
    try:
        at = Context.decode(draft.reply_context).at
    except Rejected:
        return Permission(allowed=False, reason="no_reply_context", sentence="Nobody wrote here yet.")
    if now < at + WINDOW:
        return Permission(
            allowed=True, reason="response", until=at + WINDOW, sentence="Free to write for a day after their message."
        )
    if inbox.settings.get("human_agent") and draft.author_kind == "agent" and now < at + HUMAN_AGENT_WINDOW:
        return Permission(
            allowed=True,
            reason="human_agent",
            until=at + HUMAN_AGENT_WINDOW,
            sentence="The day for free answers is over; a person may still answer, within a week of their message.",
        )
    return Permission(
        allowed=False,
        reason="window_closed",
        sentence="Messenger lets a page write only so long after the customer's last message; wait until they write.",
    )
