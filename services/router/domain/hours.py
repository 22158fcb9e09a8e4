"""Opening hours: how much open time lies between two instants, and when an amount of it has passed.

A calendar is a week of shifts on the clocks of one IANA zone, without the public holidays of a place, and with dates of
its own. A shift belongs to the day on which it begins: what begins on the eve of a holiday is worked to its end. Times
that a change of clocks leaves out are the instant of the change; of those that it repeats the first is meant.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import groupby
from uuid import UUID
from zoneinfo import ZoneInfo

from holidays import country_holidays
from holidays.utils import list_supported_countries

from shared.errors import InboxMisconfigured

# Minutes after midnight at which a shift begins and ends; what ends on the next day ends after 1440.
Shift = tuple[int, int]
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = timedelta(days=1)
# Whatever has not opened so long so often never will.
LONGEST = timedelta(days=3660)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hours:
    """`week` has seven days, Monday first; `place` is a country or a part of one (`DE`, `DE-BY`), "" without holidays.

    `dates` are days that have other shifts than their weekday, or none, also where they are holidays.
    """

    id: UUID
    name: str
    zone: str
    week: Sequence[Sequence[Shift]]
    place: str = ""
    dates: Mapping[date, Sequence[Shift]] = field(default_factory=dict)

    def shifts(self, day: date) -> Sequence[Shift]:
        """Those that begin on this day."""
        own = self.dates.get(day)
        if own is not None:
            return own
        return () if self.place and day in public_holidays(self.place, day.year) else self.week[day.weekday()]


@lru_cache(1024)
def is_known(place: str) -> bool:
    """Whether the holidays of the country, or of that part of it, are known."""
    country, _, part = place.partition("-")
    return part in list_supported_countries().get(country, ()) if part else country in list_supported_countries()


@lru_cache(1024)
def public_holidays(place: str, year: int) -> frozenset[date]:
    """Of a place that is known."""
    country, _, part = place.partition("-")
    return frozenset(country_holidays(country, subdiv=part or None, years=year))


def learn_holidays(calendars: Iterable[Hours], year: int) -> None:
    """Those of this year and its neighbours at once, so that no later look has to wait for the disk."""
    for place in {hours.place for hours in calendars if hours.place}:
        for near in (year - 1, year, year + 1):
            public_holidays(place, near)


def deadline(since: datetime, allowed: timedelta, hours: Hours | None) -> datetime:
    """The first instant at which `allowed` of open time has passed after `since` (aware; result in UTC).

    Without hours every instant is open. Raises InboxMisconfigured for a calendar that does not open often enough.
    """
    if hours is None or not allowed:
        return (since + allowed).astimezone(UTC)
    left = allowed
    for opens, closes in _open(hours, since, since + LONGEST):
        if closes - opens >= left:
            return opens + left
        left -= closes - opens
    raise InboxMisconfigured(f"the calendar {hours.id} does not open often enough", code="never_open")


def elapsed(since: datetime, until: datetime, hours: Hours | None) -> timedelta:
    """The open time between two aware instants; none where `until` is not later."""
    if hours is None:
        return max(until - since, timedelta(0))
    return sum((closes - opens for opens, closes in _open(hours, since, until)), timedelta(0))


def _open(hours: Hours, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
    """The open times between two instants, in order and apart, in UTC."""
    zone = ZoneInfo(hours.zone)
    reached, until = since.astimezone(UTC), until.astimezone(UTC)
    # What began the day before may go on; in some years a zone has left out a whole day.
    day, last = since.astimezone(zone).date() - 2 * DAY, until.astimezone(zone).date()
    while day <= last:
        for begin, end in hours.shifts(day):
            opens, closes = max(_instant(day, begin, zone), reached), min(_instant(day, end, zone), until)
            if opens < closes:
                yield opens, closes
                reached = closes
        day += DAY


def _instant(day: date, minutes: int, zone: ZoneInfo) -> datetime:
    """When the zone's clocks show that time for the first time, in UTC."""
    wall = datetime.combine(day, time(), zone) + timedelta(minutes=minutes)
    before, after = wall.utcoffset(), wall.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    if before >= after:
        return wall.astimezone(UTC)
    # The clocks leap over it. They do so between these two.
    low, high = wall.replace(fold=1).astimezone(UTC), wall.astimezone(UTC)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) // 2
        low, high = (middle, high) if middle.astimezone(zone).utcoffset() == before else (low, middle)
    return high.replace(microsecond=0)


def described(hours: Hours) -> str:
    """The calendar for people: its name, its week, the city of its zone."""
    groups = groupby(range(7), key=lambda day: list(hours.week[day]))
    spells = [(list(days), shifts) for shifts, days in groups if shifts]
    week = "; ".join(f"{_days(days)} {', '.join(map(_shift, shifts))}" for days, shifts in spells)
    return f"{hours.name}, {week} {hours.zone.rpartition('/')[2].replace('_', ' ')}"


def _days(days: Sequence[int]) -> str:
    return DAYS[days[0]] if len(days) == 1 else f"{DAYS[days[0]]}-{DAYS[days[-1]]}"


def _shift(shift: Shift) -> str:
    return "-".join(_time(minutes) for minutes in shift)


def _time(minutes: int) -> str:
    hour, minute = divmod(minutes, 60)
    shown = hour if hour <= 24 else hour - 24
    return f"{shown}:{minute:02}" if minute else str(shown)
