"""Clocks: targets tied to the oldest unanswered message, one for each policy that holds."""

from collections.abc import Sequence
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
    NoReplyNeeded,
    ReplyMoved,
    Resolved,
)
from services.router.domain.hours import deadline, described
from services.router.domain.plan import Policy
from shared.ids import new_id

FIRST_RESPONSE = "first_response"
NEXT_RESPONSE = "next_response"


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
    family: str = "contract"
    policy: str = ""
    allowed: int = 0
    calendar_id: UUID | None = None
    hours: str = ""
    zone: str = ""


def starts(conversation: Conversation, occurred_at: datetime, *, late: bool) -> bool:
    """Whether a message of that instant starts clocks: none runs, and it was not answered before it reached us.

    What comes late never does: the messages after it were looked at already.
    """
    if conversation.unanswered_since is not None or late:
        return False
    return conversation.answered_at is None or occurred_at > conversation.answered_at


def starting(conversation: Conversation, policies: Sequence[Policy], since: datetime) -> list[ClockStarted]:
    """The clocks of a message that nobody has answered since then, one a policy."""
    target = FIRST_RESPONSE if conversation.answered_at is None else NEXT_RESPONSE
    return [_started(policy, target, since) for policy in policies]


def _started(policy: Policy, target: str, since: datetime) -> ClockStarted:
    allowed, hours = allowance(policy, target), policy.hours
    warned_after = max(allowed - policy.warn_before, timedelta(0))
    return ClockStarted(
        clock_id=new_id(),
        target=target,
        started_at=since,
        warn_at=deadline(since, warned_after, hours),
        due_at=deadline(since, allowed, hours),
        family=policy.family,
        policy=policy.handle,
        allowed=int(allowed.total_seconds()),
        calendar_id=hours.id if hours else None,
        hours=described(hours) if hours else "",
        zone=hours.zone if hours else "",
    )


def allowance(policy: Policy, target: str) -> timedelta:
    """How much open time the policy allows."""
    if target == NEXT_RESPONSE and policy.next_response is not None:
        return policy.next_response
    return policy.first_response


def fold_clocks(clocks: dict[UUID, Clock], row: HistoryRow) -> dict[UUID, Clock]:
    """The clocks after one entry of the history; an answer meets what runs, a resolution stops it."""
    match row.entry:
        case ClockStarted() as e:
            return clocks | {e.clock_id: _begun(e)}
        case DeadlinePassed(clock_id=id_, what=what) if id_ in clocks:
            return clocks | {id_: _marked(clocks[id_], what, row.at)}
    end = ending(row)
    return clocks if end is None else {id_: end.of(clock) for id_, clock in clocks.items()}


@dataclass(frozen=True, slots=True)
class Ending:
    """What an entry makes of the clocks that run; only of those that began by `since`, where one is given."""

    state: str
    at: datetime
    since: datetime | None = None

    def of(self, clock: Clock) -> Clock:
        if clock.state != "running" or (self.since is not None and clock.started_at > self.since):
            return clock
        return replace(clock, state=self.state, ended_at=self.at)


def ending(row: HistoryRow) -> Ending | None:
    """How the entry ends clocks; None where it does not."""
    match row.entry:
        case ReplyMoved(state="accepted", at=at):
            return Ending("met", at)
        case AnsweredElsewhere(occurred_at=at):
            return Ending("met", at, since=at)
        case CallEnded(is_answer=True, answered_at=at):
            return Ending("met", at)
        case NoReplyNeeded() | Resolved(answered=False):
            return Ending("stopped", row.at)
        case _:
            return None


def _begun(e: ClockStarted) -> Clock:
    return Clock(
        id=e.clock_id,
        target=e.target,
        started_at=e.started_at,
        warn_at=e.warn_at,
        due_at=e.due_at,
        family=e.family,
        policy=e.policy,
        allowed=e.allowed,
        calendar_id=e.calendar_id,
        hours=e.hours,
        zone=e.zone,
    )


def _marked(clock: Clock, what: str, at: datetime) -> Clock:
    return replace(clock, near_at=at) if what == "near" else replace(clock, missed_at=at)
