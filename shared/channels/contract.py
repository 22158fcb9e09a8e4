"""What a channel is: both directions of one vendor's wire, as values and pure functions.

`verify`, `receive`, `render` and `may_write` do no I/O; `send`, `poll` and `ask` get the HTTP client. Nothing outside
a channel's folder names the vendor: what differs is a field or a function of `Channel`.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import httpx

from shared.accounts import Account, Inbox
from shared.events import AuthorKind, EchoReceived, MessageReceived, ReceiptReceived, SendReply, Unrecognised


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One request of a vendor. Header names are lower case; `query` keeps repeated names in order."""

    method: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    received_at: datetime

    def parameter(self, name: str) -> str:
        """The first value of a query parameter, empty where there is none."""
        return next((value for key, value in self.query if key == name), "")


@dataclass(frozen=True, slots=True)
class Item:
    """One fact for the bus. `address` is the inbox as the vendor names it, `lane` keeps one peer's items in order."""

    address: str
    lane: str
    data: MessageReceived | Unrecognised | ReceiptReceived | EchoReceived


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One attempt at a part. `reference` is ours, the same for every attempt; `started_at` is that of the first."""

    part: Part
    reference: str
    started_at: datetime


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
class Channel:
    """A channel's table of contents.

    `verify(hook, account)` raises BadSignature; `receive(hook, account)` raises BadPayload where the whole body is
    unreadable. `poll(http, account, inbox, cursor)` yields pages, the last one with the new cursor.
    `render(reply)` raises Rejected for what cannot be expressed to the vendor.
    `send(http, attempt, account, inbox)` makes one call and returns the vendor's id, or raises one of `shared.errors`.
    `ask(http, attempt, account, inbox)` tells what became of an attempt: the vendor's id, or None where it never came.
    """

    name: str
    # Addresses of the same kind on several channels are one identity (`phone` across WhatsApp, SMS and calls).
    address_kind: str
    # Live channels are offered to agents, the others assigned.
    live: bool
    verify: Callable[[Hook, Account], None] | None = None
    receive: Callable[[Hook, Account], Received] | None = None
    poll: Callable[[httpx.AsyncClient, Account, Inbox, str], AsyncIterator[Page]] | None = None
    render: Callable[[SendReply], tuple[Part, ...]]
    send: Callable[[httpx.AsyncClient, Try, Account, Inbox], Awaitable[str]]
    ask: Callable[[httpx.AsyncClient, Try, Account, Inbox], Awaitable[str | None]] | None = None
    may_write: Callable[[Draft, Inbox, datetime], Permission] = always_allowed
    text_limit: int
    body_limit: int = 1_000_000
    answer_within: timedelta = timedelta(seconds=3)
    # How long an echo or receipt may take to prove an attempt whose outcome is unknown.
    proof_within: timedelta = timedelta(minutes=2)
    # Where neither proof nor asking tells: a duplicate beats a loss in a chat, a person decides elsewhere.
    resend_unproven: bool = False
    weight: int = 1
    # How long a resolved conversation is opened again by the same customer.
    reopen_within: timedelta = timedelta(days=3)
