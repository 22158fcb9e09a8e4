"""Which numbers are called, in which hours, and how often."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.callbacks import again_at, closing, next_open, wished_for
from services.router.domain.whispers import PHRASES, whisper
from shared.accounts import Inbox
from shared.callbacks import number, rules_of
from shared.errors import InboxMisconfigured, Rejected

NOW = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)


def an_inbox(country: str | None = "DE", **settings: Any) -> Inbox:
    return Inbox(
        id=UUID(int=1), brand_id=UUID(int=2), account_id=UUID(int=3), channel="phone", address="+493023125100",
        country=country, settings=settings,
    )  # fmt: skip


RULES = rules_of(an_inbox(countries=["DE", "GB", "US", "CH", "FR"]))


@pytest.mark.parametrize(
    ("written", "e164", "country", "zone"),
    [
        ("+493023125123", "+493023125123", "DE", "Europe/Berlin"),
        ("+49 (30) 2312-5123", "+493023125123", "DE", "Europe/Berlin"),
        ("+49 171 39200 12", "+491713920012", "DE", "Europe/Berlin"),
        ("+44 20 7946 0123", "+442079460123", "GB", "Europe/London"),
        ("+1 202-555-0123", "+12025550123", "US", "America/New_York"),
    ],
)
def test_a_persons_number_is_called(written: str, e164: str, country: str, zone: str) -> None:
    found = number(written, "", RULES, NOW)
    assert (found.e164, found.country, found.zone) == (e164, country, zone)


@pytest.mark.parametrize(
    ("written", "code"),
    [
        ("", "number_malformed"),
        ("03023125123", "number_malformed"),
        ("0049 30 23125123", "number_malformed"),
        ("+49-FLOWERS", "number_malformed"),
        ("+49 30 23125123 ext. 7", "number_malformed"),
        ("+49302312\x005123", "number_malformed"),
        ("+٤٩٣٠٢٣١٢٥١٢٣", "number_malformed"),
        ("++493023125123", "number_malformed"),
        ("+999123456789", "number_malformed"),
        ("+49" + "1" * 28, "number_malformed"),
        ("+49110", "number_malformed"),
        ("+49112000", "number_invalid"),
        ("+4930", "number_malformed"),
        ("+44 7700", "number_invalid"),
        ("+49 900 1 234567", "number_not_called"),
        ("+49 180 1234567", "number_not_called"),
        ("+33 891 234567", "number_not_called"),
        ("+44 70 1234 5678", "number_not_called"),
        ("+44 871 234 5678", "number_not_called"),
        ("+1 900 234 5678", "number_not_called"),
        ("+1 800 555 1234", "number_not_called"),
        ("+18765550123", "country_not_allowed"),
        ("+390612345678", "country_not_allowed"),
        ("+8816 3155 5512", "country_not_allowed"),
    ],
)
def test_other_numbers_are_refused_and_it_is_said_why(written: str, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        number(written, "Europe/Berlin", RULES, NOW)
    assert refused.value.code == code
    assert "4930" not in str(refused.value)


@given(st.text(max_size=40) | st.from_regex(r"\+[0-9 ]{0,20}", fullmatch=True))
def test_whatever_is_written_is_a_number_in_an_allowed_country_or_refused(written: str) -> None:
    try:
        found = number(written, "", RULES, NOW)
    except Rejected:
        return
    assert found.country in RULES.countries
    assert found.e164.removeprefix("+").isdecimal()


def test_a_zone_is_the_named_one_or_the_numbers_own_or_asked_for() -> None:
    assert number("+493023125123", "America/New_York", RULES, NOW).zone == "America/New_York"
    for zone in ("Mars/Olympus", "CET2", "../etc/passwd", "europe/berlin"):
        with pytest.raises(Rejected) as refused:
            number("+493023125123", zone, RULES, NOW)
        assert refused.value.code == "unknown_zone"
    # A mobile of Jamaica may be anywhere in North America.
    with pytest.raises(Rejected) as refused:
        number("+18765550123", "", rules_of(an_inbox("JM")), NOW)
    assert refused.value.code == "zone_needed"


@pytest.mark.parametrize(
    ("settings", "country"),
    [
        ({"countries": ["Germany"]}, "DE"), ({"countries": "DE"}, "DE"), ({"countries": []}, "DE"), ({}, None),
        ({"attempts": 0}, "DE"), ({"attempts": "3"}, "DE"), ({"a_day": True}, "DE"), ({"opens": "noon"}, "DE"),
        ({"opens": "20:00", "closes": "09:00"}, "DE"), ({"opens": "09:00+01:00"}, "DE"),
        ({"again_after_minutes": -5}, "DE"),
    ],
    ids=str,
)  # fmt: skip
def test_settings_that_are_no_rules_are_a_misconfigured_inbox(settings: Any, country: str | None) -> None:
    with pytest.raises(InboxMisconfigured):
        rules_of(an_inbox(country, **settings))


def test_without_settings_a_line_calls_its_own_country_from_nine_to_eight() -> None:
    rules = rules_of(an_inbox("PL"))
    assert rules.countries == {"PL"}
    assert (rules.opens.hour, rules.closes.hour, rules.attempts) == (9, 20, 3)


def berlin(day: int, hour: int, minute: int = 0, month: int = 11) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=ZoneInfo("Europe/Berlin"))


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        (berlin(23, 10), berlin(23, 10)),
        (berlin(23, 9), berlin(23, 9)),
        (berlin(23, 8, 59), berlin(23, 9)),
        (berlin(23, 19, 59), berlin(23, 19, 59)),
        (berlin(23, 20), berlin(24, 9)),
        (berlin(23, 23, 30), berlin(24, 9)),
        (berlin(24, 0, 30), berlin(24, 9)),
        # The night in which the clocks go back, and the one in which they go forward.
        (berlin(24, 21, month=10), berlin(25, 9, month=10)),
        (berlin(28, 21, month=3), berlin(29, 9, month=3)),
    ],
)  # fmt: skip
def test_a_customer_is_called_in_their_own_hours(at: datetime, opens: datetime) -> None:
    assert next_open(at.astimezone(UTC), "Europe/Berlin", RULES) == opens


def test_hours_begin_and_end_by_the_wall_clock_when_the_clocks_change() -> None:
    # From summer to winter time the night is an hour longer, from winter to summer time an hour shorter.
    assert next_open(berlin(24, 20, month=10), "Europe/Berlin", RULES) - berlin(24, 20, month=10).astimezone(
        UTC
    ) == timedelta(hours=14)
    assert next_open(berlin(28, 20, month=3), "Europe/Berlin", RULES) - berlin(28, 20, month=3).astimezone(
        UTC
    ) == timedelta(hours=12)
    assert closing(berlin(25, 12, month=10), "Europe/Berlin", RULES) == berlin(25, 20, month=10)


def test_an_opening_that_the_clocks_skip_is_as_much_later() -> None:
    early = rules_of(an_inbox("DE", opens="02:30"))
    assert next_open(berlin(29, 1, month=3), "Europe/Berlin", early) == berlin(29, 3, 30, month=3)


@given(
    at=st.integers(0, 2 * 366 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Asia/Tokyo", "Australia/Lord_Howe", "Pacific/Apia", "UTC"]
    ),
)  # fmt: skip
def test_it_is_never_before_the_wish_nor_outside_the_hours_nor_days_later(at: datetime, zone: str) -> None:
    opens = next_open(at, zone, RULES)
    assert at <= opens < at + timedelta(days=1)
    assert RULES.opens <= opens.astimezone(ZoneInfo(zone)).time() < RULES.closes
    assert opens < closing(opens, zone, RULES)


@pytest.mark.parametrize(
    ("preferred", "code"),
    [
        (NOW - timedelta(minutes=6), "preferred_time_past"),
        (NOW - timedelta(days=400), "preferred_time_past"),
        (NOW + timedelta(days=15), "preferred_time_far"),
    ],
)
def test_a_time_in_the_past_or_far_ahead_is_refused(preferred: datetime, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        wished_for(preferred, NOW, RULES)
    assert refused.value.code == code


def test_a_time_of_a_moment_ago_is_now() -> None:
    assert wished_for(NOW - timedelta(minutes=4), NOW, RULES) == NOW
    assert wished_for(None, NOW, RULES) == NOW
    assert wished_for(NOW + timedelta(days=2), NOW, RULES) == NOW + timedelta(days=2)


@pytest.mark.parametrize(
    ("outcome", "attempts", "at", "again"),
    [
        ("customer_absent", 1, berlin(23, 10), berlin(23, 12)),
        ("machine", 2, berlin(23, 10), berlin(23, 12)),
        ("busy", 1, berlin(23, 10), berlin(23, 10, 15)),
        ("customer_absent", 1, berlin(23, 19), berlin(24, 9)),
        ("busy", 2, berlin(23, 19, 50), berlin(24, 9)),
        ("customer_absent", 3, berlin(23, 10), None),
    ],
)
def test_who_was_not_reached_is_called_again_in_their_hours_and_three_times_at_most(
    outcome: str, attempts: int, at: datetime, again: datetime | None
) -> None:
    assert again_at(outcome, attempts, at.astimezone(UTC), "Europe/Berlin", RULES) == again


@pytest.mark.parametrize("language", sorted(PHRASES))
def test_a_whisper_says_who_waits_for_whom_and_why_in_every_language(language: str) -> None:
    spoken, said = whisper(language, "Alpenlicht", "Ina\nKunde", "A-1007")
    assert spoken == language
    assert all(word in said for word in ("Alpenlicht", "Ina Kunde", "A-1007"))
    _, of_nobody = whisper(language, "Alpenlicht", "", None)
    assert PHRASES[language].somebody in of_nobody
    assert "{" not in said + of_nobody


def test_whoever_speaks_another_language_hears_english_and_nobody_listens_for_minutes() -> None:
    spoken, said = whisper("eo", "Alpenlicht", "x" * 5000, "y" * 5000)
    assert (spoken, said[:8]) == ("en", "Callback")
    assert len(said) < 200
