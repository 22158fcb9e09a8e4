"""What `dragoman doctor` asks: a question each, and what was found. Nothing here or in an answer holds a secret."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import asyncpg

from shared.errors import (
    AccountBroken,
    BadPayload,
    DragomanError,
    InboxBroken,
    InboxMisconfigured,
    Rejected,
    Throttled,
    Unavailable,
)

Verdict = Literal["well", "warning", "wrong", "skipped"]
WITHIN = 20.0
NO_ANSWER = frozenset({"no_connection", "no_answer"})
# After so many without an answer in a row the others of that account are not waited for too.
PATIENCE = 2
# What each way of failing asks of whoever reads it; the first that fits holds.
TO_DO: tuple[tuple[type[DragomanError], str], ...] = (
    (AccountBroken, "mend or renew the account's credentials and permissions, then `dragoman apply`"),
    (InboxBroken, "mend or renew this inbox's credentials at the vendor, then `dragoman apply`"),
    (InboxMisconfigured, "mend the configuration, then `dragoman apply`"),
    (Throttled, "ask again later"),
    (Unavailable, "look whether it is up, and reachable from this machine"),
    (BadPayload, "look whether the address is the vendor's: it answers in another form than documented"),
    (Rejected, "look up the code on the channel's page and mend the configuration"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to a check; `to_do` is empty where nothing has to be done."""

    verdict: Verdict
    says: str
    to_do: str = ""
    # Of an error, for programs.
    code: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """A question without effect. `look` may raise one of `shared.errors`, which then is the answer."""

    name: str
    look: Callable[[], Awaitable[Finding]]
    within: float = WITHIN


@dataclass(frozen=True, slots=True)
class Line:
    """A check with its answer."""

    check: str
    finding: Finding


def well(says: str) -> Finding:
    return Finding("well", says)


def warning(says: str, to_do: str) -> Finding:
    return Finding("warning", says, to_do)


def wrong(says: str, to_do: str) -> Finding:
    return Finding("wrong", says, to_do)


def skipped(says: str, to_do: str = "") -> Finding:
    return Finding("skipped", says, to_do)


async def answered(check: Check) -> Line:
    """What a check says, within its time."""
    try:
        async with asyncio.timeout(check.within):
            return Line(check.name, await check.look())
    except TimeoutError:
        return Line(check.name, told(Unavailable(f"no answer within {check.within:g} s", code="no_answer")))
    except DragomanError as error:
        return Line(check.name, told(error))
    except asyncpg.PostgresError as error:
        says = f"the database refuses to tell: {type(error).__name__}"
        return Line(check.name, wrong(says, "connect as the owner of the tables"))


async def answered_in_turn(checks: Iterable[Check]) -> list[Line]:
    """One after the other, those of one account or one server, until nobody answers any more."""
    lines: list[Line] = []
    for check in checks:
        latest = lines[-PATIENCE:]
        if len(latest) == PATIENCE and all(line.finding.code in NO_ANSWER for line in latest):
            lines.append(Line(check.name, Finding("skipped", "nobody answered before", code="no_answer")))
        else:
            lines.append(await answered(check))
    return lines


def told(error: DragomanError) -> Finding:
    """An error as a finding; a vendor that only asks to wait is no fault of anybody's."""
    to_do = next((to_do for kind, to_do in TO_DO if isinstance(error, kind)), "look at the logs")
    verdict: Verdict = "warning" if isinstance(error, Throttled) else "wrong"
    return Finding(verdict, f"{error} ({error.code})", to_do, error.code)
