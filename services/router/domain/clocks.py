"""Clocks: targets tied to the oldest unanswered message. This far: first response, around the clock."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.router.domain.conversation import (
    AnsweredElsewhere,
    CallEnded,
    ClockStarted,
    Conversation,
    DeadlinePassed,
    HistoryRow,
    ReplyMoved,
    Resolved,
)
from services.router.domain.plan import DEFAULT_FIRST_RESPONSE, DEFAULT_WARNING, Policy

FIRST_RESPONSE = "first_response"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The columns of `router.clock`."""

    id: UUID
    target: str
    started_at: datetime
    warn_at: datetime
    due_at: datetime
    state: str = "running"
    ended_at: datetime | None = None
    near_at: datetime | None = None
    missed_at: datetime | None = None


def targets(policy: Policy | None) -> tuple[timedelta, timedelta]:
    """How long the first response may take, and how long before its end a warning is due."""
    if policy is None:
        return DEFAULT_FIRST_RESPONSE, DEFAULT_WARNING
    return policy.first_response, policy.warn_before


def starts(conversation: Conversation, occurred_at: datetime) -> bool:
    """Whether a message of that instant starts a clock: none runs, and it was not answered before it reached us."""
    if conversation.unanswered_since is not None:
        return False
    return conversation.answered_at is None or occurred_at > conversation.answered_at


def started(clock_id: UUID, policy: Policy | None, since: datetime) -> ClockStarted:
    allowed, warning = targets(policy)
    due_at = since + allowed
    return ClockStarted(
        clock_id=clock_id, target=FIRST_RESPONSE, started_at=since, warn_at=max(since, due_at - warning), due_at=due_at
    )


def fold_clocks(clocks: dict[UUID, Clock], row: HistoryRow) -> dict[UUID, Clock]:
    """The clocks after one entry of the history; an answer meets what runs, a resolution stops it."""
    match row.entry:
        case ClockStarted(clock_id=id_, target=target, started_at=at, warn_at=warn_at, due_at=due_at):
            return clocks | {id_: Clock(id=id_, target=target, started_at=at, warn_at=warn_at, due_at=due_at)}
        case ReplyMoved(state="accepted", at=at):
            return _end(clocks, "met", at)
        case AnsweredElsewhere(occurred_at=at):
            return _end(clocks, "met", at)
        case CallEnded(is_answer=True, answered_at=at):
            return _end(clocks, "met", at)
        case Resolved(answered=False):
            return _end(clocks, "stopped", row.at)
        case DeadlinePassed(clock_id=id_, what=what) if id_ in clocks:
            return clocks | {id_: _marked(clocks[id_], what, row.at)}
        case _:
            return clocks


def _end(clocks: dict[UUID, Clock], state: str, at: datetime) -> dict[UUID, Clock]:
    return {
        id_: replace(clock, state=state, ended_at=at) if clock.state == "running" else clock
        for id_, clock in clocks.items()
    }


def _marked(clock: Clock, what: str, at: datetime) -> Clock:
    return replace(clock, near_at=at) if what == "near" else replace(clock, missed_at=at)
