"""What of the router's own a machine must have: a detector that works, zones and holidays that calendars name."""

import asyncio
from functools import partial
from zoneinfo import available_timezones

from holidays.utils import list_supported_countries

from services.router.domain.language import detected_languages, load_model, py3langid
from shared.checks import Check, Finding, Line, answered_in_turn, warning, well, wrong
from shared.db.transaction import Database

SENTENCES = {
    "de": "Wo bleibt meine Bestellung?",
    "en": "Where is my order, please?",
    "fr": "Où est ma commande, s'il vous plaît ?",
}
INSTALL = "install this build with all its requirements"


async def examine(database: Database | None) -> list[Line]:
    """Without a database only what needs none."""
    checks = [Check("language detector", _detects)]
    if database is not None:
        checks.append(Check("languages of pools", partial(_languages, database)))
        checks.append(Check("calendars", partial(_calendars, database)))
    return await answered_in_turn(checks)


async def _detects() -> Finding:
    try:
        await asyncio.to_thread(load_model)
    except (ImportError, OSError) as error:
        return wrong(f"the model cannot be loaded: {type(error).__name__}", INSTALL)
    for language, sentence in SENTENCES.items():
        chances = py3langid(sentence)
        if max(chances, key=lambda one: chances[one]) != language:
            return wrong(f"it does not know a sentence in {language}", INSTALL)
    return well("it tells the languages of known sentences")


async def _languages(database: Database) -> Finding:
    async with database.transaction() as tx:
        rows = await tx.fetch("SELECT DISTINCT language FROM config.pool WHERE language IS NOT NULL ORDER BY 1")
    if unknown := [row["language"] for row in rows if row["language"] not in detected_languages()]:
        says = f"nothing is told to be {', '.join(unknown)} by its words alone"
        return warning(says, "let inboxes and countries say so, or mend the code")
    return well(f"{len(rows)} languages")


async def _calendars(database: Database) -> Finding:
    """Applied on another machine or with other data of zones and holidays than are here."""
    async with database.transaction() as tx:
        rows = await tx.fetch("SELECT handle, zone, place FROM config.calendar ORDER BY handle")
    zones, countries = available_timezones(), await asyncio.to_thread(list_supported_countries)
    for row in rows:
        country, _, part = row["place"].partition("-")
        if row["zone"] not in zones:
            return wrong(f"calendar {row['handle']}: this machine has no zone {row['zone']}", INSTALL)
        if country and (country not in countries or (part and part not in countries[country])):
            return wrong(f"calendar {row['handle']}: no holidays are known of {row['place']}", INSTALL)
    return well(f"{len(rows)} calendars")
