"""States of a part and of a reply, the schedule of tries, and what each way of failing leads to."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from shared.errors import AccountBroken, DragomanError, InboxBroken, OutcomeUnknown, Throttled, Unavailable

PartState = Literal["waiting", "sending", "accepted", "refused", "unknown", "withdrawn", "expired"]

# A chat's patience: soon at first, then ever less, until the reply expires or its window closes.
SCHEDULE = tuple(
    timedelta(seconds=s) for s in (1, 5, 30, 120, 600, 1800, 3600, 7200)
)  # fmt: skip
# A broken account is tried again when somebody may have mended it.
BROKEN_PAUSE = timedelta(minutes=5)
ASK_AFTER = (timedelta(seconds=5), timedelta(seconds=30), timedelta(minutes=2))

# From best to worst: a reply is where its worst part is.
ORDER: Sequence[str] = ("accepted", "waiting", "sending", "unknown", "withdrawn", "expired", "refused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attempt leads to: the part's next state, and when to try or to ask again."""

    state: PartState
    external_id: str | None = None
    next_at: datetime | None = None
    reason: str = ""
    code: str = ""
    # Whether the attempt counts on the schedule; a broken account's does not.
    counts: bool = True


def retry_at(attempts: int, now: datetime, jitter: float, asked: timedelta | None = None) -> datetime:
    """When to try after `attempts` tries; `jitter` in [-1, 1] is a fifth of the wait, what the vendor asks wins."""
    if asked is not None:
        return now + asked
    wait = SCHEDULE[min(max(attempts, 1), len(SCHEDULE)) - 1]
    return now + wait * (1 + 0.2 * jitter)


def verdict(error: DragomanError, attempts: int, now: datetime, jitter: float) -> Outcome:
    """What an error of `send` leads to; the class says whether anything may have been sent."""
    match error:
        case OutcomeUnknown():
            return Outcome(state="unknown", next_at=now + ASK_AFTER[0], reason=error.code, code=error.code)
        case AccountBroken() | InboxBroken():
            reason = "account_broken" if isinstance(error, AccountBroken) else "inbox_broken"
            return Outcome(state="waiting", next_at=now + BROKEN_PAUSE, reason=reason, code=error.code, counts=False)
        case Throttled():
            at = retry_at(attempts, now, jitter, error.retry_after)
            return Outcome(state="waiting", next_at=at, reason="throttled", code=error.code)
        case Unavailable():
            at = retry_at(attempts, now, jitter)
            return Outcome(state="waiting", next_at=at, reason="unavailable", code=error.code)
        case _:
            reason = "rejected" if error.code == "rejected" else error.code
            return Outcome(state="refused", reason=reason, code=error.code)


def reply_state(parts: Sequence[str]) -> str:
    """The state of a reply with parts in these states."""
    return max(parts, key=ORDER.index, default="refused")
