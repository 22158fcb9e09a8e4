"""The stand-in of a mail provider: its two servers on loopback, and `/control/email` for whoever drives it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP as LINES
from email.utils import format_datetime, make_msgid
from itertools import count
from typing import Annotated, Any

import httpx
import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.commands import File, WrongCommand
from services.sandbox.mail import imap, smtp
from services.sandbox.mail.imap import Owner, Store, Trouble
from services.sandbox.mail.smtp import Misconduct, Submission, User
from services.sandbox.mail.store import Mailboxes
from services.sandbox.stand_in import Connection
from services.sandbox.state import State
from shared.clock import utc_now

# The library would write an id that is longer than a line as encoded words.
UNFOLDED = LINES.clone(max_line_length=0)
DOMAIN = "customers.sandbox.invalid"


class Written(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer writes a mail to one of the configured addresses; `raw` instead is a mail as it is, in base64.

    `answers` is the Message-ID of a mail that reached them. `verified` adds what the provider's own border says.
    """

    to: str
    sender: str = f"marie@{DOMAIN}"
    name: str = ""
    subject: str = ""
    text: str = ""
    html: str = ""
    charset: str = "utf-8"
    answers: str = ""
    files: tuple[File, ...] = ()
    headers: Mapping[str, str] = {}
    verified: bool = True
    raw: bytes = b""


class Bounced(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An accepted mail comes back: the latest one, unless its Message-ID is given."""

    message_id: str = ""
    status: str = "5.1.1"
    text: str = "No such user here"
    action: str = "failed"


class Expunged(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mails vanish from a mailbox: all of them unless a UID is given."""

    address: str
    uid: Annotated[int, Meta(ge=1)] | None = None


class Named(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    address: str


class Wrongs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong next: in the mail store, or at the submission server."""

    imap: Trouble | None = None
    smtp: Misconduct | None = None


class Post:
    """One provider, with as many servers as the configuration names ports: every account that names one meets there."""

    name = "email"

    def __init__(self, connections: Sequence[Connection], _state: State) -> None:
        self.boxes = Mailboxes()
        self._connections = connections
        self.store = Store({str(c.settings.get("user", "")): _owner(c) for c in connections}, self.boxes)
        self.submission = Submission({str(c.settings.get("user", "")): _user(c) for c in connections})
        self._known = {address.lower() for c in connections for address in c.inboxes}
        self.submission.deliver = self._deliver
        self._numbers = count(1)

    def routes(self) -> Sequence[Route]:
        """Its wire is no HTTP."""
        return []

    def control(self) -> Sequence[Route]:
        return [
            Route("/messages", _understood(self._messages), methods=["POST"]),
            Route("/sent", self._sent),
            Route("/mailboxes", self._mailboxes),
            Route("/bounces", _understood(self._bounces), methods=["POST"]),
            Route("/expunged", _understood(self._expunged), methods=["POST"]),
            Route("/renumbered", _understood(self._renumbered), methods=["POST"]),
            Route("/misbehave", _understood(self._misbehave), methods=["POST", "DELETE"]),
        ]

    @asynccontextmanager
    async def running(self, http: httpx.AsyncClient) -> AsyncIterator[None]:  # noqa: ARG002 - it calls nobody
        async with AsyncExitStack() as stack:
            for port in _ports(self._connections, "imap_port"):
                await stack.enter_async_context(imap.listening(self.store, port))
            for port in _ports(self._connections, "smtp_port"):
                await stack.enter_async_context(smtp.listening(self.submission, port))
            yield

    def forget(self) -> None:
        self.boxes.forget()
        self.store.troubles.clear()
        self.submission.forget()

    def write(self, wanted: Written) -> str:
        """Delivers a customer's mail; its Message-ID. Raises WrongCommand."""
        if wanted.to.lower() not in self._known:
            raise WrongCommand(f"no account has the address {wanted.to}")
        if wanted.raw:
            self.boxes.deliver(wanted.to, wanted.raw)
            return ""
        mail = self._composed(wanted)
        try:
            self.boxes.deliver(wanted.to, mail.as_bytes(policy=UNFOLDED))
        except (LookupError, UnicodeError):
            raise WrongCommand(f"the text cannot be written in {wanted.charset}") from None
        return str(mail["message-id"])

    def _composed(self, wanted: Written) -> EmailMessage:
        mail = EmailMessage(policy=LINES)
        domain = wanted.sender.rpartition("@")[2] or DOMAIN
        if wanted.verified:
            mail["Authentication-Results"] = f"mx.sandbox.invalid; dmarc=pass header.from={domain}"
        mail["From"] = f'"{wanted.name}" <{wanted.sender}>' if wanted.name else wanted.sender
        mail["To"] = wanted.to
        mail["Subject"] = wanted.subject
        mail["Date"] = format_datetime(utc_now())
        mail["Message-ID"] = make_msgid(str(next(self._numbers)), domain)
        if wanted.answers:
            mail["In-Reply-To"] = wanted.answers
            mail["References"] = self._references(wanted.answers)
        for name, value in wanted.headers.items():
            del mail[name]
            mail[name] = value
        try:
            mail.set_content(wanted.text, charset=wanted.charset)
            if wanted.html:
                mail.add_alternative(wanted.html, subtype="html", charset=wanted.charset)
        except (LookupError, UnicodeError):
            raise WrongCommand(f"the text cannot be written in {wanted.charset}") from None
        for file in wanted.files:
            mail.add_attachment(file.content, "application", "octet-stream", filename=file.name)
        return mail

    def _references(self, answered: str) -> str:
        """As mail programs do: what the answered mail followed, and that mail."""
        found = next((m for m in self.submission.accepted if m["message_id"] == answered), None)
        earlier = found["headers"].get("References", "") if found else ""
        return f"{earlier} {answered}".strip()

    def _deliver(self, address: str, raw: bytes) -> None:
        """Mail to an address of ours lies in its mailbox; all others have theirs elsewhere."""
        if address in self._known:
            self.boxes.deliver(address, raw)

    async def _messages(self, request: Request) -> Response:
        body = await request.body()
        several = body.lstrip().startswith(b"[")
        wanted = msgspec.json.decode(body, type=list[Written]) if several else [_decoded(body, Written)]
        return _json([{"message_id": self.write(one)} for one in wanted])

    async def _sent(self, _request: Request) -> Response:
        return _json(list(self.submission.accepted))

    async def _mailboxes(self, _request: Request) -> Response:
        """Every mailbox with its UIDVALIDITY, and by UID the flags and the size of its mails."""
        shown = {}
        for address in self.boxes.addresses():
            box = self.boxes.of(address)
            mails = {str(m.uid): {"flags": sorted(m.flags), "size": len(m.raw)} for m in box.mails}
            shown[address] = {"uidvalidity": box.uidvalidity, "mails": mails}
        return _json(shown)

    async def _bounces(self, request: Request) -> Response:
        wanted = _decoded(await request.body() or b"{}", Bounced)
        found = [m for m in self.submission.accepted if wanted.message_id in ("", m["message_id"]) and m["mail_from"]]
        if not found:
            raise WrongCommand("no accepted mail has this Message-ID")
        raw = smtp.report(found[-1], status=wanted.status, text=wanted.text, action=wanted.action)
        self.boxes.deliver(found[-1]["mail_from"], raw)
        return _json({"message_id": found[-1]["message_id"]})

    async def _expunged(self, request: Request) -> Response:
        wanted = _decoded(await request.body(), Expunged)
        box = self.boxes.of(wanted.address)
        before = len(box.mails)
        box.mails[:] = [mail for mail in box.mails if wanted.uid not in (None, mail.uid)]
        return _json({"expunged": before - len(box.mails)})

    async def _renumbered(self, request: Request) -> Response:
        self.boxes.renumber(_decoded(await request.body(), Named).address)
        return Response(status_code=204)

    async def _misbehave(self, request: Request) -> Response:
        """POST adds one; DELETE ends them all."""
        if request.method == "DELETE":
            self.store.troubles.clear()
            self.submission.misconduct.clear()
            return Response(status_code=204)
        wanted = _decoded(await request.body(), Wrongs)
        if wanted.imap is not None:
            self.store.misbehave(wanted.imap)
        if wanted.smtp is not None:
            self.submission.misbehave(wanted.smtp)
        return Response(status_code=204)


def build(connections: Sequence[Connection], state: State) -> Post:
    return Post(connections, state)


def _owner(connection: Connection) -> Owner:
    folders = {str(settings.get("folder") or "INBOX"): address for address, settings in connection.inboxes.items()}
    return Owner(tuple(connection.secrets.get("imap_password", ())), folders)


def _user(connection: Connection) -> User:
    addresses = frozenset(address.lower() for address in connection.inboxes)
    return User(tuple(connection.secrets.get("smtp_password", ())), addresses)


def _ports(connections: Sequence[Connection], name: str) -> list[int]:
    """Of the accounts that are on this machine: nobody else's is stood in for."""
    local = [c for c in connections if c.settings.get(name.replace("port", "host")) == "127.0.0.1"]
    return sorted({int(c.settings[name]) for c in local if name in c.settings})


def _decoded(body: bytes, kind: type[Any]) -> Any:
    return msgspec.json.decode(body, type=kind)


def _understood(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await work(request)
        except (msgspec.DecodeError, WrongCommand) as error:
            return _json({"message": str(error)}, 400)

    return endpoint


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
