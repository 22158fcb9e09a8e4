"""A conversation as the fold of its history: every change is an entry, and the state is what the entries add up to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from shared.events import Data, Event
from shared.ids import new_id

State = Literal["scheduled", "waiting", "offered", "assigned", "resolved"]


# Called back in time, whether or not the customer could take it.
ANSWERS = frozenset({"talked", "customer_absent", "machine", "busy"})


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="kind"):
    """One change; what the fold needs of it, and what people want to read of it later."""


class Opened(Entry, frozen=True, kw_only=True, tag="opened"):
    inbox_id: UUID
    customer_id: UUID
    channel: str
    live: bool
    weight: int
    thread: str | None = None
    matter: str | None = None
    subject: str = ""
    because: str = ""


class Reopened(Entry, frozen=True, kw_only=True, tag="reopened"):
    because: str = ""


class Received(Entry, frozen=True, kw_only=True, tag="message_received"):
    message_id: UUID
    author: str
    occurred_at: datetime
    late: bool = False
    # The answered message already has one of these; only the newest matters for writing back.
    has_context: bool = False
    # Which trace it came by, for the requests of agents that have to do with it.
    traceparent: str = ""
    # Whose address it came from: of several customers who were merged, the one to whom a reply goes.
    customer_id: UUID | None = None
    # A machine wrote it, so nobody was heard of.
    automatic: bool = False


class Unrecognised(Entry, frozen=True, kw_only=True, tag="unrecognised"):
    message_id: UUID
    what: str


class LanguageSet(Entry, frozen=True, kw_only=True, tag="language_set"):
    language: str | None
    by: str


class ClockStarted(Entry, frozen=True, kw_only=True, tag="clock_started"):
    """Everything that the clock goes by: what becomes of its policy or calendar later does not touch it.

    `allowed` are seconds of open time, `hours` is the calendar in words ("" is around the clock), `zone` where it is.
    """

    clock_id: UUID
    target: str
    started_at: datetime
    warn_at: datetime
    due_at: datetime
    family: str = "contract"
    policy: str = ""
    allowed: int = 0
    calendar_id: UUID | None = None
    hours: str = ""
    zone: str = ""


class Queued(Entry, frozen=True, kw_only=True, tag="queued"):
    plan_id: UUID
    step: int
    queued_at: datetime
    because: str
    next_step_at: datetime | None = None


class StepReached(Entry, frozen=True, kw_only=True, tag="step_reached"):
    step: int
    next_step_at: datetime | None = None


class Offered(Entry, frozen=True, kw_only=True, tag="offered"):
    agent_id: UUID
    lapses_at: datetime


class Declined(Entry, frozen=True, kw_only=True, tag="declined"):
    agent_id: UUID
    reason: str = ""


class Lapsed(Entry, frozen=True, kw_only=True, tag="lapsed"):
    agent_id: UUID


class Assigned(Entry, frozen=True, kw_only=True, tag="assigned"):
    agent_id: UUID
    because: str


class ReplyWritten(Entry, frozen=True, kw_only=True, tag="reply_written"):
    message_id: UUID
    agent_id: UUID | None = None


class ReplyMoved(Entry, frozen=True, kw_only=True, tag="reply_moved"):
    """What the responder told of a reply; `accepted` answers the customer."""

    message_id: UUID
    state: str
    at: datetime
    reason: str = ""


class AnsweredElsewhere(Entry, frozen=True, kw_only=True, tag="answered_elsewhere"):
    message_id: UUID
    occurred_at: datetime


class NoReplyNeeded(Entry, frozen=True, kw_only=True, tag="no_reply_needed"):
    """Whatever is unanswered needs no answer, such as thanks."""

    because: str = ""


class NoteAdded(Entry, frozen=True, kw_only=True, tag="note_added"):
    message_id: UUID


class AttachmentSettled(Entry, frozen=True, kw_only=True, tag="attachment_settled"):
    """A message's file is in our store, or why it never will be."""

    message_id: UUID
    position: int
    sha256: str = ""
    reason: str = ""


class CallbackScheduled(Entry, frozen=True, kw_only=True, tag="callback_scheduled"):
    """Nobody holds it until `call_at`, when it waits for an agent who calls."""

    callback_id: UUID
    call_at: datetime
    because: str


class CallPlaced(Entry, frozen=True, kw_only=True, tag="call_placed"):
    call_id: UUID
    agent_id: UUID
    attempt: int


class CallEnded(Entry, frozen=True, kw_only=True, tag="call_ended"):
    """How a call ended; one that reached the customer's phone is the answer that they asked for."""

    call_id: UUID
    message_id: UUID
    outcome: str
    at: datetime
    seconds: int = 0
    code: str = ""

    @property
    def is_answer(self) -> bool:
        return self.outcome in ANSWERS

    @property
    def answered_at(self) -> datetime:
        return self.at - timedelta(seconds=self.seconds)


class DeadlinePassed(Entry, frozen=True, kw_only=True, tag="deadline_passed"):
    clock_id: UUID
    what: Literal["near", "missed"]
    due_at: datetime


class Resolved(Entry, frozen=True, kw_only=True, tag="resolved"):
    """`answered` while the reply is still on its way: its clock runs until the vendor took it."""

    because: str = ""
    answered: bool = False


AnyEntry = (
    Opened | Reopened | Received | Unrecognised | LanguageSet | ClockStarted | Queued | StepReached | Offered | Declined
    | Lapsed | Assigned | ReplyWritten | ReplyMoved | AnsweredElsewhere | NoReplyNeeded | NoteAdded | AttachmentSettled
    | CallbackScheduled | CallPlaced | CallEnded | DeadlinePassed | Resolved
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The columns of `router.conversation`, in the same words."""

    id: UUID
    brand_id: UUID
    inbox_id: UUID
    customer_id: UUID
    channel: str
    live: bool
    weight: int
    opened_at: datetime
    version: int = 0
    state: State = "resolved"
    thread: str | None = None
    matter: str | None = None
    subject: str = ""
    language: str | None = None
    language_by: str = ""
    priority: int = 0
    agent_id: UUID | None = None
    last_agent_id: UUID | None = None
    last_agent_at: datetime | None = None
    declined_by: tuple[UUID, ...] = ()
    plan_id: UUID | None = None
    step: int = 0
    next_step_at: datetime | None = None
    queued_at: datetime | None = None
    unanswered_since: datetime | None = None
    due_at: datetime | None = None
    last_inbound_at: datetime | None = None
    answered_at: datetime | None = None
    resolved_at: datetime | None = None
    reply_context: bytes = b""

    @property
    def is_open(self) -> bool:
        return self.state != "resolved"


def _received(c: Conversation, e: Received, _at: datetime) -> Conversation:
    if e.automatic:
        return c
    newest = max(c.last_inbound_at or e.occurred_at, e.occurred_at)
    return replace(c, last_inbound_at=newest)


def _clock_started(c: Conversation, e: ClockStarted, _at: datetime) -> Conversation:
    # Of several that run the earliest orders the queue.
    return replace(c, unanswered_since=e.started_at, due_at=min(c.due_at or e.due_at, e.due_at))


def _queued(c: Conversation, e: Queued, _at: datetime) -> Conversation:
    return replace(
        c,
        state="waiting",
        agent_id=None,
        plan_id=e.plan_id,
        step=e.step,
        next_step_at=e.next_step_at,
        queued_at=e.queued_at,
        resolved_at=None,
    )


def _declined(c: Conversation, e: Declined | Lapsed, _at: datetime) -> Conversation:
    return replace(c, state="waiting", agent_id=None, declined_by=(*c.declined_by, e.agent_id))


def _assigned(c: Conversation, e: Assigned, at: datetime) -> Conversation:
    return replace(
        c,
        state="assigned",
        agent_id=e.agent_id,
        last_agent_id=e.agent_id,
        last_agent_at=at,
        next_step_at=None,
        declined_by=(),
        resolved_at=None,
    )


def _answered(c: Conversation, at: datetime) -> Conversation:
    return _unwaited(replace(c, answered_at=max(c.answered_at or at, at)))


def _unwaited(c: Conversation) -> Conversation:
    return replace(c, unanswered_since=None, due_at=None, queued_at=None, next_step_at=None)


def _answered_elsewhere(c: Conversation, e: AnsweredElsewhere, _at: datetime) -> Conversation:
    """What was written there before the customer wrote is no answer to it; both times are the vendor's."""
    if c.unanswered_since is not None and e.occurred_at < c.unanswered_since:
        return replace(c, answered_at=max(c.answered_at or e.occurred_at, e.occurred_at))
    return _answered(c, e.occurred_at)


def _reply_moved(c: Conversation, e: ReplyMoved, _at: datetime) -> Conversation:
    return _answered(c, e.at) if e.state == "accepted" else c


def _scheduled(c: Conversation, _e: CallbackScheduled, _at: datetime) -> Conversation:
    return replace(c, state="scheduled", agent_id=None, next_step_at=None, declined_by=(), resolved_at=None)


def _call_ended(c: Conversation, e: CallEnded, _at: datetime) -> Conversation:
    return _answered(c, e.answered_at) if e.is_answer else c


def _resolved(c: Conversation, e: Resolved, at: datetime) -> Conversation:
    return replace(
        c,
        state="resolved",
        agent_id=None,
        resolved_at=at,
        queued_at=None,
        next_step_at=None,
        unanswered_since=c.unanswered_since if e.answered else None,
        due_at=c.due_at if e.answered else None,
        declined_by=(),
    )


# Entries that are not here are for reading only.
_STEPS: dict[type[Entry], Callable[[Conversation, Any, datetime], Conversation]] = {
    Received: _received,
    LanguageSet: lambda c, e, _at: replace(c, language=e.language, language_by=e.by),
    ClockStarted: _clock_started,
    Queued: _queued,
    StepReached: lambda c, e, _at: replace(c, step=e.step, next_step_at=e.next_step_at),
    Offered: lambda c, e, _at: replace(c, state="offered", agent_id=e.agent_id),
    Declined: _declined,
    Lapsed: _declined,
    Assigned: _assigned,
    ReplyMoved: _reply_moved,
    CallbackScheduled: _scheduled,
    CallEnded: _call_ended,
    AnsweredElsewhere: _answered_elsewhere,
    NoReplyNeeded: lambda c, _e, _at: _unwaited(c),
    Resolved: _resolved,
}


def open_conversation(id_: UUID, brand_id: UUID, e: Opened, at: datetime) -> Conversation:
    """The state before anything else has happened."""
    return Conversation(
        id=id_,
        brand_id=brand_id,
        inbox_id=e.inbox_id,
        customer_id=e.customer_id,
        channel=e.channel,
        live=e.live,
        weight=e.weight,
        opened_at=at,
        thread=e.thread,
        matter=e.matter,
        subject=e.subject,
    )


def fold(conversation: Conversation, entry: Entry, at: datetime) -> Conversation:
    """The conversation after `entry`."""
    step = _STEPS.get(type(entry))
    after = step(conversation, entry, at) if step else conversation
    return replace(after, version=conversation.version + 1)


@dataclass(frozen=True, slots=True)
class HistoryRow:
    n: int
    at: datetime
    actor: str
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A row of `router.message`."""

    kind: Literal["inbound", "reply", "note", "unrecognised", "elsewhere", "call"]
    author_kind: str
    occurred_at: datetime
    received_at: datetime
    id: UUID = field(default_factory=new_id)
    author_id: UUID | None = None
    text: str = ""
    language: str | None = None
    attachments: Sequence[Any] = ()
    number: int | None = None
    state: str | None = None
    state_at: datetime | None = None
    reason: str = ""
    raw: bytes | None = None
    raw_ref: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why something was decided: `kind` is what (`thread`, `language`, `agent`, ...), `data` the evidence."""

    n: int
    kind: str
    data: dict[str, Any]


@dataclass(slots=True)
class Change:
    """What one transaction does to one conversation; collected here, written once."""

    before: Conversation | None
    after: Conversation
    now: datetime
    entries: list[HistoryRow] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)
    explanations: list[Explanation] = field(default_factory=list)
    # Commands and alerts beside the routing events, which derive from the entries.
    events: list[Event] = field(default_factory=list)
    # The trace of the message that brought it about, where there is one.
    traceparent: str = ""

    @classmethod
    def of(cls, conversation: Conversation, now: datetime) -> "Change":
        return cls(conversation, conversation, now)

    @classmethod
    def opening(cls, id_: UUID, brand_id: UUID, opened: Opened, actor: str, now: datetime) -> "Change":
        change = cls(None, open_conversation(id_, brand_id, opened, now), now)
        change.record(opened, actor)
        return change

    def record(self, entry: Entry, actor: str) -> None:
        self.after = fold(self.after, entry, self.now)
        self.entries.append(HistoryRow(self.after.version, self.now, actor, entry))

    def explain(self, kind: str, **data: Any) -> None:
        """Why the entry just recorded came about."""
        self.explanations.append(Explanation(self.after.version, kind, data))

    def emit(self, data: Data, key: str | None = None) -> None:
        self.events.append(
            Event(
                data=data,
                key=key or str(self.after.id),
                source="router",
                time=self.now,
                brand_id=self.after.brand_id,
                inbox_id=self.after.inbox_id,
                subject=str(self.after.id),
                traceparent=self.traceparent,
            )
        )
