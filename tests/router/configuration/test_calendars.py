"""Calendars, policies with hours, and webhooks in the file."""

import re
from datetime import date, timedelta

import pytest

from services.router.configuration import apply, diff
from services.router.store.configuration import ConfigurationCache
from shared.db.transaction import Database
from shared.ids import derived_id
from shared.secrets import Vault
from tests.router.configuration.small import SMALL, VARIABLES, problems, small

CALENDAR = """\
calendars:
  office:
    name: Office
    zone: Europe/Berlin
    week: {mon-thu: ["13:30-17:00", "09:00-12:30"], fri: "22:00-02:00"}
    holidays: DE-BY
    dates: {2026-12-24: closed, 2026-12-31: "09:00-12:00"}
policies:
  default: {first_response: 8h, next_response: 2h, warn_before: 60m, calendar: office}
webhooks:
  pager:
    url: https://pager.example/hook
    events: [deadline.missed]
    brands: [shop]
    secrets: ["${PAGER}"]
"""
WITH_HOURS = SMALL.replace("policies:\n  default: {first_response: 8h, warn_before: 60m}\n", CALENDAR)
PAGER = "whsec_" + "YWFh" * 8
HOURLY = VARIABLES | {"PAGER": PAGER}


async def test_calendars_and_webhooks_are_read_as_they_were_meant(database: Database, vault: Vault) -> None:
    wanted = small(WITH_HOURS, HOURLY)
    async with database.transaction() as tx:
        lines = await apply(tx, wanted, vault, "test")
        assert {"+ calendar office", "+ webhook pager"} <= set(lines)
        assert await diff(tx, wanted, vault) == []
        read = await ConfigurationCache().current(tx)
        hook = await tx.fetchrow("SELECT * FROM config.webhook")
    (policy,) = read.policies
    hours = policy.hours
    assert hours is not None
    assert (policy.next_response, hours.zone, hours.place) == (timedelta(hours=2), "Europe/Berlin", "DE-BY")
    day = [(540, 750), (810, 1020)]
    assert hours.week == [day, day, day, day, [(1320, 1560)], [], []]
    assert hours.dates == {date(2026, 12, 24): [], date(2026, 12, 31): [(540, 720)]}
    assert hook is not None
    assert (hook["events"], hook["brands"]) == (["deadline.missed"], [derived_id("brand", "shop")])
    assert [vault.open(sealed) for sealed in hook["sealed"]] == [PAGER]
    assert PAGER.encode() not in b"".join(hook["sealed"])


async def test_a_webhook_keeps_its_state_and_one_that_is_not_in_the_file_stays(
    database: Database, vault: Vault
) -> None:
    async with database.transaction() as tx:
        await apply(tx, small(WITH_HOURS, HOURLY), vault, "test")
        await tx.execute("UPDATE config.webhook SET enabled = false, reason = 'gone'")
        other = "whsec_" + "YmJi" * 8
        rotated = WITH_HOURS.replace('["${PAGER}"]', f'["{other}", "${{PAGER}}"]').replace("/hook", "/other")
        assert await apply(tx, small(rotated, HOURLY), vault, "test") == ["~ webhook pager: url, secrets"]
        assert await diff(tx, small(rotated, HOURLY), vault) == []
        assert not await tx.fetchval("SELECT enabled FROM config.webhook")
        lines = await apply(tx, small(), vault, "test")
        assert "= webhook pager is not in the file and was left in place" in lines
        assert "- calendar office" in lines
        assert (await ConfigurationCache().current(tx)).policies[0].hours is None


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("Europe/Berlin", "Europe/Bärlin", "no zone of the IANA database"),
        ('"09:00-12:30"', '"09:00-14:00"', "two shifts of a day overlap"),
        ('"22:00-02:00"', '"22:00-26:00"', "ends by 24:00"),
        ('"22:00-02:00"', '"9-17"', "a shift is written like 09:00-17:00"),
        ('"22:00-02:00"', '"22:00-22:00"', "no length"),
        ("mon-thu:", "mon-thr:", "days are written like mon or mon-fri"),
        ("fri:", "thu:", "names Thu twice"),
        ('fri: "22:00-02:00"', 'wed-fri: "22:00-02:00"', "names Wed twice"),
        ('"09:00-12:30"], fri: "22:00-02:00"', '"09:00-12:30"], fri: "22:00-02:00", sat: "01:00-05:00"',
         "a shift of Fri goes on into one of the next day"),
        ('fri: "22:00-02:00"', 'sun: "22:00-11:00"', "a shift of Sun goes on into one of the next day"),
        ('{mon-thu: ["13:30-17:00", "09:00-12:30"], fri: "22:00-02:00"}', "{mon-sun: closed}", "it never opens"),
        ("DE-BY", "DE-XX", "no such part"),
        ("holidays: DE-BY", "holidays: XX", "holidays are known by countries"),
        ("2026-12-24: closed", "2026-12-34: closed", "date"),
        ("calendar: office", "calendar: offices", "there is no `offices` in calendars"),
        ("first_response: 8h", "first_response: 364d", "open for less than that in a year"),
        ("next_response: 2h", "next_response: 30m", "`warn_before` is shorter than `next_response`"),
        ("default: {first", "default: {family: law, first", "family"),
        ("https://pager.example/hook", "pager.example", "an address is written like"),
        ("https://pager", "https://me:secret@pager", "an address is written like"),
        ("deadline.missed", "deadline.mist", "events"),
        ("brands: [shop]\n    secrets", "brands: [shap]\n    secrets", "there is no `shap` in brands"),
        ("${PAGER}", "too-short", "a webhook's secret is whsec_"),
    ],
)  # fmt: skip
def test_a_calendar_a_policy_or_a_webhook_that_cannot_be_meant_is_told_with_its_line(
    old: str, new: str, what: str
) -> None:
    assert old in WITH_HOURS
    found = problems(WITH_HOURS.replace(old, new, 1), HOURLY)
    assert any(what in problem for problem in found), found
    assert all(re.match(r"small\.yaml:\d+: ", problem) and "secret@" not in problem for problem in found)
