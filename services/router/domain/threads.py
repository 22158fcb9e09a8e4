"""Which conversation a message belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.router.domain.conversation import Conversation


@dataclass(frozen=True, slots=True)
class Choice:
    """The conversation (None: a new one) and why."""

    conversation: Conversation | None
    because: str


def choose(
    candidates: Sequence[Conversation], thread: str | None, matter: str | None, reopen_within: timedelta, at: datetime
) -> Choice:
    """The vendor's thread first, then an open conversation of that customer in that inbox, then one lately resolved.

    `candidates` are that customer's conversations in that inbox. `at` is when the message was written. Where the vendor
    has threads of its own a message never joins another thread.
    """
    newest_first = sorted(candidates, key=lambda c: (c.opened_at, c.id), reverse=True)
    if thread is not None:
        same = [c for c in newest_first if c.thread == thread]
        if same:
            return _open_or_lately(same, reopen_within, at, "the same thread of the vendor")
        return Choice(None, "the first message of this thread")
    if matter is not None:
        newest_first = [c for c in newest_first if c.matter in (None, matter)]
    return _open_or_lately(newest_first, reopen_within, at, "an open conversation of the customer in this inbox")


def _open_or_lately(candidates: Sequence[Conversation], within: timedelta, at: datetime, because: str) -> Choice:
    for conversation in candidates:
        if conversation.is_open:
            return Choice(conversation, because)
    for conversation in candidates:
        if conversation.resolved_at is not None and at <= conversation.resolved_at + within:
            return Choice(conversation, "resolved a short while ago")
    return Choice(None, "nothing of this customer is open in this inbox")
