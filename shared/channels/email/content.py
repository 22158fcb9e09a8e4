"""What a mail says and carries: its words, its page, its files. The tree is walked by hand, within caps.

Source: RFC 2045 to 2047 and 2231 (MIME), RFC 2387 (related), RFC 3676 (flowed text), RFC 1847 (signed, encrypted).
"""

import mimetypes
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32

from shared.channels.email.bounces import STUMBLES
from shared.channels.email.headers import decode, gate, one_line, words
from shared.channels.email.headers import field as header
from shared.channels.email.html import HTML_LIMIT, text_of

MOST_PARTS = 500
DEEPEST = 50
MOST_FILES = 100
NAME_BYTES = 200
# A banner that some gateway put before the header ends within so many bytes.
JUNK = 2_000
TEXT_BYTES = 4 * HTML_LIMIT
INLINE_TEXTS = ("text/plain", "text/html")
# The same on every machine.
TYPES = mimetypes.MimeTypes()
EXTENSIONS = {"message/rfc822": ".eml", "text/calendar": ".ics", "application/ms-tnef": ".dat", "text/plain": ".txt"}


@dataclass(frozen=True, slots=True)
class Carried:
    """A file of a mail; `content_id` is what its page calls it."""

    name: str
    content: bytes = field(repr=False)
    content_id: str = ""


@dataclass(slots=True)
class Content:
    """`text` with its quotes, marked by `> ` where the mail is a page; `html` as it came."""

    text: str = ""
    html: str = ""
    files: list[Carried] = field(default_factory=list)

    @property
    def words(self) -> str:
        """What a person reads: the page's words, in which earlier mails are marked best, else the plain ones."""
        return (text_of(self.html) if self.html else "") or self.text


def parse(raw: bytes) -> Message:
    """The tree of a mail; only its header where it is nested too deeply to be walked."""
    parser = BytesParser(policy=compat32)
    try:
        message = parser.parsebytes(raw)
    except RecursionError:
        return parser.parsebytes(raw, headersonly=True)
    if header(message, "from") or header(message, "subject"):
        return message
    blank = re.search(rb"\r?\n\r?\n", raw[:JUNK])
    if blank is None:
        return message
    try:
        later = parser.parsebytes(raw[blank.end() :])
    except RecursionError:
        return message
    return later if header(later, "from") or header(later, "subject") else message


def content_of(message: Message) -> Content:
    """Everything in the tree, parts beyond the caps left out."""
    return _Walk().gather(message, 0)


@dataclass(slots=True)
class _Walk:
    parts: int = 0
    has_text: bool = False

    def gather(self, part: Message, depth: int) -> Content:
        self.parts += 1
        if self.parts > MOST_PARTS or depth > DEEPEST:
            return Content()
        kind = part.get_content_type()
        inner = part.get_payload()
        if kind.startswith("multipart/") and not isinstance(inner, list):
            # Without a boundary it is one text.
            kind = "text/plain"
        if part.get_content_maintype() == "message" and isinstance(inner, list):
            return Content(files=[_message(part, inner, self.parts)])
        if isinstance(inner, list):
            return self._several(kind, [p for p in inner if isinstance(p, Message)], depth)
        if kind in INLINE_TEXTS and not self._is_file(part):
            self.has_text = True
            text = decode(payload_of(part)[:TEXT_BYTES], _parameter(part, "charset"))
            return Content(html=text) if kind == "text/html" else Content(text=_plain(part, text))
        return Content(files=[Carried(_name(part, kind, self.parts), payload_of(part), _content_id(part))])

    def _is_file(self, part: Message) -> bool:
        return _disposition(part) == "attachment" or (self.has_text and bool(_filename(part)))

    def _several(self, kind: str, parts: Sequence[Message], depth: int) -> Content:
        if kind == "multipart/alternative":
            return _alternative([self.gather(part, depth + 1) for part in parts])
        if kind == "multipart/encrypted":
            self.has_text = True
            return Content(files=[Carried(_name(p, p.get_content_type(), n), payload_of(p)) for n, p in
                                  enumerate(parts[:MOST_FILES], 1) if not p.is_multipart()])  # fmt: skip
        return _mixed(self.gather(part, depth + 1) for part in parts)


def _alternative(choices: Sequence[Content]) -> Content:
    """The last page and the first words: plain ones before those of a page."""
    return Content(
        text=next((c.text for c in choices if c.text.strip()), ""),
        html=next((c.html for c in reversed(choices) if c.html.strip()), ""),
        files=[file for choice in choices for file in choice.files][:MOST_FILES],
    )


def _mixed(pieces: Iterator[Content]) -> Content:
    """One after the other; where some are pages the plain ones become part of the page."""
    found = list(pieces)
    has_page = any(piece.html for piece in found)
    texts = [piece.text.strip("\n") for piece in found if piece.text.strip()]
    pages = [piece.html or _as_page(piece.text) for piece in found if piece.html or piece.text.strip()]
    files = [file for piece in found for file in piece.files][:MOST_FILES]
    return Content("\n\n".join(texts), "\n".join(pages) if has_page else "", files)


def _as_page(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<pre>{escaped}</pre>"


def payload_of(part: Message) -> bytes:
    """A leaf's bytes, as they came where its encoding is none."""
    try:
        content = part.get_payload(decode=True)
    except STUMBLES:
        content = str(part.get_payload()).encode("utf-8", "surrogateescape")
    return content if isinstance(content, bytes) else b""


def _message(part: Message, inner: Sequence[object], number: int) -> Carried:
    """A mail in a mail stays whole: neither its words nor its id are this mail's."""
    try:
        content = b"\r\n".join(p.as_bytes() for p in inner if isinstance(p, Message))
    except STUMBLES:
        content = b""
    kind = part.get_content_type()
    first = inner[0] if inner and isinstance(inner[0], Message) else None
    subject = words(header(first, "subject"), 100) if first is not None and kind == "message/rfc822" else ""
    given = _filename(part) or (f"{subject}.eml" if subject else "")
    return Carried(_safe_name(given) or f"part-{number}{EXTENSIONS.get(kind, '.txt')}", content)


def _plain(part: Message, text: str) -> str:
    text = gate(text.replace("\r\n", "\n").replace("\r", "\n"))
    if _parameter(part, "format").lower() != "flowed":
        return text
    return "\n".join(_unflowed(text.split("\n"), is_dropped=_parameter(part, "delsp").lower() == "yes"))


def _unflowed(lines: Sequence[str], *, is_dropped: bool) -> Iterator[str]:
    """Lines that end in a space go on in the next one of the same quote depth."""
    open_line, open_depth = "", -1
    for line in lines:
        depth = len(line) - len(line.lstrip(">"))
        words_ = line[depth:].removeprefix(" ")
        flows = words_.endswith(" ") and words_ != "-- "
        piece = words_[:-1] if flows and is_dropped else words_
        if open_depth == depth:
            open_line += piece
        else:
            if open_depth >= 0:
                yield open_line.rstrip()
            open_line = (">" * depth + " " if depth else "") + piece
        open_depth = depth if flows else -1
        if not flows:
            yield open_line if words_ == "-- " else open_line.rstrip()
            open_line = ""
    if open_depth >= 0:
        yield open_line.rstrip()


def _parameter(part: Message, name: str) -> str:
    try:
        value = part.get_param(name, "")
    except STUMBLES:
        return ""
    return value[2] if isinstance(value, tuple) else str(value)


def _disposition(part: Message) -> str:
    return header(part, "content-disposition").partition(";")[0].strip().lower()


def _content_id(part: Message) -> str:
    return one_line(header(part, "content-id").strip().strip("<>"), 200)


def _filename(part: Message) -> str:
    try:
        name = part.get_filename("")
    except STUMBLES:
        return ""
    text = str(name)
    if not text.isascii():
        text = decode(text.encode("utf-8", "surrogateescape"), None)
    return words(text, 400)


def _name(part: Message, kind: str, number: int) -> str:
    given = _safe_name(_filename(part))
    if given:
        return given
    return f"part-{number}{EXTENSIONS.get(kind) or TYPES.guess_extension(kind) or '.bin'}"


def _safe_name(name: str) -> str:
    """The last piece of a path, short enough for every file system."""
    last = re.split(r"[/\\]", one_line(name))[-1].strip(". ")
    return last.encode()[:NAME_BYTES].decode("utf-8", "ignore")
