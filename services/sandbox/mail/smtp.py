"""The stand-in's submission server: wants a log-in, its own senders and whole headers, and misbehaves on request."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import SMTP as LINES
from email.policy import default
from email.utils import format_datetime, getaddresses
from itertools import count
from socket import socket
from typing import Any, Literal, cast

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from msgspec import Struct

from shared.clock import utc_now

KEPT = 10_000
SIZE_LIMIT = 35_000_000
LONGEST_LINE = 998

logging.getLogger("mail.log").setLevel(logging.ERROR)


class Misconduct(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server does wrong at a stage, `times` times: it gives `answer`, or drops the connection without one.

    `data` comes before the mail's content, `dot` after the whole of it: dropped then, the mail was accepted.
    """

    stage: Literal["login", "sender", "recipient", "data", "dot"]
    answer: str = ""
    times: int = 1
    # How long it thinks first.
    seconds: float = 0.0
    # One recipient's alone.
    recipient: str | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who may log in, and the addresses that they may send from."""

    passwords: tuple[str, ...] = field(repr=False)
    addresses: frozenset[str]


@dataclass(slots=True)
class Submission:
    """The server's state: what it accepted, and what it does wrong next. `deliver` takes mail for addresses of ours."""

    users: Mapping[str, User]
    deliver: Callable[[str, bytes], object] = lambda _address, _raw: None
    accepted: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    misconduct: list[list[Any]] = field(default_factory=list)
    connections: int = 0
    takes_utf8: bool = True
    _numbers: Any = field(default_factory=lambda: count(1))

    def misbehave(self, wanted: Misconduct) -> None:
        self.misconduct.append([wanted, wanted.times])

    def take(self, stage: str, recipient: str = "") -> Misconduct | None:
        """The oldest misconduct for this stage, one time less of it from now on."""
        for entry in self.misconduct:
            wanted: Misconduct = entry[0]
            if wanted.stage == stage and wanted.recipient in (None, recipient):
                entry[1] -= 1
                if entry[1] <= 0:
                    self.misconduct.remove(entry)
                return wanted
        return None

    def keep(self, envelope: Envelope, raw: bytes) -> str:
        """Accepts a mail; the id that the server gives it."""
        mail = message_from_bytes(raw, policy=default)
        id_ = f"{next(self._numbers):08X}"
        self.accepted.append(shown(mail, envelope) | {"queue_id": id_, "raw": raw.decode("utf-8", "replace")})
        for recipient in envelope.rcpt_tos:
            self.deliver(recipient.lower(), raw)
        return id_

    def forget(self) -> None:
        self.accepted.clear()
        self.misconduct.clear()


def shown(mail: Message, envelope: Envelope) -> dict[str, Any]:
    """A mail as whoever looks at the stand-in wants to read it."""
    leaves = [part for part in mail.walk() if not part.is_multipart()]
    files = [part for part in leaves if part.get_content_disposition() == "attachment"]

    def words(kind: str) -> str:
        found = next((part for part in leaves if part.get_content_type() == kind and part not in files), None)
        return found.get_content().replace("\r\n", "\n") if isinstance(found, EmailMessage) else ""

    return {
        "mail_from": envelope.mail_from or "",
        "rcpt_to": list(envelope.rcpt_tos),
        "headers": {name: str(value) for name, value in mail.items()},
        "message_id": str(mail["message-id"]).strip(),
        "subject": str(mail["subject"]),
        "text": words("text/plain").rstrip("\n"),
        "html": words("text/html"),
        "files": [{"name": p.get_filename(), "type": p.get_content_type(),
                   "size": len(p.get_payload(decode=True) or b"")} for p in files],
    }  # fmt: skip


class Server(SMTP):
    """One connection; what the library cannot do is to go away between two answers."""

    def __init__(self, submission: Submission, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(
            Handler(submission),
            loop=loop,
            hostname="mail.sandbox.invalid",
            ident="sandbox",
            enable_SMTPUTF8=submission.takes_utf8,
            data_size_limit=SIZE_LIMIT,
            # The library's own check of it warns wherever there is no TLS; the handler asks for a log-in itself.
            auth_require_tls=False,
            authenticator=_Login(submission),
        )
        self._submission = submission
        submission.connections += 1

    async def smtp_AUTH(self, arg: str) -> None:
        if await self._goes_wrong("login"):
            return
        await super().smtp_AUTH(arg)

    async def smtp_DATA(self, arg: str) -> None:
        if self.envelope is not None and self.envelope.rcpt_tos and await self._goes_wrong("data", begun=True):
            return
        await super().smtp_DATA(arg)

    def drop(self) -> None:
        """Closes the connection in the middle of whatever it is."""
        if self.transport is not None:
            self.transport.abort()  # type: ignore[attr-defined]

    async def _goes_wrong(self, stage: str, *, begun: bool = False) -> bool:
        wanted = self._submission.take(stage)
        if wanted is None:
            return False
        if wanted.answer:
            await self.push(wanted.answer)
            return True
        if begun:
            await self.push("354 End data with <CR><LF>.<CR><LF>")
        self.drop()
        return True


@dataclass(frozen=True, slots=True)
class _Login:
    submission: Submission

    def __call__(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
        if not isinstance(data, LoginPassword):
            return AuthResult(success=False, handled=False)
        name = data.login.decode("utf-8", "replace")
        user = self.submission.users.get(name)
        if user is None or data.password.decode("utf-8", "replace") not in user.passwords:
            return AuthResult(success=False, handled=False, message="535 5.7.8 Authentication credentials invalid")
        return AuthResult(success=True, auth_data=name)


class Handler:
    """What the server decides at each command; the names of its methods are the library's."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission

    async def handle_MAIL(
        self, server: Server, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        """Only who logged in, and only from their own address or from nobody."""
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        wanted = self.submission.take("sender")
        if wanted is not None:
            return _answer(server, wanted)
        user = self.submission.users[str(session.auth_data)]
        if address and address.lower() not in user.addresses:
            return "553 5.7.1 Sender address rejected: not owned by user"
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return "250 2.1.0 OK"

    async def handle_RCPT(
        self, server: Server, _session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        wanted = self.submission.take("recipient", address)
        if wanted is not None:
            return _answer(server, wanted)
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 OK"

    async def handle_DATA(self, server: Server, session: Session, envelope: Envelope) -> str:
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        refusal = self._refusal(raw, session)
        if refusal:
            return refusal
        wanted = self.submission.take("dot")
        if wanted is not None and wanted.seconds:
            await asyncio.sleep(wanted.seconds)
        if wanted is not None and wanted.answer:
            return wanted.answer
        id_ = self.submission.keep(envelope, raw)
        if wanted is not None:
            server.drop()
        return f"250 2.0.0 Ok: queued as {id_}"

    def _refusal(self, raw: bytes, session: Session) -> str:
        """What an exact server refuses of a mail."""
        mail = message_from_bytes(raw, policy=default)
        for name in ("message-id", "date", "from", "to"):
            if len(mail.get_all(name, [])) != 1:
                return f"550 5.6.0 Message has no single {name.title()} header"
        addresses = {address.lower() for _, address in getaddresses([str(mail["from"])])}
        if not addresses <= self.submission.users[str(session.auth_data)].addresses:
            return "550 5.7.60 Client does not have permissions to send as this sender"
        if any(len(line) > LONGEST_LINE for line in raw.split(b"\r\n")):
            return "550 5.6.11 Line length exceeds 998"
        if "=?" in str(raw_header(raw, b"references")) or "=?" in str(raw_header(raw, b"in-reply-to")):
            return "550 5.6.0 Encoded words in References"
        return ""


def raw_header(raw: bytes, name: bytes) -> bytes:
    """A header's value as it stands in the bytes, with its folds; empty where there is none."""
    head = raw.partition(b"\r\n\r\n")[0]
    start = (b"\r\n" + head.lower()).find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    lines = head[start + len(name) + 1 :].split(b"\r\n")
    end = next((n for n, line in enumerate(lines[1:], 1) if line[:1] not in (b" ", b"\t")), len(lines))
    return b"\r\n".join(lines[:end]).strip()


def _answer(server: Server, wanted: Misconduct) -> str:
    if not wanted.answer:
        server.drop()
    return wanted.answer or "421 4.3.2 Gone"


def report(
    accepted: Mapping[str, Any], *, status: str, text: str, action: str = "failed", now: datetime | None = None
) -> bytes:
    """What a mail system sends back about a mail that it could not deliver (RFC 3464)."""
    mail = EmailMessage(policy=LINES)
    recipient = accepted["rcpt_to"][0]
    mail["From"] = "Mail Delivery System <MAILER-DAEMON@sandbox.invalid>"
    mail["To"] = accepted["mail_from"]
    mail["Subject"] = "Undelivered Mail Returned to Sender"
    mail["Date"] = format_datetime(now or utc_now())
    mail["Message-ID"] = f"<bounce.{accepted['queue_id']}.{status}@sandbox.invalid>"
    mail["Auto-Submitted"] = "auto-replied"
    mail["Return-Path"] = "<>"
    mail.set_content(f"Your message to {recipient} could not be delivered: {text}\n")
    mail.make_mixed()
    # The library's types know no part below a part that is not an EmailMessage.
    cast(Any, mail).attach(_status(recipient, status, text, action))
    original = EmailMessage(policy=LINES)
    head = accepted["raw"].replace("\r\n", "\n").partition("\n\n")[0]
    original.set_content(head + "\n")
    original.replace_header("Content-Type", 'text/rfc822-headers; charset="utf-8"')
    mail.attach(original)
    mail.replace_header("Content-Type", "multipart/report; report-type=delivery-status")
    mail.set_boundary(f"=_{accepted['queue_id']}")
    return mail.as_bytes()


def _status(recipient: str, status: str, text: str, action: str) -> Message:
    whole, each = Message(), Message()
    whole["Reporting-MTA"] = "dns; mail.sandbox.invalid"
    each["Final-Recipient"] = f"rfc822; {recipient}"
    each["Action"] = action
    each["Status"] = status
    each["Diagnostic-Code"] = f"smtp; 550 {status} {text}"
    part = Message()
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([whole, each])
    return part


@asynccontextmanager
async def listening(submission: Submission, where: int | socket) -> AsyncIterator[int]:
    """Serves on a loopback port (0: any free one) or on a socket until left; gives the port."""
    loop = asyncio.get_running_loop()
    open_ones: set[Server] = set()

    def connection() -> Server:
        made = Server(submission, loop)
        open_ones.add(made)
        return made

    if isinstance(where, int):
        server = await loop.create_server(connection, "127.0.0.1", where)
    else:
        server = await loop.create_server(connection, sock=where)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in open_ones:
            one.drop()
        await server.wait_closed()
        # Their tasks see the end in the next turns of the loop.
        tasks = [one._handler_coroutine for one in open_ones if one._handler_coroutine is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
