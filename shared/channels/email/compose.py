"""A reply as the bytes of a mail: the same bytes for every attempt at a part that begins at the same instant.

Source: RFC 5322 (headers, threading), RFC 3834 (what automatic answers carry), RFC 6532 and 5890 (addresses).
"""

import hashlib
import hmac
import html
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address, HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime
from quopri import encodestring
from typing import Any, cast
from uuid import UUID

from shared.accounts import Account, Inbox
from shared.channels.text import clean
from shared.errors import Rejected

# Before encoding, which adds a third: what nearly every server takes.
FILES_LIMIT = 20_000_000
# Some relays refuse a header of more than four kilobytes.
REFERENCES_LIMIT = 1_500
ID_LIMIT = 900
MAC_LENGTH = 16
OWN_ID = re.compile(
    r"<?o\.(?P<part>[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"
    r"(?:\.(?P<thread>[0-9a-f]{20}))?\.(?P<mac>[0-9a-f]{16})@"
)
ID = re.compile(r"<[\x21-\x3b\x3d\x3f-\x7e]+>")
# Quoted local parts are legal and nobody has one; what breaks a command or a header is in neither half.
ADDRESS = re.compile(
    r"(?P<local>[^\s\x00-\x1f\x7f<>()\[\]\\,;:\"@]{1,64})@(?P<domain>[^\s\x00-\x1f\x7f<>()\[\]\\,;:\"@]+)"
)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")
# "Re" of the languages that we serve, as often as it stands there.
REPLY_PREFIX = re.compile(
    r"^\s*(?:(?:re|aw|antw|sv|vs|odp|rif|r|ref|ynt|回复|答复)(?:\[\d+\])?\s*[:：]\s*)+", re.IGNORECASE
)
LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")


class Ids:
    """A header of message ids, folded between them: the library would write long ones as encoded words."""

    max_count = 1

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """What the registry asks of a header class."""
        kwds["parse_tree"] = None
        kwds["decoded"] = value

    def init(self, name: str, *, parse_tree: None, defects: list[Any]) -> None:
        """Its own attributes; the base class has none for a value that it did not parse."""
        self._name, self._parse_tree, self._defects = name, parse_tree, defects

    def fold(self, *, policy: EmailPolicy) -> str:
        """One id a line."""
        return f"{self._name}: " + f"{policy.linesep} ".join(str(self).split()) + policy.linesep


_REGISTRY = HeaderRegistry()
for _name in ("message-id", "in-reply-to", "references"):
    # The registry puts its own base class below it.
    _REGISTRY.map_to_type(_name, cast(Any, Ids))
POLICY = SMTP.clone(header_factory=_REGISTRY, cte_type="7bit")


@dataclass(frozen=True, slots=True)
class File:
    """An attachment with its bytes."""

    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """What goes over the wire. `is_utf8` says that an address needs a server with SMTPUTF8."""

    message_id: str
    sender: str
    recipients: Sequence[str]
    content: bytes = field(repr=False)
    is_utf8: bool = False


@dataclass(frozen=True, slots=True)
class Own:
    """What a Message-ID of ours says: the part that it is of, and the thread that the part was written in."""

    part: UUID
    thread: str = ""


def message_id(account: Account, inbox: Inbox, part_id: str, thread: str = "") -> str:
    """The Message-ID of a part, the same for each attempt. Raises InboxMisconfigured without its key.

    It carries the thread, since there are mail programs that name nothing but the mail that they answer.
    """
    named = f"{part_id}.{thread}" if thread else part_id
    return f"<o.{named}.{_mac(account.secret('message_id_key'), named)}@{id_domain(account, inbox)}>"


def own(account: Account, found: str) -> Own | None:
    """What a Message-ID names, None unless we made it: the code in it is keyed by the account's secret."""
    match = OWN_ID.search(found)
    if match is None:
        return None
    named = ".".join(filter(None, (match["part"], match["thread"])))
    for key in account.secrets.get("message_id_key", ()):
        if hmac.compare_digest(_mac(key, named), match["mac"]):
            return Own(UUID(match["part"]), match["thread"] or "")
    return None


def own_part(account: Account, found: str) -> UUID | None:
    """The part that a Message-ID of ours names."""
    named = own(account, found)
    return named.part if named else None


def id_domain(account: Account, inbox: Inbox) -> str:
    """What stands behind the @ of our Message-IDs."""
    return str(account.settings.get("message_id_domain") or wire_address(inbox.address).rpartition("@")[2])


def wire_address(address: str) -> str:
    """With its domain as servers know it. Raises Rejected for what is no address."""
    match = ADDRESS.fullmatch(address.strip())
    try:
        domain = match["domain"].encode("idna").decode().lower() if match else ""
    except UnicodeError:
        domain = ""
    if match is None or not domain or len(domain) > 253:
        raise Rejected("this is no e-mail address that can be written to", code="bad_address")
    return f"{match['local']}@{domain}"


def subject_of(subject: str) -> str:
    """The answer's subject: `Re: ` once, whatever stood before it in whichever language."""
    return f"Re: {REPLY_PREFIX.sub('', one_line(subject))}".strip()


def references_of(references: Sequence[str], answered: str) -> list[str]:
    """The ids for References, oldest first, first and last kept; the middle goes where there are too many."""
    last = ids_of(answered)[:1]
    ids = [id_ for id_ in dict.fromkeys(ids_of(" ".join(references))) if id_ not in last] + last
    while len(ids) > 2 and sum(map(len, ids)) + len(ids) > REFERENCES_LIMIT:
        del ids[1]
    return ids


def ids_of(value: str) -> list[str]:
    """The message ids in a header's value that a header of ours can carry."""
    return [id_ for id_ in ID.findall(value) if len(id_) <= ID_LIMIT]


def one_line(text: str) -> str:
    """Without anything that could end a header's line."""
    return " ".join(CONTROL.sub(" ", clean(text)).split())


def body_text(text: str) -> str:
    """Lines ended by line feeds, no other control characters."""
    return CONTROL.sub("", clean(text).replace("\r\n", "\n").replace("\r", "\n")).strip()


def compose(
    payload: Mapping[str, Any], files: Sequence[File], *, part_id: str, at: datetime, account: Account, inbox: Inbox
) -> Mail:
    """The mail of a part that `render` made. Raises Rejected, and InboxMisconfigured without the ids' key."""
    from_ = wire_address(inbox.address)
    to, copies = wire_address(payload["to"]), [wire_address(address) for address in payload["cc"]]
    is_utf8 = not all(address.isascii() for address in (from_, to, *copies))
    mail = EmailMessage(policy=POLICY.clone(utf8=True) if is_utf8 else POLICY)
    id_ = message_id(account, inbox, part_id, payload["thread"])
    mail["Date"] = format_datetime(at)
    mail["From"] = _address(from_, inbox.name)
    mail["Reply-To"] = _address(wire_address(str(inbox.settings.get("reply_to") or from_)))
    mail["To"] = _address(to, payload["to_name"])
    if copies:
        mail["Cc"] = [_address(address) for address in copies]
    mail["Subject"] = payload["subject"]
    mail["Message-ID"] = id_
    if payload["in_reply_to"]:
        mail["In-Reply-To"] = payload["in_reply_to"]
    if payload["references"]:
        mail["References"] = " ".join(payload["references"])
    if payload["automatic"]:
        mail["Auto-Submitted"] = "auto-replied"
        mail["X-Auto-Response-Suppress"] = "All"
        mail["X-Loop"] = from_
    _add_body(mail, payload, part_id)
    _add_files(mail, files, part_id)
    return Mail(
        message_id=id_,
        # A machine's answer has no sender on the envelope, so that nothing answers it.
        sender="" if payload["automatic"] else from_,
        recipients=[to, *copies],
        content=mail.as_bytes(),
        is_utf8=is_utf8,
    )


def _address(address: str, name: str = "") -> Address:
    local, _, domain = address.rpartition("@")
    return Address(one_line(name), username=local, domain=domain)


def _add_body(mail: EmailMessage, payload: Mapping[str, Any], part_id: str) -> None:
    text = payload["text"] + "\n"
    page = _html(payload["text"], payload["language"] or "")
    mail.set_content(text, cte=_shorter(text))
    mail.add_alternative(page, subtype="html", cte=_shorter(page))
    mail.set_boundary(f"=_a_{part_id}")


def _add_files(mail: EmailMessage, files: Sequence[File], part_id: str) -> None:
    for file in files:
        main, _, sub = file.media_type.partition("/")
        if main in ("multipart", "message") or not re.fullmatch(r"[\w.+-]+/[\w.+-]+", file.media_type, re.ASCII):
            main, sub = "application", "octet-stream"
        name = one_line(file.name).replace("/", "_").replace("\\", "_")[:150] or "file"
        mail.add_attachment(file.content, maintype=main, subtype=sub, filename=name, cte="base64")
    if files:
        mail.set_boundary(f"=_m_{part_id}")


def _shorter(text: str) -> str:
    """Base64 where most characters would be written as three each."""
    raw = text.encode()
    return "base64" if len(b64encode(raw)) < len(encodestring(raw)) else "quoted-printable"


def _html(text: str, language: str) -> str:
    paragraphs = "".join(f"<p>{_lines(part)}</p>\n" for part in re.split(r"\n\s*\n", text) if part.strip())
    lang = f' lang="{html.escape(language)}"' if language else ""
    return f'<!DOCTYPE html>\n<html{lang}><head><meta charset="utf-8"></head>\n<body>\n{paragraphs}</body></html>\n'


def _lines(paragraph: str) -> str:
    pieces, end = [], 0
    for match in LINK.finditer(paragraph):
        address = html.escape(match[0])
        pieces += [html.escape(paragraph[end : match.start()]), f'<a href="{address}">{address}</a>']
        end = match.end()
    return "".join([*pieces, html.escape(paragraph[end:])]).replace("\n", "<br>\n")


def _mac(key: str, named: str) -> str:
    return hmac.new(key.encode(), named.encode(), hashlib.sha256).hexdigest()[:MAC_LENGTH]
