"""What a mail server or a mail program tells of a mail of ours: delivery reports and notes that it was opened.

Source: RFC 3464 (delivery status), RFC 8098 (disposition), RFC 3463 (status codes). A report counts only where it
names a Message-ID that we made: anybody can forge the rest.
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Container, Iterator, Sequence
from datetime import datetime
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import compat32

from flufl.bounce import all_failures

from shared.accounts import Account
from shared.channels.email.compose import OWN_ID, own_part
from shared.channels.email.headers import field, mailboxes, people
from shared.channels.text import key
from shared.events import ReceiptReceived, ReceiptState

CHANNEL = "email"
STATUS_TYPES = ("message/delivery-status", "message/global-delivery-status")
NOTICE_TYPES = ("message/disposition-notification", "message/global-disposition-notification")
DAEMONS = re.compile(r"(?:mailer-daemon|postmaster|mail-daemon|mailerdaemon)@?", re.IGNORECASE)
STATUS = re.compile(r"\b([245]\.\d{1,3}\.\d{1,3})\b")
REPLY_CODE = re.compile(r"\b([45]\d\d)[ -]")
# What a parser that others wrote may stumble over in a hostile mail.
STUMBLES = (ValueError, LookupError, TypeError, AttributeError, RecursionError, AssertionError, MessageError)
SCANNED = 200_000
MOST_PARTS = 100


def has_signals(message: Message) -> bool:
    """Whether a mail may be a report: from a mail system, without a sender on its envelope, or of a report's type."""
    _leniently(message)
    sender = next((found.address for found in mailboxes(field(message, "from"), 1)), field(message, "from"))
    return (
        message.get_content_type() == "multipart/report"
        or str(message.get("return-path", "")).strip() == "<>"
        or DAEMONS.match(sender.strip()) is not None
        or message.get("x-failed-recipients") is not None
        or any(part.get_content_type() in (*STATUS_TYPES, *NOTICE_TYPES) for part in _parts(message))
    )


def read(message: EmailMessage | Message, account: Account, at: datetime) -> ReceiptReceived | None:
    """What a report says of a mail of ours; None for every other mail, and for a report of a mail that is not ours.

    `code` is the enhanced status where it failed. A delay is no news, nor is what became of a copy: whom we answer has
    the mail all the same. A report about a report names no mail of ours.
    """
    if not has_signals(message):
        return None
    message_id, part_id = ours(message, account)
    if not part_id:
        return None
    copies = _copies(message, message_id)
    told = _disposition(message) or _delivery(message, copies) or _second_opinion(message, copies)
    if told is None:
        return None
    state, code, recipient = told
    return ReceiptReceived(
        channel=CHANNEL,
        keys=[key("report", message_id, state, code, recipient)],
        state=state,
        at=at,
        external_ids=[message_id],
        reference=part_id,
        peer=recipient or None,
        code=code,
    )


def _leniently(message: Message) -> None:
    """Headers as they stand: the library's stricter policies parse one whenever it is read and stumble over some."""
    for part in message.walk():
        part.policy = compat32


def ours(message: Message, account: Account) -> tuple[str, str]:
    """The Message-ID of ours that the report is about, and its part; both empty where it names none."""
    for text in _texts(message):
        for match in OWN_ID.finditer(text):
            part = own_part(account, match[0])
            if part is not None:
                whole = re.match(r"[^\s<>]+", text[match.start() :].lstrip("<"))
                return (f"<{whole[0]}>" if whole else ""), str(part)
    return "", ""


def _copies(message: Message, message_id: str) -> set[str]:
    """Who had but a copy of the mail that the report is about, as far as it brings that mail's header."""
    for part in _parts(message):
        if part is message:
            continue
        if part.get_content_type() == "text/rfc822-headers":
            header = BytesParser(policy=compat32).parsebytes(_text(part).encode("ascii", "replace"), headersonly=True)
        elif field(part, "message-id").strip() == message_id:
            header = part
        else:
            continue
        to, cc = (people(header, (name,)) for name in ("to", "cc"))
        return {one.address for one in cc} - {one.address for one in to}
    return set()


def _texts(message: Message) -> Iterator[str]:
    """Where an original id may stand: the report's own parts and headers, never the headers of this mail itself."""
    for part in _parts(message):
        if part is message and part.is_multipart():
            continue
        if part is not message:
            yield "\n".join(f"{name}: {value}" for name, value in part.items())[:SCANNED]
        if not part.is_multipart():
            yield _text(part)
    # Where the original is not attached, most systems at least answer to it.
    yield f"{message.get('in-reply-to', '')} {message.get('references', '')}"[:SCANNED]


def _parts(message: Message) -> Iterator[Message]:
    for n, part in enumerate(message.walk()):
        if n == MOST_PARTS:
            return
        yield part


def _text(part: Message) -> str:
    """The words of a leaf, whatever charset it claims: ids and codes are ASCII."""
    payload = part.get_payload(decode=True)
    if isinstance(payload, bytes):
        return payload[:SCANNED].decode("ascii", "replace")
    return str(part.get_payload() or "")[:SCANNED]


def _blocks(part: Message) -> list[Message]:
    """The groups of header lines in a status part; by hand where it is base64 or labelled as text."""
    inner = part.get_payload()
    if isinstance(inner, list) and len(inner) > 1:
        return [block for block in inner if isinstance(block, Message)]
    text = str(inner[0].get_payload() if isinstance(inner, list) and isinstance(inner[0], Message) else "")
    if str(part.get("content-transfer-encoding", "")).strip().lower() == "base64":
        text = _decoded(part)
    elif not isinstance(inner, list):
        text = _text(part)
    elif isinstance(inner[0], Message) and inner[0].keys():
        return [inner[0]]
    parser = BytesParser(policy=compat32)
    groups = re.split(r"\r?\n[ \t]*\r?\n", text.strip())
    return [parser.parsebytes(group.encode("ascii", "replace"), headersonly=True) for group in groups if group.strip()]


def _decoded(part: Message) -> str:
    """The base64 of a part that the library took for headers: its body is the first block's."""
    inner = part.get_payload()
    blocks: Sequence[object] = inner if isinstance(inner, list) else [inner]
    raw = "".join(str(b.get_payload()) if isinstance(b, Message) else str(b) for b in blocks)
    try:
        return b64decode(raw.encode("ascii", "replace")).decode("ascii", "replace")
    except binascii.Error:
        return ""


def _delivery(message: Message, copies: Container[str]) -> tuple[ReceiptState, str, str] | None:
    """State, code and recipient by RFC 3464, of the first recipient who had more than a copy."""
    for part in _parts(message):
        is_status = part.get_content_type() in STATUS_TYPES
        if not is_status and not _looks_like_status(part):
            continue
        for block in _blocks(part):
            action = str(block.get("action", "")).strip().lower()
            recipient = _recipient(block)
            if recipient in copies:
                continue
            if action == "failed":
                return "failed", _status(block), recipient
            if action == "delivered":
                return "delivered", "", recipient
            if action in ("delayed", "relayed", "expanded"):
                return None
    return None


def _looks_like_status(part: Message) -> bool:
    """Some systems label it as text."""
    if part.get_content_maintype() != "text":
        return False
    text = _text(part)
    return "\nAction:" in text and "Reporting-MTA:" in text


def _status(block: Message) -> str:
    """The enhanced code; Exchange and others put a better one into the diagnostic text than 5.0.0."""
    status = STATUS.search(str(block.get("status", "")))
    told = str(block.get("diagnostic-code", ""))
    diagnosed = STATUS.search(told)
    if diagnosed and (status is None or status[1].endswith(".0.0")):
        return diagnosed[1]
    if status:
        return status[1]
    basic = REPLY_CODE.search(told)
    return basic[1] if basic else ""


def _recipient(block: Message) -> str:
    for name in ("original-recipient", "final-recipient"):
        address = str(block.get(name, "")).rpartition(";")[2].strip().strip("<>").lower()
        if "@" in address:
            return address
    return ""


def _disposition(message: Message) -> tuple[ReceiptState, str, str] | None:
    """`read` where a mail program says that somebody opened the mail (RFC 8098)."""
    for part in _parts(message):
        if part.get_content_type() in NOTICE_TYPES:
            for block in _blocks(part):
                if "displayed" in str(block.get("disposition", "")).lower():
                    return "read", "", _recipient(block)
    return None


def _second_opinion(message: Message, copies: Container[str]) -> tuple[ReceiptState, str, str] | None:
    """A report without a status part, by the patterns of flufl.bounce and the codes in its text."""
    if any(part.get_content_type() in (*STATUS_TYPES, *NOTICE_TYPES) for part in _parts(message)):
        return None
    try:
        temporary, permanent = all_failures(message)
    except STUMBLES:
        return None
    if not permanent or temporary:
        return None
    found = [(one.decode("ascii", "replace") if isinstance(one, bytes) else str(one)).lower() for one in permanent]
    recipient = next((one for one in sorted(found) if one not in copies), None)
    if recipient is None:
        return None
    text = " ".join(_text(part) for part in _parts(message) if not part.is_multipart())
    code = STATUS.search(text)
    return "failed", code[1] if code else "", recipient
