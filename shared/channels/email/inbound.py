"""One mail, as bytes, as the facts in it; pure, and whatever the bytes are there is an answer.

Source: RFC 5322 (headers, threads), RFC 8601 (results of authentication), RFC 3834 (automatic answers).
"""

import hashlib
import re
from datetime import datetime
from email.message import Message

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, File, Item
from shared.channels.email import auth, automatic, bounces
from shared.channels.email.bounces import STUMBLES
from shared.channels.email.compose import own, references_of
from shared.channels.email.content import Carried, Content, content_of, parse
from shared.channels.email.headers import (
    Mailbox,
    bare_subject,
    field,
    fields,
    mailboxes,
    message_id,
    people,
    references,
    words,
    written_at,
)
from shared.channels.email.html import sanitised
from shared.channels.email.outbound import MOST_COPIES
from shared.channels.email.quotes import reply_of
from shared.channels.email.rules import Context
from shared.channels.text import clean, key
from shared.events import Address, Attachment, MessageReceived
from shared.sniffing import kind_of, media_type_of

CHANNEL = "email"
TEXT_LIMIT = 100_000
SUBJECT_LIMIT = 500
# What relays put on top of a mail on its way, so that the same mail differs from one way to the other.
TRACE = re.compile(rb"(?:received|delivered-to|return-path|authentication-results|arc-[\w-]+|x-[\w-]+)[ \t]*:", re.I)
FIELD = re.compile(rb"[^\r\n]*\r?\n(?:[ \t][^\r\n]*\r?\n)*")
FORWARD = re.compile(r"^\s*(?:fwd?|fw|wg|tr|i|rv|enc|doorst|pd|vs|vb|vl|转发|転送)\s*[:：]", re.IGNORECASE)


def read(
    raw: bytes, account: Account, inbox: Inbox, received_at: datetime, size: int | None = None
) -> list[Item | BadItem]:
    """The message or report in a mail; nothing for a mail of our own, a BadItem for bytes that are no mail.

    `size` is the whole mail's where it is too large and `raw` only its header. The mail itself is among the files.
    """
    try:
        return _read(raw, account, inbox, received_at, size)
    except STUMBLES as error:
        # Only the class: the text may quote the customer.
        name = type(error).__name__
        return [BadItem(raw, "broken_mail", f"it cannot be read: {name}", inbox.address)]


def _read(raw: bytes, account: Account, inbox: Inbox, received_at: datetime, size: int | None) -> list[Item | BadItem]:
    message = parse(raw)
    if not any(field(message, name) for name in ("from", "to", "subject", "date", "message-id", "received")):
        return [BadItem(raw, "no_mail", "there is no header of a mail in it", inbox.address)]
    id_ = message_id(message)
    if own(account, id_) or inbox.address.lower() in (one.strip().lower() for one in fields(message, "x-loop")):
        return []
    report = bounces.read(message, account, received_at)
    if report is not None:
        return [Item(inbox.address, report.peer or report.external_ids[0], report)]
    return [_message(raw, message, id_, account, inbox, received_at, size)]


def _message(
    raw: bytes, message: Message, id_: str, account: Account, inbox: Inbox, received_at: datetime, size: int | None
) -> Item:
    content = Content() if size is not None else content_of(message)
    sender = _sender(message, account, inbox, raw)
    subject = words(field(message, "subject"), SUBJECT_LIMIT)
    kind = automatic.kind_of(message, sender.address, subject)
    occurred_at = written_at(message, received_at)
    followed = references(message)
    digest = _digest(raw)
    thread = _thread(message, account, sender, followed, id_ or digest)
    context = Context(
        to=_answer_to(message, sender),
        to_name=sender.name,
        cc=_others(message, account, sender),
        subject=subject,
        message_id=id_,
        references=references_of(followed, ""),
        at=occurred_at,
        automatic=bool(kind),
        thread=thread,
    )
    attachments, files = _files(raw, content, subject, size)
    text = reply_of(content.words, is_forward=bool(FORWARD.match(subject)))
    data = MessageReceived(
        channel=CHANNEL,
        # The same id with other words happens: broken shops, forms, a mailing list's footer.
        keys=[key("mail", id_ or "without-id", digest)],
        sender=_address(message, sender, inbox),
        occurred_at=occurred_at,
        text=clean(text)[:TEXT_LIMIT],
        attachments=attachments,
        thread=thread,
        subject=bare_subject(subject),
        reply_context=context.encode(),
        raw_ref=files[0].sha256,
        automatic=kind == "answer",
    )
    return Item(inbox.address, sender.address, data, files)


def _sender(message: Message, account: Account, inbox: Inbox, raw: bytes) -> Mailbox:
    """Whoever wrote: From, else where answers or reports go; a mail of nobody is of somebody known by it alone.

    A form of the shop writes from the shop's own address: not all of its customers are one, so whoever is to be
    answered wrote.
    """
    found = next((m for name in ("from", "sender", "reply-to", "return-path") for m in _first(message, name)), None)
    forms = {*account.inboxes, *map(str, inbox.settings.get("form_senders") or ())}
    if found is not None and found.address in {address.lower() for address in forms}:
        found = next(iter(_first(message, "reply-to")), found)
    return found or Mailbox(f"unknown-{hashlib.sha256(raw).hexdigest()[:20]}@sender.invalid")


def _first(message: Message, name: str) -> list[Mailbox]:
    """Whom the first field of that name that names anybody names first."""
    return next((found for value in fields(message, name) if (found := mailboxes(value, 1))), [])


def _address(message: Message, sender: Mailbox, inbox: Inbox) -> Address:
    trusted = inbox.settings.get("trusted_authserv_ids") or ()
    named = list(fields(message, "from"))
    # The one who signs is the one in From; with two of them, or none, nobody was verified.
    is_one = len(named) == 1 and mailboxes(named[0], 2) == [sender]
    verified = is_one and auth.is_verified(message, sender.address, [str(name) for name in trusted])
    return Address(kind=CHANNEL, value=sender.address, name=sender.name, verified_by="dmarc" if verified else None)


def _answer_to(message: Message, sender: Mailbox) -> str:
    """Where the sender wants answers, empty where there is nobody to answer."""
    wanted = next((m.address for m in _first(message, "reply-to")), sender.address)
    return "" if wanted.endswith("@sender.invalid") else wanted


def _others(message: Message, account: Account, sender: Mailbox) -> list[str]:
    """Who else had the mail and gets the answer; nobody where it went to a crowd."""
    ours = {address.lower() for address in account.inboxes}
    named = [m.address for m in people(message, ("to", "cc")) if m.address not in ours and m.address != sender.address]
    return named if len(named) <= MOST_COPIES else []


def _thread(message: Message, account: Account, sender: Mailbox, followed: list[str], own_id: str) -> str:
    """Our name of the exchange: as a mail of ours that is answered says, else this sender's and its first mail's.

    Not the first mail's alone: many answer the same newsletter. A report names ours inside.
    """
    known = [*reversed(followed), bounces.ours(message, account)[0] if bounces.has_signals(message) else ""]
    for one in known:
        named = own(account, one)
        if named is not None and named.thread:
            return named.thread
    root = followed[0] if followed else own_id
    return hashlib.sha256(f"{sender.address}\n{root}".encode("utf-8", "replace")).hexdigest()[:20]


def _digest(raw: bytes) -> str:
    """The same for a mail that came twice by different ways."""
    start = 0
    while TRACE.match(raw, start):
        match = FIELD.match(raw, start)
        if match is None:
            break
        start = match.end()
    return hashlib.sha256(memoryview(raw)[start:]).hexdigest()[:32]


def _files(raw: bytes, content: Content, subject: str, size: int | None) -> tuple[list[Attachment], list[File]]:
    """The mail's own files, its page made safe, and the mail itself, in this order; the bytes of the mail first."""
    whole = File.of(raw)
    attachments = []
    files = [whole]
    for carried in content.files:
        file = File.of(carried.content)
        attachments.append(_attachment(carried, file))
        files.append(file)
    page = sanitised(content.html) if content.html else None
    if page:
        file = File.of(page.encode("utf-8", "replace"))
        attachments.append(_kept("html", "mail.html", "text/html", file))
        files.append(file)
    name = f"{bare_subject(subject)[:80] or 'mail'}.eml".replace("/", "_")
    original = _kept("mail", name, "message/rfc822", whole)
    if size is not None:
        original = Attachment(kind="mail", name=name, size=size, media_type="message/rfc822", error="too_large")
    return [*attachments, original], files


def _attachment(carried: Carried, file: File) -> Attachment:
    media_type = media_type_of(carried.content, carried.name)
    return _kept(kind_of(media_type), carried.name, media_type, file, carried.content_id)


def _kept(kind: str, name: str, media_type: str, file: File, content_id: str = "") -> Attachment:
    return Attachment(
        kind=kind, name=name, size=len(file.content), media_type=media_type, sha256=file.sha256, external_id=content_id
    )
