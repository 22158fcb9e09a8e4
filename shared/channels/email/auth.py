"""Whether our own border says that a mail is from the domain in its From: Authentication-Results (RFC 8601)."""

import re
from collections.abc import Sequence
from email.message import Message

from shared.channels.email.headers import fields

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
        server, results = _split(COMMENT.sub("", value))
        if server in wanted:
            return _passes(results, sender)
    return False


def _split(value: str) -> tuple[str, list[str]]:
    """The server's name and its results; no name where the first piece is a result already."""
    first, *rest = value.split(";")
    if "=" in first:
        return "", [first, *rest]
    # A version may follow the name.
    return first.strip().partition(" ")[0].lower(), rest


def _passes(results: Sequence[str], sender: str) -> bool:
    domain = sender.rpartition("@")[2]
    for result in results:
        match = DMARC.match(result)
        if match is None:
            continue
        named = HEADER_FROM.search(match[2])
        same = named is None or named[1].lower().rpartition("@")[2].rstrip(".") == domain
        return match[1].lower() == "pass" and same
    return False
