"""What a channel is: both directions of one vendor's wire, as values and pure functions.

`verify`, `receive`, `render` and `may_write` do no I/O; `send`, `poll` and `ask` get the HTTP client. Nothing outside
a channel's folder names the vendor: what differs is a field or a function of `Channel`.
"""

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.accounts import Account, Inbox
from shared.channels.http import client
from shared.checks import Check
from shared.events import (
    Attachment,
    AuthorKind,
    CallbackRequested,
    CallProgressed,
    EchoReceived,
    IdentityChanged,
    MessageReceived,
    OptOutChanged,
    PlaceCall,
    ReceiptReceived,
    SendReply,
    Unrecognised,
)

Fact = (
    MessageReceived
    | Unrecognised
    | CallbackRequested
    | IdentityChanged
    | OptOutChanged
    | ReceiptReceived
    | EchoReceived
    | CallProgressed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One request of a vendor. Header names are lower case; `query` keeps repeated names in order.

    `url` is the address as the vendor called it, byte for byte: our public address, the raw path and the raw query.
    """

    method: str
    path: str
    url: str = ""
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    received_at: datetime

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty where there is none."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class File:
    """Bytes that came with an item; they are in the object store before its event is published."""

    content: bytes = field(repr=False)
    sha256: str

    @classmethod
    def of(cls, content: bytes) -> "File":
        return cls(content, hashlib.sha256(content).hexdigest())


@dataclass(frozen=True, slots=True)
class Item:
    """One fact for the bus. `address` is the inbox as the vendor names it, `lane` keeps one peer's items in order."""

    address: str
    lane: str
    data: Fact
    files: Sequence[File] = ()


@dataclass(frozen=True, slots=True)
class BadItem:
    """Authentic input that breaks the documented form; goes to `dead` and holds nobody back."""

    raw: bytes
    code: str
    error: str
    address: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the vendor gets once the events are safe."""

    status: int = 200
    body: bytes = b""
    media_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Received:
    """What a request holds, and the answer to it."""

    items: Sequence[Item | BadItem]
    answer: Answer = Answer()


@dataclass(frozen=True, slots=True)
class Page:
    """One step of a poll. `cursor` is set only where everything before it has been handed out."""

    items: Sequence[Item | BadItem]
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One vendor call of a reply: `payload` is all that `send` needs, `text` what an echo of it would carry."""

    kind: str
    payload: Mapping[str, Any]
    peer: str
    text: str = ""


class Files(Protocol):
    """How a reply's stored attachments reach a vendor."""

    def link(self, attachment: Attachment) -> str:
        """A signed address that works for a short while, for vendors that fetch. Raises Rejected where none exists."""
        ...

    async def read(self, attachment: Attachment) -> bytes:
        """The bytes, for vendors that take uploads. Raises Unavailable and Rejected."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt at a part. `reference` is ours, the same for every attempt; `started_at` is that of the first.

    `taken` are the vendor's ids of that peer's other parts: whatever has one of them is not this part.
    """

    part: Part
    reference: str
    started_at: datetime
    taken: frozenset[str] = frozenset()
    files: Files | None = None
    # Where the account's webhooks come, for vendors that are told so with each call; empty where they do not.
    hook_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an attachment's bytes can be had. `hosts` limits the first request; None: any public host.

    The headers go to that host alone, never along with a redirect elsewhere.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    hosts: frozenset[str] | None = None


class Draft(Protocol):
    """What decides whether we may write: a reply, or one that an agent is only thinking of."""

    @property
    def reply_context(self) -> bytes: ...
    @property
    def author_kind(self) -> AuthorKind: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """Whether the vendor lets us write now; `reason` is a short name, `until` when that ends, `sentence` for people."""

    allowed: bool
    reason: str = ""
    until: datetime | None = None
    sentence: str = ""


def always_allowed(_draft: Draft, _inbox: Inbox, _now: datetime) -> Permission:
    """For vendors without a reply window."""
    return Permission(allowed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A call whose placing began at `started_at`; without the vendor's id its outcome is unknown."""

    command: PlaceCall
    started_at: datetime
    external_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What a channel does that telephones: the agent first, then the customer.

    `place(client, command, account, inbox, hook_url)` makes the one call to the vendor that begins it: the vendor's id,
    or one of `shared.errors` is raised. `hook_url` is the account's own webhook address.
    `follow(client, placed, account, inbox)` asks how it stands, as facts like those of the webhooks; none: it never
    began. `hang_up(client, external_id, account, inbox)` ends it, also where it is over already.
    """

    place: Callable[[Any, PlaceCall, Account, Inbox, str], Awaitable[str]]
    follow: Callable[[Any, Placed, Account, Inbox], Awaitable[Sequence[CallProgressed]]]
    hang_up: Callable[[Any, str, Account, Inbox], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """A channel's table of contents.

    `verify(hook, account)` raises BadSignature; `receive(hook, account)` raises BadPayload where the whole body is
    unreadable. `connect(plain_httpx=...)` opens what one account's calls go through, an HTTP client unless the wire is
    another; `poll`, `send`, `ask` and `locate` get it as their first argument.
    `poll(client, account, inbox, cursor)` yields pages, the last one with the new cursor.
    `read(raw, account, inbox, received_at)` is the pure part of a poll whose items are files by themselves, as mails.
    `render(reply)` raises Rejected for what cannot be expressed to the vendor.
    `send(client, attempt, account, inbox)` makes one call: the vendor's id, or one of `shared.errors` is raised.
    `ask(client, attempt, account, inbox)` tells what became of an attempt: the vendor's id, None where it never came.
    `locate(client, attachment, account, inbox)` says where the bytes of an inbound attachment are.
    `examine(client, account, hook_urls)` are the questions that tell whether the account works: harmless calls, and
    whether the vendor calls one of `hook_urls`, the account's webhook addresses, where it can be asked that.
    """

    name: str
    # Addresses of the same kind on several channels are one identity (`phone` across WhatsApp, SMS and calls).
    address_kind: str
    # Live channels are offered to agents, the others assigned.
    live: bool
    verify: Callable[[Hook, Account], None] | None = None
    receive: Callable[[Hook, Account], Received] | None = None
    # What is opened is the channel's own affair, so its type is too.
    connect: Callable[..., AbstractAsyncContextManager[Any]] = client
    poll: Callable[[Any, Account, Inbox, str], AsyncGenerator[Page, None]] | None = None
    read: Callable[[bytes, Account, Inbox, datetime], Sequence[Item | BadItem]] | None = None
    render: Callable[[SendReply], tuple[Part, ...]]
    send: Callable[[Any, Try, Account, Inbox], Awaitable[str]]
    ask: Callable[[Any, Try, Account, Inbox], Awaitable[str | None]] | None = None
    locate: Callable[[Any, Attachment, Account, Inbox], Awaitable[Source]] | None = None
    examine: Callable[[Any, Account, Sequence[str]], Sequence[Check]] | None = None
    # Whoever takes a conversation of such a channel is called, and then the customer.
    calls: Calls | None = None
    may_write: Callable[[Draft, Inbox, datetime], Permission] = always_allowed
    text_limit: int
    # What it takes as a file: most bytes by kind (`image`, `audio`, `video`, `file`); the rest leaves as a link.
    media_limit: Mapping[str, int] = field(default_factory=dict)
    # And of which media types; empty: of any.
    media_types: frozenset[str] = frozenset()
    # Where inboxes differ in that, instead of it.
    media_limit_of: Callable[[Inbox], Mapping[str, int]] | None = None
    body_limit: int = 1_000_000
    answer_within: timedelta = timedelta(seconds=3)
    # How long an echo or receipt may take to prove an attempt whose outcome is unknown.
    proof_within: timedelta = timedelta(minutes=2)
    # Where neither proof nor asking tells: a duplicate beats a loss in a chat, a person decides elsewhere.
    resend_unproven: bool = False
    weight: int = 1
    # After so many of those a person decides here too; None: as long as the reply has not expired.
    resend_at_most: int | None = None
    # Longer than what `send` and `ask` may take by their own limits: a call that is cut off here is in doubt.
    call_within: timedelta = timedelta(seconds=35)
    # Codes of Rejected and of failed receipts after which nothing more goes to that peer until they write again.
    suppresses: frozenset[str] = frozenset()
    # How long a resolved conversation is opened again by the same customer.
    reopen_within: timedelta = timedelta(days=3)
