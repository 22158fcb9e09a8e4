"""Callbacks on their way: scheduled, waiting for an agent, being called, called again, written to instead."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from services.router.domain.callbacks import again_at, closing, next_open
from services.router.domain.conversation import (
    CallbackScheduled,
    CallEnded,
    CallPlaced,
    Change,
    Lapsed,
    Message,
    NoteAdded,
    Reopened,
    Resolved,
)
from services.router.domain.plan import Agent, Configuration
from services.router.domain.whispers import whisper
from services.router.queueing import enqueue, start_clocks
from services.router.store.callbacks import Callback
from shared import events
from shared.callbacks import Rules, country_of, rules_of
from shared.channels.contract import Permission
from shared.events import PlaceCall
from shared.ids import new_id

ACTOR = "router"
# Longer than an agent's telephone rings, and short enough that nobody is called who has given up waiting for it.
CALL_LASTS = timedelta(minutes=2)


@dataclass(frozen=True, slots=True)
class Other:
    """A written conversation of the same customer, and whether its channel lets an agent write now."""

    change: Change
    permission: Permission


@dataclass(frozen=True, slots=True)
class Wish:
    """To be called at this number (E.164), in this zone, from this instant on."""

    phone: str
    zone: str
    at: datetime


def wished(change: Change, known: Callback | None, wish: Wish, configuration: Configuration) -> Callback:
    """The callback of a request: a new one, or the open one that the conversation has, at the new time.

    One that already waits for an agent, or is being called, goes on as it is.
    """
    c = change.after
    callback = known if known is not None and known.is_open else None
    if callback is not None and callback.state != "scheduled":
        return callback
    if callback is None:
        callback = Callback(
            id=new_id(), brand_id=c.brand_id, conversation_id=c.id, phone=wish.phone, zone=wish.zone,
            created_at=change.now,
        )  # fmt: skip
    callback.phone, callback.zone, callback.preferred_at = wish.phone, wish.zone, wish.at
    line_up(change, callback, wish.at, configuration, "a call was asked for")
    return callback


def line_up(change: Change, callback: Callback, at: datetime, configuration: Configuration, because: str) -> None:
    """Into the queues where the customer may be called at `at` and that is now; else scheduled for when they may be."""
    rules = _rules(change, configuration)
    call_at = next_open(at, callback.zone, rules)
    callback.changed = True
    if call_at > change.now:
        callback.state, callback.next_at = "scheduled", call_at
        change.record(CallbackScheduled(callback_id=callback.id, call_at=call_at, because=because), ACTOR)
        return
    callback.state, callback.next_at = "queued", closing(change.now, callback.zone, rules)
    c = change.after
    if c.unanswered_since is None:
        start_clocks(change, configuration, country_of(callback.phone), call_at, ACTOR)
    enqueue(change, configuration, because, change.now)


def _rules(change: Change, configuration: Configuration) -> Rules:
    return rules_of(configuration.inboxes[change.after.inbox_id])


def come_due(change: Change, callback: Callback, configuration: Configuration) -> None:
    """Its time has come: into the queues; or its hours are over while it waits: scheduled for the next ones."""
    c = change.after
    callback.changed = True
    if not c.is_open:
        callback.state, callback.next_at = "withdrawn", None
    elif callback.state == "scheduled":
        line_up(change, callback, callback.next_at or change.now, configuration, "it is time to call")
    elif c.state == "waiting":
        line_up(change, callback, change.now, configuration, "the customer's hours are over")
    else:
        # Somebody has it: they decide.
        callback.next_at = None


def place(
    change: Change, callback: Callback, agent: Agent, phone: str, name: str, configuration: Configuration, actor: str
) -> None:
    """Has the agent called at `phone`, who then hears who waits."""
    c = change.after
    spoken = agent.language or next(
        (p.language for p in configuration.pools.values() if p.members.get(agent.id) == "native"), None
    )
    language, said = whisper(spoken, configuration.brand_names.get(c.brand_id, ""), name, c.matter)
    call_id = new_id()
    callback.state, callback.call_id, callback.next_at, callback.changed = "calling", call_id, None, True
    change.record(CallPlaced(call_id=call_id, agent_id=agent.id, attempt=callback.attempts + 1), actor)
    change.emit(
        PlaceCall(
            call_id=call_id,
            conversation_id=c.id,
            inbox_id=c.inbox_id,
            agent_id=agent.id,
            number=c.version + 1,
            channel=c.channel,
            agent_phone=phone,
            customer_phone=callback.phone,
            whisper=said,
            language=language,
            expires_at=change.now + CALL_LASTS,
        )
    )


def ended(
    change: Change,
    data: events.CallEnded,
    callback: Callback | None,
    others: Sequence[Other],
    configuration: Configuration,
    actor: str,
) -> UUID:
    """Keeps how the call ended, and does what follows from it; the id of the call's message."""
    c = change.after
    message = Message(
        kind="call",
        author_kind="agent",
        author_id=c.last_agent_id,
        occurred_at=min(data.at, change.now),
        received_at=change.now,
        state=data.outcome,
        state_at=min(data.at, change.now),
        reason=f"{data.seconds} s" if data.outcome == "talked" else data.code,
    )
    change.messages.append(message)
    change.record(
        CallEnded(
            call_id=data.call_id,
            message_id=message.id,
            outcome=data.outcome,
            at=message.occurred_at,
            seconds=data.seconds,
            code=data.code,
        ),
        actor,
    )
    if callback is not None and callback.call_id == data.call_id and callback.state == "calling":
        callback.outcome, callback.changed = data.outcome, True
        _follow_up(change, callback, others, configuration)
    return message.id


def _follow_up(change: Change, callback: Callback, others: Sequence[Other], configuration: Configuration) -> None:
    c, outcome = change.after, callback.outcome
    if outcome in ("talked", "failed") or not c.is_open:
        # Whoever holds it sees a failure, and can call again or write.
        callback.state = "failed" if outcome == "failed" else "done"
    elif outcome == "withdrawn":
        callback.state = "withdrawn"
        change.record(Resolved(because="withdrawn"), ACTOR)
    elif outcome == "agent_absent":
        if c.agent_id is not None:
            change.record(Lapsed(agent_id=c.agent_id), ACTOR)
        line_up(change, callback, change.now, configuration, "the agent could not be reached")
    else:
        _not_reached(change, callback, others, configuration)


def _not_reached(change: Change, callback: Callback, others: Sequence[Other], configuration: Configuration) -> None:
    callback.attempts += 1
    at = again_at(callback.outcome, callback.attempts, change.now, callback.zone, _rules(change, configuration))
    if at is not None:
        line_up(change, callback, at, configuration, f"nobody answered: {callback.outcome}")
        return
    other = _to_write_in(others)
    told = f"Called {callback.attempts} times without reaching the customer, the last time: {callback.outcome}."
    if other is None:
        callback.state = "unreached"
        _note(change, f"{told} There is no conversation to write in.")
        return
    callback.state = "written"
    _note(other, f"{told} Please write instead.")
    _wake(other, configuration)
    change.record(Resolved(because="they are written to instead"), ACTOR)


def _to_write_in(others: Sequence[Other]) -> Change | None:
    """Where they wrote last, of those where an agent may write now."""
    allowed = [o.change for o in others if o.permission.allowed]
    return max(allowed, key=lambda o: (o.after.last_inbound_at or o.after.opened_at, o.after.id), default=None)


def _note(change: Change, text: str) -> None:
    message = Message(kind="note", author_kind="automatic", text=text, occurred_at=change.now, received_at=change.now)
    change.messages.append(message)
    change.record(NoteAdded(message_id=message.id), ACTOR)


def _wake(change: Change, configuration: Configuration) -> None:
    """Waits for an agent with a clock of its own channel, unless somebody has it."""
    because = "calls did not reach the customer"
    if not change.after.is_open:
        change.record(Reopened(because=because), ACTOR)
    c = change.after
    if c.unanswered_since is None:
        country = configuration.inboxes[c.inbox_id].country
        start_clocks(change, configuration, country, change.now, ACTOR)
    if change.after.state not in ("offered", "assigned"):
        enqueue(change, configuration, because, change.now)


def withdraw(change: Change, callback: Callback, actor: str) -> None:
    """The customer does not want the call any more: done, or hung up where the agent's telephone rings already."""
    c = change.after
    if callback.state == "calling" and callback.call_id is not None:
        change.emit(events.WithdrawCall(call_id=callback.call_id, conversation_id=c.id))
        return
    callback.state, callback.next_at, callback.changed = "withdrawn", None, True
    if c.is_open:
        change.record(Resolved(because="withdrawn"), actor)
