"""The topics `results` and `dead`: what became of replies, and what nobody could handle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from services.router import callbacks
from services.router.domain.conversation import AnsweredElsewhere, Change, Message, Reopened, ReplyMoved, Resolved
from services.router.domain.plan import Configuration
from services.router.queueing import enqueue, start_clocks
from services.router.store import agents, conversations, dead, seen, unanswered
from services.router.store import callbacks as wishes
from services.router.store.configuration import ConfigurationCache
from services.router.timers import AWAY_AFTER_LAPSES
from shared.channels.contract import Channel, Permission
from shared.channels.registry import CHANNELS
from shared.db.transaction import Transaction
from shared.errors import BadPayload, PoisonEvent
from shared.events import (
    AuthorKind,
    CallEnded,
    DeadLetter,
    Event,
    ReplyAccepted,
    ReplyMadeElsewhere,
    ReplyProgressed,
    ReplyRefused,
    ReplyUnknown,
)

ACTOR = "responder"
Told = ReplyAccepted | ReplyProgressed | ReplyRefused | ReplyUnknown


class Results:
    """The handler of the topic `results`."""

    def __init__(self, configuration: ConfigurationCache, channels: Sequence[Channel] = CHANNELS) -> None:
        self._configuration = configuration
        self._channels: Mapping[str, Channel] = {channel.name: channel for channel in channels}

    async def __call__(self, tx: Transaction, batch: Sequence[Event]) -> None:
        """Raises PoisonEvent for an event that names a conversation or inbox that we do not have."""
        configuration = await self._configuration.current(tx)
        elsewhere = [event.data for event in batch if isinstance(event.data, ReplyMadeElsewhere)]
        of_peer = await conversations.of_peers(tx, [(data.inbox_id, data.peer) for data in elsewhere])
        told = {e.data.conversation_id for e in batch if isinstance(e.data, Told | CallEnded)}
        called = {e.data.conversation_id for e in batch if isinstance(e.data, CallEnded)}
        others = await wishes.others(tx, sorted(called)) if called else []
        locked = await conversations.lock(tx, told | set(of_peer.values()) | {row["id"] for row in others})
        changes = {id_: Change.of(c, tx.now) for id_, c in locked.items()}
        wished = await wishes.latest(tx, sorted(called)) if called else {}
        calls = Calls(configuration, self._channels, wished, [(row["of"], row["id"]) for row in others])
        marks = [_mark(event, changes, of_peer) for event in batch]
        known = await seen.known(tx, [mark for mark in marks if mark is not None])
        left = await unanswered.after(tx, _answers(batch, of_peer))
        fresh: list[tuple[seen.Mark, UUID, UUID | None]] = []
        for position, (event, mark) in enumerate(zip(batch, marks, strict=True)):
            if mark is None:
                raise PoisonEvent(position, BadPayload("no conversation of ours", code="unknown_conversation"))
            if mark in known:
                continue
            known.add(mark)
            change, message_id = _fold(event, changes, of_peer, calls)
            _come_back(change, configuration)
            if not isinstance(event.data, CallEnded):
                _go_on(change, left.get(event.id), configuration)
            fresh.append((mark, change.after.brand_id, message_id))
        await conversations.save(tx, list(changes.values()), configuration)
        await wishes.save(tx, wished.values())
        if calls.absent:
            await agents.count_lapse(tx, sorted(calls.absent), AWAY_AFTER_LAPSES)
        await seen.mark(tx, fresh)


@dataclass(slots=True)
class Calls:
    """What the ends of calls need: callbacks by conversation, other conversations of the same customers."""

    configuration: Configuration
    channels: Mapping[str, Channel]
    wished: Mapping[UUID, wishes.Callback]
    others: Sequence[tuple[UUID, UUID]]
    # Agents whose telephone nobody took: like an offer that they let lapse.
    absent: set[UUID] = field(default_factory=set)

    def fold(self, data: CallEnded, changes: Mapping[UUID, Change]) -> tuple[Change, UUID]:
        change = changes[data.conversation_id]
        if data.outcome == "agent_absent" and change.after.agent_id is not None:
            self.absent.add(change.after.agent_id)
        beside = [changes[id_] for of, id_ in self.others if of == change.after.id and id_ in changes]
        others = [callbacks.Other(other, self._may_write(other)) for other in beside]
        wished = self.wished.get(change.after.id)
        return change, callbacks.ended(change, data, wished, others, self.configuration, ACTOR)

    def _may_write(self, change: Change) -> Permission:
        c = change.after
        channel, inbox = self.channels.get(c.channel), self.configuration.inboxes.get(c.inbox_id)
        if channel is None or inbox is None or channel.calls is not None:
            return Permission(allowed=False, reason="no_channel")
        return channel.may_write(ByAnAgent(c.reply_context), inbox, change.now)


@dataclass(frozen=True, slots=True)
class ByAnAgent:
    """What an agent might write in a conversation."""

    reply_context: bytes
    author_kind: AuthorKind = "agent"


def _mark(event: Event, changes: dict[UUID, Change], of_peer: dict[tuple[UUID, str], UUID]) -> seen.Mark | None:
    data = event.data
    if isinstance(data, ReplyMadeElsewhere) and (data.inbox_id, data.peer) in of_peer:
        return (data.inbox_id, "elsewhere", data.keys[0])
    if isinstance(data, Told | CallEnded) and data.conversation_id in changes:
        return (changes[data.conversation_id].after.inbox_id, "result", str(event.id))
    return None


def _fold(
    event: Event, changes: dict[UUID, Change], of_peer: dict[tuple[UUID, str], UUID], calls: Calls
) -> tuple[Change, UUID]:
    data = event.data
    if isinstance(data, CallEnded):
        return calls.fold(data, changes)
    if isinstance(data, ReplyMadeElsewhere):
        change = changes[of_peer[(data.inbox_id, data.peer)]]
        message = Message(
            kind="elsewhere",
            author_kind="brand",
            text=data.text,
            attachments=data.attachments,
            occurred_at=min(data.occurred_at, change.now),
            received_at=min(event.time, change.now),
        )
        change.messages.append(message)
        change.record(AnsweredElsewhere(message_id=message.id, occurred_at=message.occurred_at), "brand")
        return change, message.id
    assert isinstance(data, Told)
    change = changes[data.conversation_id]
    state, reason = _state(data)
    change.record(ReplyMoved(message_id=data.reply_id, state=state, at=min(data.at, change.now), reason=reason), ACTOR)
    return change, data.reply_id


def _answers(batch: Sequence[Event], of_peer: dict[tuple[UUID, str], UUID]) -> list[unanswered.Answer]:
    """The events that answer, and which conversation by what."""
    found = []
    for event in batch:
        match event.data:
            case ReplyAccepted(conversation_id=conversation_id, reply_id=reply_id):
                found.append(unanswered.Answer(event.id, conversation_id, reply_id=reply_id))
            case ReplyMadeElsewhere(inbox_id=inbox_id, peer=peer, occurred_at=at) if (inbox_id, peer) in of_peer:
                found.append(unanswered.Answer(event.id, of_peer[(inbox_id, peer)], occurred_at=at))
    return found


def _go_on(change: Change, since: datetime | None, configuration: Configuration) -> None:
    """What the customer wrote before the answer could regard it is unanswered still: its clocks start there.

    What then waits for nobody's answer leaves the queues.
    """
    c = change.after
    if since is not None and c.unanswered_since is None:
        inbox = configuration.inboxes.get(c.inbox_id)
        start_clocks(change, configuration, inbox.country if inbox else None, since, ACTOR)
        if c.state == "waiting":
            enqueue(change, configuration, "they wrote again before the answer", change.now, pool_id=c.plan_id)
    entry = change.entries[-1].entry
    _settle(change, "answered elsewhere" if isinstance(entry, AnsweredElsewhere) else "answered")


def _come_back(change: Change, configuration: Configuration) -> None:
    """Where an answer did not go out somebody is waited for again, and what was resolved with it waits again."""
    c, last = change.after, change.entries[-1].entry
    is_back = isinstance(last, ReplyMoved) and last.state == "failed"
    if is_back and (not c.is_open or c.unanswered_since is None):
        # It was taken and came back, so the customer still waits, and from now on.
        inbox = configuration.inboxes.get(c.inbox_id)
        if not c.is_open:
            change.record(Reopened(because="the answer came back"), ACTOR)
        start_clocks(change, configuration, inbox.country if inbox else None, change.now, ACTOR)
        if not c.is_open:
            enqueue(change, configuration, "the answer came back", change.now)
        return
    failed = isinstance(last, ReplyMoved) and last.state in ("refused", "unknown")
    if failed and c.state == "resolved" and c.unanswered_since is not None:
        change.record(Reopened(because="the answer did not go out"), ACTOR)
        enqueue(change, configuration, "the answer did not go out", change.now)


def _settle(change: Change, because: str) -> None:
    """What waits for nobody's answer any more leaves the queues."""
    c = change.after
    if c.state in ("waiting", "offered") and c.unanswered_since is None:
        change.record(Resolved(because=because), ACTOR)


def _state(data: Told) -> tuple[str, str]:
    """The reply's state and why, in our words and the vendor's code."""
    match data:
        case ReplyAccepted():
            return "accepted", ""
        case ReplyProgressed(state=state, code=code):
            return state, code
        case ReplyRefused(reason=reason, code=code):
            return "refused", f"{reason} ({code})" if code else reason
        case ReplyUnknown(reason=reason):
            return "unknown", reason


async def keep_dead(tx: Transaction, batch: Sequence[Event]) -> None:
    """The handler of the topic `dead`: one row per item, counted when it comes again."""
    letters = [(event, event.data) for event in batch if isinstance(event.data, DeadLetter)]
    await dead.keep(tx, [(event.brand_id, letter) for event, letter in letters])
