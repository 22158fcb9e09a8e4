"""Header fields as mails in the wild have them: words, addresses, ids and instants; nothing here raises."""

import codecs
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import parsedate_to_datetime

from charset_normalizer import from_bytes

RECIPIENTS_KEPT = 200
# Longer than any honest field; what is beyond tells nobody anything.
FIELD_LIMIT = 100_000
WORDS_LIMIT = 2_000
GUESSED_FROM = 20_000
# A mail says by itself when it was written; so far off it is believed.
OLDEST, NEWEST = timedelta(days=7), timedelta(minutes=10)

# Labels that are narrower than what their writers mean by them.
WIDER = {
    "ascii": "cp1252",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
    "tis-620": "cp874",
    "iso2022_jp": "iso2022_jp_ext",
    "x-sjis": "cp932",
    "iso-8859-8-i": "iso8859-8",
    "iso-gb2312": "gb18030",
    "ks_c_5601-1987": "cp949",
    "unicode-1-1-utf-7": "utf-7",
    "x-unknown": "utf-8",
}
# Codecs that are no charsets, or take time with the square of the length.
NO_CHARSETS = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"}
CHARSET = re.compile(r"[A-Za-z0-9_.:()+-]{1,40}")
MESSAGE_ID = re.compile(r"<\s*([^<>]{1,990}?)\s*>")
REFERENCE = re.compile(r"<[^<>\s]{1,990}>")
ADDRESS = re.compile(r"[^\s<>@,;:\"()\\]+@[^\s<>@,;:\"()\\]+")
ANGLE = re.compile(r"<([^<>]*)>")
ENTRY_PARTS = re.compile(r'"(?:[^"\\]|\\.)*"|<[^<>]*>|[,;]|[^",;<]+|.', re.DOTALL)
GROUP = re.compile(r'^[^"<@:]{0,200}:')
# Zero-width, soft hyphen, byte order mark and everything that turns the direction of writing.
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
REPLY_PREFIX = re.compile(
    r"^\s*(?:(?:re|aw|antw|antwort|sv|vs|odp|r|rif|ref|tr|wg|fwd?|fw|rv|enc|doorst|pd|i|vb|bls|ynt|回复|转发|答复|返信)"
    r"(?:\[\d{1,3}\]|\(\d{1,3}\))?\s{0,3}[:：]\s*){1,20}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A person as a header names them; the address is in lower case."""

    address: str
    name: str = ""


def gate(text: str) -> str:
    """Text that PostgreSQL, UTF-8 and an agent's eyes can take: no controls, lone surrogates, hidden characters."""
    if text.isascii() and not CONTROL.search(text):
        return text
    strict = CONTROL.sub("", text).encode("utf-8", "replace").decode()
    return unicodedata.normalize("NFC", INVISIBLE.sub("", strict))


def one_line(text: str, limit: int = WORDS_LIMIT) -> str:
    """A header's words without line breaks."""
    return " ".join(gate(text[:FIELD_LIMIT]).split())[:limit].strip()


def decode(content: bytes, charset: str | None) -> str:
    """Bytes as text: as declared, as UTF-8, as the wider charset that was meant, as it looks; never raises."""
    name = _codec(charset)
    if name is None or name == "ascii":
        candidates: tuple[str | None, ...] = ("utf-8", WIDER["ascii"] if name else None)
    else:
        candidates = (WIDER.get(name, name), name, "utf-8")
    for candidate in candidates:
        found = _strictly(content, candidate)
        if found is not None:
            return found
    best = from_bytes(content[:GUESSED_FROM]).best()
    return content.decode(best.encoding if best else "cp1252", "replace")


def _strictly(content: bytes, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        return content.decode(name)
    except (LookupError, ValueError):
        return None


def _codec(charset: str | None) -> str | None:
    """The codec's own name of a declared charset, None where it is none."""
    match = CHARSET.search(charset or "")
    if match is None:
        return None
    label = match[0].lower()
    label = WIDER.get(label, label)
    try:
        name = codecs.lookup(label).name
    except (LookupError, ValueError):
        return None
    return None if name in NO_CHARSETS else name


def fields(message: Message, name: str) -> Iterator[str]:
    """Every field of that name, unfolded, 8-bit bytes made readable; encoded words are as they came."""
    for key, value in message.raw_items():
        if key.lower() == name:
            yield _unfolded(str(value))


def field(message: Message, name: str) -> str:
    """The first field of that name, empty where there is none."""
    return next(fields(message, name), "")


def _unfolded(value: str) -> str:
    value = value[:FIELD_LIMIT]
    if not value.isascii():
        value = decode(value.encode("utf-8", "surrogateescape"), None)
    return value.replace("\r", "").replace("\n", "")


def words(value: str, limit: int = WORDS_LIMIT) -> str:
    """A field's words with its encoded words decoded."""
    value = value[:FIELD_LIMIT]
    if "=?" not in value:
        return one_line(value, limit)
    try:
        pieces = decode_header(value)
    except (HeaderParseError, ValueError, LookupError):
        return one_line(value, limit)
    shown = (piece if isinstance(piece, str) else _word(piece, charset) for piece, charset in pieces)
    return one_line("".join(shown), limit)


def _word(piece: bytes, charset: str | None) -> str:
    if charset is None:
        # The parts between encoded words come as raw-unicode-escape.
        return piece.decode("raw-unicode-escape", "replace")
    return decode(piece, charset)


def mailboxes(value: str, limit: int = RECIPIENTS_KEPT) -> list[Mailbox]:
    """The entries of an address field that have an address, at most `limit` of them.

    The address is what stands in the last angle brackets outside quotes, so that a name that looks like an address
    is no address.
    """
    found: list[Mailbox] = []
    for entry in _entries(value[:FIELD_LIMIT]):
        mailbox = _mailbox(entry)
        if mailbox is not None:
            found.append(mailbox)
            if len(found) == limit:
                break
    return found


def _entries(value: str) -> Iterator[str]:
    entry: list[str] = []
    for token in ENTRY_PARTS.finditer(value):
        if token[0] in (",", ";"):
            yield "".join(entry)
            entry = []
        else:
            entry.append(token[0])
    yield "".join(entry)


def _mailbox(entry: str) -> Mailbox | None:
    entry = GROUP.sub("", entry).strip()
    outside = re.sub(r'"(?:[^"\\]|\\.)*"', lambda quoted: "x" * len(quoted[0]), entry)
    angles = list(ANGLE.finditer(outside))
    if angles:
        inside = entry[angles[-1].start(1) : angles[-1].end(1)].strip()
        match = ADDRESS.search(inside)
        return Mailbox(_address(match[0]), _name(entry[: angles[-1].start()])) if match else None
    match = ADDRESS.search(outside)
    if match is None:
        return None
    comment = entry.partition("(")[2].rpartition(")")[0]
    return Mailbox(_address(match[0]), _name(comment))


def _address(text: str) -> str:
    local, _, domain = gate(text).strip(".").lower().rpartition("@")
    if not domain.isascii():
        try:
            domain = domain.encode("idna").decode()
        except ValueError:
            domain = one_line(domain)
    return f"{local}@{domain}"[:320]


def _name(text: str) -> str:
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = re.sub(r"\\(.)", r"\1", text[1:-1])
    return words(text, 200).strip("\"' ")


def message_id(message: Message) -> str:
    """The Message-ID with its brackets, spaces left out; empty where it has none."""
    value = field(message, "message-id")
    match = MESSAGE_ID.search(value)
    inside = match[1] if match else value.strip().strip("<>")
    inside = "".join(gate(inside).split())[:990]
    return f"<{inside}>" if inside else ""


def references(message: Message) -> list[str]:
    """What the mail says it follows, oldest first, what it answers last."""
    known = REFERENCE.findall(_ids(field(message, "references")))
    answered = REFERENCE.findall(_ids(field(message, "in-reply-to")))
    found = dict.fromkeys(gate(one) for one in known)
    for one in map(gate, answered[:1]):
        found.pop(one, None)
        found[one] = None
    every = list(found)
    # The first one is the conversation's root, the last ones are what is answered.
    return every if len(every) <= RECIPIENTS_KEPT else [every[0], *every[1 - RECIPIENTS_KEPT :]]


def _ids(value: str) -> str:
    """Some programs write long ids as encoded words, which no standard allows."""
    return words(value, FIELD_LIMIT) if "=?" in value else value


def written_at(message: Message, received_at: datetime) -> datetime:
    """The Date where it is near the reception, else the reception."""
    try:
        at = parsedate_to_datetime(field(message, "date")[:200])
        # A zone of -0000 gives a naive one.
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return received_at
    return at if received_at - OLDEST <= at <= received_at + NEWEST else received_at


def bare_subject(subject: str) -> str:
    """The subject without the prefixes that replies and forwards put before it, in our languages."""
    return REPLY_PREFIX.sub("", subject).strip()


def people(message: Message, names: Sequence[str]) -> list[Mailbox]:
    """Everybody in those fields, each once, at most `RECIPIENTS_KEPT`."""
    found: dict[str, Mailbox] = {}
    for name in names:
        for value in fields(message, name):
            for mailbox in mailboxes(value, RECIPIENTS_KEPT):
                found.setdefault(mailbox.address, mailbox)
                if len(found) == RECIPIENTS_KEPT:
                    return list(found.values())
    return list(found.values())
