"""Which numbers are called back, and what else a brand allows; its rules are the settings of its phone inbox."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import phonenumbers
from phonenumbers import PhoneNumberType
from phonenumbers.timezone import time_zones_for_number

from shared.accounts import Inbox
from shared.errors import InboxMisconfigured, Rejected

# A person's telephone; every other type costs whoever calls it more, or is nobody's own.
CALLED = frozenset(
    {
        PhoneNumberType.FIXED_LINE,
        PhoneNumberType.MOBILE,
        PhoneNumberType.FIXED_LINE_OR_MOBILE,
        PhoneNumberType.VOIP,
    }
)
WRITTEN = re.compile(r"\+[0-9 ()./-]{6,30}")
UNKNOWN_ZONE = "Etc/Unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a brand allows. `countries` are regions, since one prefix (+1) has cheap and dear ones behind it."""

    countries: frozenset[str]
    a_day_per_number: int = 3
    a_day: int = 500
    days_ahead: int = 14
    # Calls to one customer before they are written to instead.
    attempts: int = 3
    again_after: timedelta = timedelta(hours=2)
    again_after_busy: timedelta = timedelta(minutes=15)
    # The hours in which a customer is called, by their own clock.
    opens: time = time(9)
    closes: time = time(20)


@dataclass(frozen=True, slots=True)
class Number:
    """A number that may be called: E.164, the country it belongs to, and the IANA zone of whoever has it."""

    e164: str
    country: str
    zone: str


def rules_of(inbox: Inbox) -> Rules:
    """The rules in an inbox's settings, under the same names; hours as `09:00`, waits as `..._minutes`.

    Raises InboxMisconfigured for a value that is none.
    """
    given = {"countries": [inbox.country] if inbox.country else [], **inbox.settings}
    try:
        rules = Rules(**{name: read(given[key]) for key, (name, read) in _READ.items() if key in given})
    except (TypeError, ValueError) as error:
        raise InboxMisconfigured(f"inbox {inbox.id}: {error}", code="bad_callback_rules") from None
    if not rules.countries or rules.opens >= rules.closes:
        raise InboxMisconfigured(
            f"inbox {inbox.id} needs `countries`, and `opens` before `closes`", code="bad_callback_rules"
        )
    return rules


def _country(value: object) -> str:
    if not isinstance(value, str) or value not in phonenumbers.SUPPORTED_REGIONS:
        raise ValueError("a country is two capital letters such as DE")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 1_000_000:
        raise ValueError("limits are whole numbers from 1 on")
    return value


def _countries(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        raise ValueError("`countries` is a list such as [DE, AT]")
    return frozenset(map(_country, value))


def _minutes(value: object) -> timedelta:
    return timedelta(minutes=_whole(value))


def _hour(value: object) -> time:
    at = time.fromisoformat(str(value))
    if at.tzinfo is not None:
        raise ValueError("an hour is the customer's own and has no offset")
    return at


# Name in the settings -> name of the rule, and how it is read.
_READ: Mapping[str, tuple[str, Callable[[object], Any]]] = {
    "countries": ("countries", _countries),
    "a_day_per_number": ("a_day_per_number", _whole),
    "a_day": ("a_day", _whole),
    "days_ahead": ("days_ahead", _whole),
    "attempts": ("attempts", _whole),
    "again_after_minutes": ("again_after", _minutes),
    "again_after_busy_minutes": ("again_after_busy", _minutes),
    "opens": ("opens", _hour),
    "closes": ("closes", _hour),
}


# Numbers


def number(written: str, zone: str, rules: Rules, now: datetime) -> Number:
    """The number as we call it. Raises Rejected: not a number, not called, another country, no such zone."""
    if not WRITTEN.fullmatch(written):
        raise Rejected("a number is written internationally, with + and its country's prefix", code="number_malformed")
    try:
        parsed = phonenumbers.parse(written)
    except phonenumbers.NumberParseException:
        raise Rejected("no country has numbers like this", code="number_malformed") from None
    country = phonenumbers.region_code_for_number(parsed)
    if parsed.extension or country is None or not phonenumbers.is_valid_number(parsed):
        raise Rejected("nobody has this number", code="number_invalid")
    if phonenumbers.number_type(parsed) not in CALLED:
        raise Rejected("premium, shared-cost and service numbers are not called", code="number_not_called")
    if country not in rules.countries:
        raise Rejected(f"numbers of {country} are not called for this brand", code="country_not_allowed")
    e164 = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return Number(e164, country, _zone(zone, parsed, now))


def country_of(e164: str) -> str | None:
    """The country of a number that was checked before."""
    return phonenumbers.region_code_for_number(phonenumbers.parse(e164))


def _zone(given: str, parsed: phonenumbers.PhoneNumber, now: datetime) -> str:
    """The zone that was named, else the number's own where all that it may be in show the same time."""
    if given and given not in available_timezones():
        raise Rejected("a zone is named as in the IANA database, such as Europe/Berlin", code="unknown_zone")
    zones = [given] if given else [zone for zone in time_zones_for_number(parsed) if zone != UNKNOWN_ZONE]
    if len({now.astimezone(ZoneInfo(zone)).utcoffset() for zone in zones}) != 1:
        raise Rejected("this number does not tell its time zone; name it", code="zone_needed")
    return zones[0]
