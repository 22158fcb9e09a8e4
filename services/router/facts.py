"""What the decisions of one batch look at and fold into: loaded once, saved once."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.router.domain import language
from services.router.domain.conversation import Change, Conversation
from services.router.domain.identity import Customer, Recognised
from services.router.domain.plan import Configuration
from services.router.store import opt_outs, seen
from services.router.store.callbacks import Callback
from shared import events
from shared.accounts import Inbox
from shared.channels.contract import Channel
from shared.events import Attachment, Event

FromAPerson = (
    events.MessageReceived
    | events.Unrecognised
    | events.CallbackRequested
    | events.IdentityChanged
    | events.OptOutChanged
)
# About a message that is stored already.
OF_A_MESSAGE = (events.MediaStored, events.MediaFailed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One event to decide: whom its address brought, in which inbox, when; instants are clamped to the believable."""

    event: Event
    inbox: Inbox
    customer: Customer | None
    occurred_at: datetime
    received_at: datetime

    @property
    def person(self) -> Customer:
        """Raises LookupError for an event that comes from nobody."""
        if self.customer is None:
            raise LookupError("the event names no sender")
        return self.customer


@dataclass(slots=True)
class Facts:
    """What decisions look at; what event 1 opens, event 2 of the batch finds here."""

    now: datetime
    configuration: Configuration
    channels: dict[str, Channel]
    known: set[seen.Mark]
    recognised: Recognised
    detect: language.Detect
    # By inbox and customer, in the order of loading.
    changes: dict[UUID, Change] = field(default_factory=dict)
    of_peer: dict[tuple[UUID, UUID], list[UUID]] = field(default_factory=dict)
    of_thread: dict[tuple[UUID, str], list[UUID]] = field(default_factory=dict)
    marks: list[tuple[seen.Mark, UUID, UUID | None]] = field(default_factory=list)
    # Of stored messages whose files were fetched, or not; and which of them changed.
    attachments: dict[UUID, list[Attachment]] = field(default_factory=dict)
    settled: set[UUID] = field(default_factory=set)
    # What persons said of messages from an inbox.
    words: dict[tuple[UUID, str, str, bool], opt_outs.Word] = field(default_factory=dict)
    # The newest callback of each conversation, where the batch asks for calls.
    callbacks: dict[UUID, Callback] = field(default_factory=dict)
    # How often a brand's number was asked for lately, and how many callbacks a brand was.
    asked: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    asked_of: Counter[UUID] = field(default_factory=Counter)

    def add(self, change: Change) -> None:
        c = change.after
        self.changes[c.id] = change
        self.of_peer.setdefault((c.inbox_id, c.customer_id), []).append(c.id)
        if c.thread is not None:
            self.of_thread.setdefault((c.inbox_id, c.thread), []).append(c.id)

    def candidates(self, inbox_id: UUID, customer_id: UUID, thread: str | None) -> list[Conversation]:
        """Those in the inbox of everybody who is one with the customer, and those of the vendor's thread."""
        group = self.recognised.people.group(customer_id)
        ids = dict.fromkeys(id_ for person in group for id_ in self.of_peer.get((inbox_id, person.id), ()))
        if thread is not None:
            ids |= dict.fromkeys(self.of_thread.get((inbox_id, thread), ()))
        return [self.changes[id_].after for id_ in ids]


def marks(event: Event) -> list[seen.Mark]:
    """How the event is known; it is new only if none of these is."""
    data = event.data
    if event.inbox_id is None:
        return []
    if isinstance(data, OF_A_MESSAGE):
        return [(event.inbox_id, "media", f"{data.message_id}:{data.position}")]
    if not isinstance(data, FromAPerson):
        return []
    return [(event.inbox_id, "message", key) for key in data.keys]
