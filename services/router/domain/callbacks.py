"""At what hours customers are called back, and how often."""

from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from zoneinfo import ZoneInfo

from shared.callbacks import Rules
from shared.errors import Rejected

DAY = timedelta(hours=24)
# A form that was filled in a moment ago still means now.
JUST_NOW = timedelta(minutes=5)


def wished_for(preferred_at: datetime | None, now: datetime, rules: Rules) -> datetime:
    """The instant that the customer asks for, now where they name none. Raises Rejected for the past and far future."""
    if preferred_at is None:
        return now
    if preferred_at < now - JUST_NOW:
        raise Rejected("the preferred time is over", code="preferred_time_past")
    if preferred_at > now + rules.days_ahead * DAY:
        raise Rejected(f"at most {rules.days_ahead} days ahead", code="preferred_time_far")
    return max(preferred_at, now)


def next_open(at: datetime, zone: str, rules: Rules) -> datetime:
    """The first instant from `at` on (aware) that lies within the customer's hours, in UTC."""
    there = ZoneInfo(zone)
    local = at.astimezone(there)
    if rules.opens <= local.time() < rules.closes:
        return at.astimezone(UTC)
    opening = partial(_instant, time=rules.opens, there=there)
    today = opening(local.date())
    return today if today >= at and local.time() < rules.opens else opening(local.date() + timedelta(days=1))


def closing(at: datetime, zone: str, rules: Rules) -> datetime:
    """The end of the customer's hours on the day of `at`, in UTC."""
    there = ZoneInfo(zone)
    return _instant(at.astimezone(there).date(), time=rules.closes, there=there)


def _instant(day: date, *, time: time, there: ZoneInfo) -> datetime:
    """A wall clock's time as an instant; one that a day skips is the same while after."""
    return datetime.combine(day, time, there).astimezone(UTC)


# Attempts


def again_at(outcome: str, attempts: int, now: datetime, zone: str, rules: Rules) -> datetime | None:
    """When to call again after `attempts` calls that reached nobody; None: write to them instead."""
    if attempts >= rules.attempts:
        return None
    return next_open(now + (rules.again_after_busy if outcome == "busy" else rules.again_after), zone, rules)
