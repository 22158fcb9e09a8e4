"""Whether our own border says that a mail is from the domain in its From: Authentication-Results (RFC 8601)."""

import re
from collections.abc import Sequence
from email.message import Message

from shared.channels.email.headers import fields

QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
PLAIN = re.compile(r"[\w.@-]*", re.ASCII)
COMMENT = re.compile(r"\([^()]*\)")
DMARC = re.compile(r"^\s*dmarc\s*=\s*([a-z]+)\b(.*)$", re.IGNORECASE | re.DOTALL)
HEADER_FROM = re.compile(r"\bheader\.from\s*=\s*\"?([^\s;\"]+)", re.IGNORECASE)


def is_verified(message: Message, sender: str, trusted: Sequence[str]) -> bool:
    """Whether the topmost result of a trusted server passes DMARC for the sender's domain.

    Anybody can write such a header below, so only the first one of a trusted name counts; several From fields, or
    several people in one, are never verified. The name "" trusts results without a server's name, as Exchange Online
    writes them.
    """
    wanted = {name.lower() for name in trusted}
    for value in fields(message, "authentication-results"):
        server, results = _split(_bare(value))
        if server in wanted:
            return _passes(results, sender)
    return False


def _bare(value: str) -> str:
    """Without comments, nor what a stranger may have put into quotes: an envelope's sender may look like results."""
    value = QUOTED.sub(lambda quoted: quoted[1] if PLAIN.fullmatch(quoted[1]) else "", value)
    while (shorter := COMMENT.sub("", value)) != value:
        value = shorter
    return value


def _split(value: str) -> tuple[str, list[str]]:
    """The server's name and its results; no name where the first piece is a result already."""
    first, *rest = value.split(";")
    if "=" in first:
        return "", [first, *rest]
    # A version may follow the name.
    return first.strip().partition(" ")[0].lower(), rest


def _passes(results: Sequence[str], sender: str) -> bool:
    """Where several results stand there, whatever put them there, all of them have to."""
    found = [match for match in map(DMARC.match, results) if match is not None]
    return bool(found) and all(_is_pass(match, sender.rpartition("@")[2]) for match in found)


def _is_pass(match: re.Match[str], domain: str) -> bool:
    named = HEADER_FROM.search(match[2])
    same = named is None or named[1].lower().rpartition("@")[2].rstrip(".") == domain
    return match[1].lower() == "pass" and same
