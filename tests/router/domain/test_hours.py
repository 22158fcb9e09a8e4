"""Open time: split shifts, nights, holidays, both changes of the clocks, and laws that hold for every calendar."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.domain.hours import Hours, deadline, described, elapsed
from shared.errors import InboxMisconfigured

ID = UUID(int=1)
NONE: tuple[tuple[int, int], ...] = ()
NINE_TO_FIVE = ((540, 1020),)


def office(zone: str = "Europe/Berlin", shifts: tuple[tuple[int, int], ...] = NINE_TO_FIVE, **more: object) -> Hours:
    """Monday to Friday."""
    return Hours(id=ID, name="Office", zone=zone, week=(*[shifts] * 5, NONE, NONE), **more)  # type: ignore[arg-type]


def nights(zone: str = "Europe/Berlin") -> Hours:
    """Every night from ten to six."""
    return Hours(id=ID, name="Nights", zone=zone, week=[((1320, 1800),)] * 7)


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


H = timedelta(hours=1)
SPLIT = ((540, 750), (810, 1020))
STORIES = {
    "within_a_day": (office(), "2026-11-23 10:00", 2 * H, "2026-11-23 12:00"),
    "over_the_night": (office(), "2026-11-23 16:00", 3 * H, "2026-11-24 11:00"),
    "over_the_weekend": (office(), "2026-11-27 16:30", 8 * H, "2026-11-30 16:30"),
    "from_sunday": (office(), "2026-11-29 22:00", H, "2026-11-30 10:00"),
    "to_the_very_end_of_the_day": (office(), "2026-11-27 09:00", 8 * H, "2026-11-27 17:00"),
    "over_a_lunch": (office(shifts=SPLIT), "2026-11-23 12:00", H, "2026-11-23 14:00"),
    "within_a_lunch": (office(shifts=SPLIT), "2026-11-23 12:45", H, "2026-11-23 14:30"),
    "nothing_allowed": (office(), "2026-11-29 22:00", 0 * H, "2026-11-29 22:00"),
    "a_night_goes_on_after_midnight": (nights(), "2026-11-23 05:00", 2 * H, "2026-11-23 23:00"),
    "a_night_goes_on_before_midnight": (nights(), "2026-11-23 23:00", 2 * H, "2026-11-24 01:00"),
    # The clocks of Berlin go from 2:00 to 3:00 on 29 March 2026 and from 3:00 to 2:00 on 25 October.
    "a_short_night_in_spring": (nights(), "2026-03-28 22:00", 7 * H, "2026-03-29 06:00"),
    "a_long_night_in_autumn": (nights(), "2026-10-24 22:00", 9 * H, "2026-10-25 06:00"),
    "office_hours_stay_over_spring": (office(), "2026-03-27 16:00", 2 * H, "2026-03-30 10:00"),
    "office_hours_stay_over_autumn": (office(), "2026-10-23 16:00", 2 * H, "2026-10-26 10:00"),
    # Christmas 2026 is a Friday; the 26th a Saturday.
    "christmas": (office(place="DE"), "2026-12-24 16:00", 2 * H, "2026-12-28 10:00"),
    "christmas_is_worked_without_holidays": (office(), "2026-12-24 16:00", 2 * H, "2026-12-25 10:00"),
    # 6 January is a holiday in Bavaria, and none in Berlin.
    "a_holiday_of_one_part": (office(place="DE-BY"), "2026-01-05 16:30", H, "2026-01-07 09:30"),
    "not_of_the_other": (office(place="DE-BE"), "2026-01-05 16:30", H, "2026-01-06 09:30"),
    "a_day_of_ones_own": (office(dates={date(2026, 11, 24): NONE}), "2026-11-23 16:00", 2 * H, "2026-11-25 10:00"),
    "open_on_a_holiday_all_the_same": (
        office(place="DE", dates={date(2026, 12, 25): ((600, 720),)}), "2026-12-25 08:00", H, "2026-12-25 11:00"
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_a_deadline_counts_open_time_alone(story: str) -> None:
    hours, since, allowed, due = STORIES[story]
    assert deadline(at(since), allowed, hours) == at(due)
    assert elapsed(at(since), at(due), hours) == allowed


def test_a_night_that_begins_before_a_holiday_is_worked_to_its_end_and_the_holidays_own_is_not() -> None:
    christmas = Hours(id=ID, name="Nights", zone="Europe/Berlin", week=[((1320, 1800),)] * 7, place="DE")
    assert elapsed(at("2026-12-24 22:00"), at("2026-12-27 12:00"), christmas) == 8 * H
    assert deadline(at("2026-12-24 22:00"), 9 * H, christmas) == at("2026-12-27 23:00")


def test_a_shift_within_the_hour_that_the_clocks_leap_over_is_cut_there() -> None:
    hours = Hours(id=ID, name="Night", zone="Europe/Berlin", week=[((150, 360),)] * 7)
    assert elapsed(at("2026-03-29 00:00"), at("2026-03-29 12:00"), hours) == 3 * H
    assert deadline(at("2026-03-29 00:00"), H, hours) == at("2026-03-29 04:00")
    wholly = Hours(id=ID, name="Night", zone="Europe/Berlin", week=[((130, 170),)] * 7)
    assert elapsed(at("2026-03-29 00:00"), at("2026-03-29 12:00"), wholly) == 0 * H


def test_a_day_that_a_zone_left_out_has_no_open_time() -> None:
    # Samoa went from 29 to 31 December 2011.
    every_day = Hours(id=ID, name="Shop", zone="Pacific/Apia", week=[NINE_TO_FIVE] * 7)
    since, until = at("2011-12-29 00:00", "Pacific/Apia"), at("2012-01-01 00:00", "Pacific/Apia")
    assert elapsed(since, until, every_day) == 16 * H


def test_around_the_clock_is_plain_time() -> None:
    since = at("2026-03-28 23:00")
    assert deadline(since, 24 * H, None) == since + 24 * H
    assert elapsed(since, since + 24 * H, None) == 24 * H


def test_a_calendar_that_never_opens_is_said_to_be_so() -> None:
    with pytest.raises(InboxMisconfigured) as raised:
        deadline(at("2026-01-01 00:00"), H, Hours(id=ID, name="Never", zone="UTC", week=[NONE] * 7))
    assert raised.value.code == "never_open"


@pytest.mark.parametrize(
    ("hours", "words"),
    [
        (office(), "Office, Mon-Fri 9-17 Berlin"),
        (office(shifts=SPLIT), "Office, Mon-Fri 9-12:30, 13:30-17 Berlin"),
        (nights("America/New_York"), "Nights, Mon-Sun 22-6 New York"),
        (
            Hours(id=ID, name="Shop", zone="UTC", week=[((0, 1440),), NONE, NONE, NONE, NONE, ((600, 840),), NONE]),
            "Shop, Mon 0-24; Sat 10-14 UTC",
        ),
    ],
    ids=str,
)
def test_a_calendar_is_told_in_words(hours: Hours, words: str) -> None:
    assert described(hours) == words


ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Kathmandu", "UTC"]


@st.composite
def calendars(draw: st.DrawFn) -> Hours:
    """Weeks with some shifts on some days, over midnight too; there is always one that opens."""

    def day() -> tuple[tuple[int, int], ...]:
        bounds = sorted(draw(st.sets(st.integers(0, 1439), max_size=4)))
        shifts = list(zip(bounds[::2], bounds[1::2], strict=False))
        if len(bounds) % 2:
            shifts.append((bounds[-1], draw(st.integers(1440, 1440 + 120))))
        return tuple(shifts)

    week = [day() for _ in range(6)]
    dates = draw(st.dictionaries(st.dates(date(2026, 1, 1), date(2027, 12, 31)), st.just(NONE), max_size=5))
    return Hours(
        id=ID,
        name="Any",
        zone=draw(st.sampled_from(ZONES)),
        week=[*week, ((480, 720),)],
        place=draw(st.sampled_from(["", "DE-BY", "GB-SCT", "JP"])),
        dates=dates,
    )


# Around a change of the clocks and a holiday as often as anywhere else.
instants = st.one_of(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 1)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 3, 28), datetime(2026, 3, 30)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 10, 24), datetime(2026, 10, 26)),  # noqa: DTZ001
    st.datetimes(datetime(2026, 12, 24), datetime(2027, 1, 2)),  # noqa: DTZ001
).map(lambda wall: wall.replace(tzinfo=UTC, microsecond=0))
amounts = st.integers(1, 60 * 3600).map(lambda seconds: timedelta(seconds=seconds))


@settings(deadline=None)
@given(calendars(), instants, amounts)
def test_exactly_what_is_allowed_passes_until_the_deadline_and_not_before(
    hours: Hours, since: datetime, allowed: timedelta
) -> None:
    due = deadline(since, allowed, hours)
    assert elapsed(since, due, hours) == allowed
    assert elapsed(since, due - timedelta(seconds=1), hours) < allowed


@settings(deadline=None)
@given(calendars(), instants, amounts, amounts)
def test_a_deadline_in_two_steps_is_the_same(hours: Hours, since: datetime, one: timedelta, two: timedelta) -> None:
    assert deadline(deadline(since, one, hours), two, hours) == deadline(since, one + two, hours)


@settings(deadline=None)
@given(calendars(), st.lists(instants, min_size=3, max_size=3).map(sorted))
def test_open_time_adds_up(hours: Hours, times: list[datetime]) -> None:
    first, second, third = times
    whole = elapsed(first, third, hours)
    assert elapsed(first, second, hours) + elapsed(second, third, hours) == whole
    assert timedelta(0) <= whole <= third - first


@settings(deadline=None)
@given(calendars(), instants, instants, amounts)
def test_who_comes_later_is_due_no_earlier(hours: Hours, one: datetime, other: datetime, allowed: timedelta) -> None:
    earlier, later = sorted((one, other))
    assert deadline(earlier, allowed, hours) <= deadline(later, allowed, hours)


@settings(deadline=None)
@given(calendars(), instants, amounts)
def test_a_deadline_never_lies_where_it_is_closed(hours: Hours, since: datetime, allowed: timedelta) -> None:
    due = deadline(since, allowed, hours)
    second = timedelta(seconds=1)
    assert elapsed(due - second, due, hours) > timedelta(0)
