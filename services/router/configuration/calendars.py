"""Calendars as the configuration file writes them: days, shifts, holidays; whatever cannot be meant is refused."""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from itertools import pairwise
from typing import Annotated
from zoneinfo import available_timezones

from holidays.utils import list_supported_countries
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from services.router.domain.hours import DAYS, Shift
from shared.ids import derived_id

CLOSED = "closed"
DAY = 1440
WEEK = 7 * DAY
_NAMES = [name.lower() for name in DAYS]


def _days(text: str) -> tuple[int, ...]:
    """The weekdays of `mon`, `mon-fri` or `sat-mon`. Raises ValueError."""
    first, _, last = text.partition("-")
    if first not in _NAMES or (last or first) not in _NAMES:
        raise ValueError(f"days are written like mon or mon-fri; there are {', '.join(_NAMES)}")
    begin, end = _NAMES.index(first), _NAMES.index(last or first)
    return tuple((begin + n) % 7 for n in range((end - begin) % 7 + 1))


def _name_of_days(text: str) -> str:
    _days(text)
    return text


def _shifts(value: object) -> tuple[Shift, ...]:
    """Shifts in their order; one that ends before it begins ends on the next day. Raises ValueError."""
    if value == CLOSED:
        return ()
    written = value if isinstance(value, list) else [value]
    shifts = sorted(map(_shift, written))
    if any(earlier[1] > later[0] for earlier, later in pairwise(shifts)):
        raise ValueError("two shifts of a day overlap; make one of them, or mend their times")
    return tuple(shifts)


def _shift(text: object) -> Shift:
    match = re.fullmatch(r"(\d{1,2}):(\d{2})-(\d{1,2}):(\d{2})", text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"a shift is written like 09:00-17:00, and a day without one `{CLOSED}`")
    begin, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
    if begin >= DAY or end > DAY or int(match[2]) > 59 or int(match[4]) > 59:
        raise ValueError("a shift begins between 00:00 and 23:59 and ends by 24:00")
    if begin == end:
        raise ValueError("a shift has no length; a whole day is 00:00-24:00")
    return begin, end if end > begin else end + DAY


def _zone(text: str) -> str:
    if text not in available_timezones():
        raise ValueError("that is no zone of the IANA database; write it like Europe/Berlin")
    return text


def _place(text: str) -> str:
    country, _, part = text.partition("-")
    parts = list_supported_countries().get(country)
    if parts is None:
        raise ValueError("holidays are known by countries such as DE, or parts of them such as DE-BY")
    if part and part not in parts:
        known = ", ".join(parts) or "none"
        raise ValueError(f"that country has no such part; those with holidays of their own: {known}")
    return text


Days = Annotated[str, AfterValidator(_name_of_days)]
Shifts = Annotated[tuple[Shift, ...], BeforeValidator(_shifts)]


class Calendar(BaseModel):
    """Opening hours: `week` by days, `holidays` of a country or a part of it, `dates` that are other than their day."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(min_length=1, max_length=200)]
    zone: Annotated[str, AfterValidator(_zone)]
    week: dict[Days, Shifts]
    holidays: Annotated[str, AfterValidator(_place)] | None = None
    dates: dict[date, Shifts] = {}

    @model_validator(mode="after")
    def _makes_sense(self) -> "Calendar":
        named = [day for days in self.week for day in _days(days)]
        twice = sorted({day for day in named if named.count(day) > 1})
        if twice:
            raise ValueError(f"`week` names {DAYS[twice[0]]} twice; once is enough")
        if not self.open_in_a_week:
            raise ValueError("it never opens; give `week` at least one shift")
        over = sorted((day * DAY + begin, day * DAY + end) for day, of in enumerate(self.days) for begin, end in of)
        around = [*over, (over[0][0] + WEEK, over[0][1] + WEEK)]
        for earlier, later in pairwise(around):
            if earlier[1] > later[0]:
                raise ValueError(f"a shift of {DAYS[earlier[0] // DAY]} goes on into one of the next day")
        return self

    @property
    def days(self) -> Sequence[Sequence[Shift]]:
        """The shifts of seven days, Monday first."""
        of = {day: shifts for days, shifts in self.week.items() for day in _days(days)}
        return [of.get(day, ()) for day in range(7)]

    @property
    def open_in_a_week(self) -> timedelta:
        return timedelta(minutes=sum(end - begin for shifts in self.days for begin, end in shifts))

    def row(self, handle: str) -> dict[str, object]:
        """As the table has it."""
        return {
            "id": derived_id("calendar", handle),
            "handle": handle,
            "name": self.name,
            "zone": self.zone,
            "week": [[list(shift) for shift in shifts] for shifts in self.days],
            "place": self.holidays or "",
            "dates": {day.isoformat(): [list(shift) for shift in shifts] for day, shifts in self.dates.items()},
        }
