"""Which mails a client of the store means: sets of numbers, and the keys of SEARCH.

Source: RFC 3501 §6.4.4 (SEARCH) and §9 (sequence sets, strings).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime

from services.sandbox.mail.store import Mail
from services.sandbox.mail.structure import section

TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|\(|\)|body(?:\.peek)?\[[^\]]*\](?:<[\d.]+>)?|[^\s()"]+', re.IGNORECASE)
FLAG_KEYS = {
    "SEEN": "\\seen", "DELETED": "\\deleted", "FLAGGED": "\\flagged", "ANSWERED": "\\answered", "DRAFT": "\\draft",
}  # fmt: skip
DAY_KEYS: Mapping[str, Callable[[date, date], bool]] = {
    "SINCE": date.__ge__, "SENTSINCE": date.__ge__, "BEFORE": date.__lt__, "SENTBEFORE": date.__lt__, "ON": date.__eq__,
}  # fmt: skip
WORD_KEYS = {
    "FROM": "HEADER.FIELDS (FROM)", "TO": "HEADER.FIELDS (TO)", "CC": "HEADER.FIELDS (CC)",
    "SUBJECT": "HEADER.FIELDS (SUBJECT)", "TEXT": "", "BODY": "TEXT",
}  # fmt: skip

Numbered = list[tuple[int, Mail]]


class Wrong(Exception):
    """A command that is none: the client gets a BAD with these words."""


def tokens(arguments: bytes) -> list[str]:
    """Words and strings in order, lists flattened."""
    found = []
    for match in TOKEN.finditer(arguments):
        raw = match[0]
        if raw in (b"(", b")"):
            continue
        if raw.startswith(b'"'):
            raw = re.sub(rb"\\(.)", rb"\1", raw[1:-1], flags=re.DOTALL)
        found.append(raw.decode("utf-8", "surrogateescape"))
    return found


def chosen(mails: Numbered, wanted: str, *, by_uid: bool) -> Numbered:
    """Those of the set. Raises Wrong."""
    last = max((mail.uid if by_uid else number for number, mail in mails), default=0)
    ranges = _ranges(wanted, last)
    return [
        (number, mail)
        for number, mail in mails
        if any(low <= (mail.uid if by_uid else number) <= high for low, high in ranges)
    ]


def _ranges(wanted: str, last: int) -> list[tuple[int, int]]:
    ranges = []
    for piece in wanted.split(","):
        ends = [last if end == "*" else int(end) if end.isdigit() else -1 for end in piece.split(":")]
        if min(ends) < 0 or len(ends) > 2:
            raise Wrong("this is no set of numbers")
        ranges.append((min(ends), max(ends)))
    return ranges


def search(mails: Numbered, keys: Sequence[str]) -> Numbered:
    """Those that fit all keys. Raises Wrong."""
    rest = list(keys[2:] if keys and keys[0].upper() == "CHARSET" else keys)
    found = mails
    while rest:
        found = _narrowed(mails, found, rest)
    return found


def _narrowed(mails: Numbered, found: Numbered, rest: list[str]) -> Numbered:
    """What is left by the next key, which is taken off `rest`."""
    name = rest.pop(0).upper()
    if name == "NOT":
        out = _narrowed(mails, found, rest)
        return [entry for entry in found if entry not in out]
    if name == "ALL":
        return found
    flag = FLAG_KEYS.get(name.removeprefix("UN"))
    if flag is not None:
        return [entry for entry in found if (flag in entry[1].flags) != name.startswith("UN")]
    if name[:1].isdigit() or name[:1] == "*":
        fitting = chosen(mails, name, by_uid=False)
        return [entry for entry in found if entry in fitting]
    if not rest:
        raise Wrong("this key lacks its value, or this store does not know it")
    return _by_value(mails, found, name, rest.pop(0), rest)


def _by_value(mails: Numbered, found: Numbered, name: str, value: str, rest: list[str]) -> Numbered:
    if name == "UID":
        # A set of UIDs names the last mail of the folder, not of what is left.
        numbers = {number for number, _ in chosen(mails, value, by_uid=True)}
        return [entry for entry in found if entry[0] in numbers]
    if name in DAY_KEYS:
        day = _day(value)
        return [entry for entry in found if DAY_KEYS[name](entry[1].at.date(), day)]
    if name in ("LARGER", "SMALLER") and value.isdigit():
        return [entry for entry in found if (len(entry[1].raw) > int(value)) == (name == "LARGER")]
    if name == "HEADER" and rest:
        return _with_words(found, f"HEADER.FIELDS ({value})", rest.pop(0))
    if name in WORD_KEYS:
        return _with_words(found, WORD_KEYS[name], value)
    raise Wrong("this store does not search by that")


def _with_words(found: Numbered, where: str, words: str) -> Numbered:
    wanted = words.lower().encode("utf-8", "surrogateescape")
    return [entry for entry in found if wanted in section(entry[1].raw, where).lower()]


def _day(value: str) -> date:
    try:
        return datetime.strptime(value, "%d-%b-%Y").date()  # noqa: DTZ007 - a day of the server's calendar
    except ValueError:
        raise Wrong("this is no day") from None
