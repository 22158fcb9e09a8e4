"""What IMAP tells of a mail without giving it: its envelope, its structure, its sections.

Source: RFC 3501 §7.4.2 (FETCH response) and §6.4.5 (sections).
"""

import re
from email import message_from_bytes
from email.message import Message
from email.policy import compat32
from email.utils import getaddresses

SECTION = re.compile(r"(?P<path>\d+(?:\.\d+)*)?\.?(?P<what>[A-Z.]*)(?: \((?P<names>[^)]*)\))?", re.IGNORECASE)


def quoted(value: object) -> bytes:
    """A string as IMAP writes it, NIL for nothing; what cannot be quoted is a literal."""
    if value is None:
        return b"NIL"
    raw = str(value).encode("utf-8", "surrogateescape")
    if any(byte < 32 or byte > 126 for byte in raw):
        return b"{%d}\r\n%s" % (len(raw), raw)
    return b'"' + raw.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def _header(message: Message, name: str) -> str | None:
    value = message.get(name)
    return None if value is None else " ".join(str(value).split())


def envelope(raw: bytes) -> bytes:
    """Date, subject, six lists of addresses, what it answers, its id."""
    message = message_from_bytes(raw, policy=compat32)
    lists = [_addresses(message, name) for name in ("from", "sender", "reply-to", "to", "cc", "bcc")]
    # A missing sender is the same as the writer.
    lists[1:3] = [found if found != b"NIL" else lists[0] for found in lists[1:3]]
    whole = [quoted(_header(message, "date")), quoted(_header(message, "subject")), *lists]
    return b"(" + b" ".join([*whole, *(quoted(_header(message, n)) for n in ("in-reply-to", "message-id"))]) + b")"


def _addresses(message: Message, name: str) -> bytes:
    found = getaddresses([str(value) for value in message.get_all(name, [])])
    shown = []
    for person, address in found:
        local, _, domain = address.rpartition("@")
        shown.append(b"(%s NIL %s %s)" % (quoted(person or None), quoted(local or None), quoted(domain or None)))
    return b"(" + b"".join(shown) + b")" if shown else b"NIL"


def structure(raw: bytes) -> bytes:
    """BODYSTRUCTURE, without the extension data."""
    return _structure(message_from_bytes(raw, policy=compat32))


def _structure(part: Message) -> bytes:
    inner = part.get_payload()
    if part.get_content_maintype() == "multipart" and isinstance(inner, list) and inner:
        parts = b"".join(_structure(p) for p in inner if isinstance(p, Message))
        return b"(" + parts + b" " + quoted(part.get_content_subtype()) + b")"
    body = part.as_bytes().partition(b"\n\n")[2]
    encoding = str(part.get("content-transfer-encoding", "7bit")).strip()
    fields = [quoted(part.get_content_maintype()), quoted(part.get_content_subtype()), _parameters(part),
              quoted(part.get("content-id")), b"NIL", quoted(encoding), b"%d" % len(body)]  # fmt: skip
    if part.get_content_maintype() == "text":
        fields.append(b"%d" % body.count(b"\n"))
    return b"(" + b" ".join(fields) + b")"


def _parameters(part: Message) -> bytes:
    found = part.get_params([], header="content-type")[1:]
    pairs = [b"%s %s" % (quoted(name), quoted(value)) for name, value in found]
    return b"(" + b" ".join(pairs) + b")" if pairs else b"NIL"


def section(raw: bytes, wanted: str) -> bytes:
    """The bytes of a section; empty where there is none of that name."""
    match = SECTION.fullmatch(wanted)
    if match is None:
        return b""
    what, path = match["what"].upper(), match["path"]
    if path is None:
        return raw if not what else _of_mail(raw, what, match["names"] or "")
    part = _part(message_from_bytes(raw, policy=compat32), path)
    if part is None:
        return b""
    whole = part.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, body = whole.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n" if what in ("MIME", "HEADER") else body


def _part(message: Message, path: str) -> Message | None:
    part = message
    for number in path.split("."):
        inner = part.get_payload()
        if not isinstance(inner, list):
            return part if number == "1" else None
        if int(number) > len(inner) or not isinstance(inner[int(number) - 1], Message):
            return None
        part = inner[int(number) - 1]  # type: ignore[assignment]
    return part


def _of_mail(raw: bytes, what: str, names: str) -> bytes:
    head, blank, body = raw.partition(b"\r\n\r\n")
    if what == "TEXT":
        return body
    if what == "HEADER":
        return head + blank
    wanted = {name.strip('"').lower().encode() for name in names.split()}
    fields = re.split(rb"\r\n(?![ \t])", head)
    is_left_out = what.endswith(".NOT")
    kept = [f for f in fields if (f.partition(b":")[0].strip().lower() in wanted) != is_left_out]
    return b"".join(field + b"\r\n" for field in kept) + b"\r\n"
