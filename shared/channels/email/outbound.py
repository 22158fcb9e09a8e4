"""Replies as mails: what is sent, whether we may, and which connection it goes through."""

import logging
from datetime import datetime
from typing import Any

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Draft, Part, Permission, Try
from shared.channels.email.compose import (
    FILES_LIMIT,
    File,
    body_text,
    compose,
    ids_of,
    one_line,
    references_of,
    subject_of,
    wire_address,
)
from shared.channels.email.lines import Lines
from shared.channels.email.rules import Context
from shared.channels.text import split
from shared.errors import InboxMisconfigured, Rejected
from shared.events import Attachment, SendReply

log = logging.getLogger(__name__)

TEXT_LIMIT = 100_000
MOST_COPIES = 20
NOBODY_READS = ("noreply", "no-reply", "no_reply", "donotreply", "do-not-reply", "mailer-daemon", "postmaster")


def render(reply: SendReply) -> tuple[Part, ...]:
    """One mail, more only where the text is longer than mails are; the files go with the first.

    Raises Rejected for a bad address, for nothing to send, and for files that no server takes.
    """
    context = Context.decode(reply.reply_context)
    peer = wire_address(context.to)
    text = body_text(reply.text)
    if not text and not reply.attachments:
        raise Rejected("there is nothing to send", code="empty_reply")
    if sum(file.size or 0 for file in reply.attachments) > FILES_LIMIT:
        raise Rejected("the files are larger than mail servers take", code="too_large")
    payload: dict[str, Any] = {
        "to": context.to.strip(),
        "to_name": one_line(context.to_name),
        "cc": _copies(context, peer),
        "subject": subject_of(context.subject),
        "in_reply_to": next(iter(ids_of(context.message_id)), ""),
        "references": references_of(context.references, context.message_id),
        "thread": context.thread,
        "automatic": reply.author_kind == "automatic",
        "language": reply.language,
    }
    files = msgspec.to_builtins(reply.attachments)
    texts = split(text, TEXT_LIMIT) or [""]
    return tuple(
        Part("mail", {**payload, "text": piece, "files": files if n == 0 else []}, peer.lower(), piece)
        for n, piece in enumerate(texts)
    )


def _copies(context: Context, peer: str) -> list[str]:
    """The others who had the mail, as far as they are addresses."""
    found: dict[str, str] = {}
    for address in context.cc:
        try:
            found.setdefault(wire_address(address).lower(), address.strip())
        except Rejected:
            continue
    found.pop(peer.lower(), None)
    return list(found.values())[:MOST_COPIES]


async def send(lines: Lines, attempt: Try, account: Account, inbox: Inbox) -> str:
    """Our Message-ID once the server took the mail.

    The server may name it otherwise (`250 Ok <id>`), and one that rewrites our Message-ID is not supported. A copy's
    recipient that is refused does not hold the answer back. Raises what `smtp.Pool.deliver` raises.
    """
    payload = attempt.part.payload
    files = [await _file(attempt, file) for file in msgspec.convert(payload["files"], list[Attachment])]
    mail = compose(payload, files, part_id=attempt.reference, at=attempt.started_at, account=account, inbox=inbox)
    refused = await lines.smtp(account).deliver(mail)
    if refused:
        log.warning("part %s: %d copies were refused", attempt.reference, refused)
    return mail.message_id


async def _file(attempt: Try, attachment: Attachment) -> File:
    if attempt.files is None or not attachment.sha256:
        raise InboxMisconfigured("there is no store to take the reply's files from", code="no_files")
    content = await attempt.files.read(attachment)
    if len(content) > FILES_LIMIT:
        raise Rejected("the file is larger than mail servers take", code="too_large")
    return File(attachment.name or attachment.kind, attachment.media_type, content)


def may_write(draft: Draft, _inbox: Inbox, _now: datetime) -> Permission:
    """Machines never answer machines (RFC 3834); a person may, and is told where nobody reads it."""
    try:
        context = Context.decode(draft.reply_context)
        local = wire_address(context.to).partition("@")[0].lower()
    except Rejected as error:
        return Permission(allowed=False, reason=error.code, sentence=str(error))
    nobody_reads = local.startswith(NOBODY_READS)
    if draft.author_kind == "automatic" and (context.automatic or nobody_reads):
        return Permission(
            allowed=False,
            reason="automatic_sender",
            sentence="A machine wrote this mail, so nothing automatic is sent back.",
        )
    if nobody_reads:
        return Permission(allowed=True, sentence=f"Probably nobody reads what is sent to {context.to}.")
    return Permission(allowed=True)
