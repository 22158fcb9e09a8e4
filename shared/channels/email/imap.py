"""One account's way in: an IMAP connection in a thread of its own, opened when it is needed, dropped on any doubt.

Source: RFC 3501 and 9051 (IMAP), RFC 5530 (response codes), RFC 7628 and Google's XOAUTH2 are not spoken yet.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, ParamSpec, TypeVar

from imapclient import IMAPClient, SocketTimeout
from imapclient.exceptions import (
    IMAPClientAbortError,
    IMAPClientError,
    LoginError,
)

from shared.accounts import Account
from shared.errors import AccountBroken, DragomanError, InboxMisconfigured, Rejected, Throttled, Unavailable

CONNECT, READ = 20.0, 40.0
SECURITY = ("tls", "starttls", "none")
BUSY_FOR = timedelta(minutes=2)
BUSY = ("unavailable", "inuse", "limit", "too many", "serverbug", "contactadmin")

P = ParamSpec("P")
T = TypeVar("T")


class Unreadable(Exception):
    """The server's answer about one or several mails is none; the connection itself may be well."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A folder as it is: the UIDs of one `validity` only grow, the next one is `next_uid` if the server says so."""

    validity: int
    next_uid: int | None


@dataclass(frozen=True, slots=True)
class Size:
    """What is known of a mail before it is fetched: `at` is when the server had it."""

    size: int
    at: datetime


@dataclass(slots=True)
class Suspicion:
    """Up to this UID mails are fetched one by one, since the connection was lost among them; how often at which."""

    until: int = 0
    deaths: dict[int, int] = field(default_factory=dict)


class Mailbox:
    """One account's connection. Every method raises Unavailable, Throttled, AccountBroken or InboxMisconfigured."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client: IMAPClient | None = None
        self._socket: socket.socket | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="imap")
        self._suspicions: dict[tuple[str, int], Suspicion] = {}
        # What is open, and whether only for reading: opened again on every new connection.
        self._folder: tuple[str, bool, int] | None = None

    def use(self, account: Account) -> None:
        """What the account says from now on holds; a connection of another password or server is not used again."""
        if account is not self._account and account != self._account:
            self._abort()
        self._account = account

    def suspicion(self, folder: str, validity: int) -> Suspicion:
        """What is remembered of lost connections while a folder was read, as long as its UIDs mean the same."""
        return self._suspicions.setdefault((folder, validity), Suspicion())

    async def select(self, folder: str, *, is_marked: bool) -> Selected:
        """Opens a folder anew; only reading, unless mails are to be marked. Raises Rejected where there is none."""
        return await self._call(self._select, folder, is_marked)

    async def after(self, uid: int) -> list[int]:
        """The UIDs beyond, ascending."""
        return await self._call(self._after, uid)

    async def since(self, at: datetime) -> list[int]:
        """The UIDs of what came on that day or later, by the server's calendar."""
        return await self._call(self._since, at)

    async def sizes(self, uids: Sequence[int]) -> dict[int, Size]:
        """Those that are still there. Raises Unreadable."""
        return await self._call(self._sizes, uids)

    async def whole(self, uids: Sequence[int]) -> dict[int, bytes]:
        """The mails that are still there, not marked by it. Raises Unreadable."""
        return await self._call(self._fetch, uids, "BODY.PEEK[]", b"BODY[]")

    async def heads(self, uids: Sequence[int]) -> dict[int, bytes]:
        """Their headers alone. Raises Unreadable."""
        return await self._call(self._fetch, uids, "BODY.PEEK[HEADER]", b"BODY[HEADER]")

    async def mark(self, uids: Sequence[int]) -> bool:
        """Marks them as read; whether the server took it."""
        try:
            return await self._call(self._mark, uids)
        except (Unreadable, Rejected):
            return False

    async def close(self) -> None:
        """Says goodbye, not for long."""
        client = self._client
        if client is not None:
            with suppress(TimeoutError, *LOST):
                async with asyncio.timeout(2):
                    await asyncio.get_running_loop().run_in_executor(self._thread, client.logout)
        self._abort()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """In the thread. Whoever stops waiting leaves no thread that hangs: the socket is closed below it."""

        def run() -> T:
            with _calling():
                return work(*args, **kwargs)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except Rejected:
            raise
        except BaseException:
            self._abort()
            raise

    def _abort(self) -> None:
        """Drops the connection without a word; the thread that waits on it sees its end."""
        client, opened = self._client, self._socket
        self._client = self._socket = None
        if client is not None:
            with suppress(OSError, AttributeError):
                client.shutdown()
        if opened is not None:
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    # in the thread

    def _open(self) -> IMAPClient:
        if self._client is not None:
            return self._client
        account = self._account
        password = account.secret("imap_password")
        client = _connected(account)
        try:
            # Before the log-in, so that the socket can be closed while that hangs.
            self._socket = client.socket()
            client.login(str(account.settings.get("imap_user") or account.settings.get("user") or ""), password)
        except BaseException:
            with suppress(OSError, AttributeError):
                client.shutdown()
            raise
        client.normalise_times = False
        self._client = client
        return client

    def _select(self, folder: str, is_marked: bool) -> Selected:
        used_before = self._client is not None
        client = self._open()
        try:
            found = client.select_folder(folder, readonly=not is_marked)
        except (IMAPClientAbortError, OSError):
            if not used_before:
                raise
            # Servers end what was quiet for long; that is no trouble.
            self._abort()
            return self._select(folder, is_marked)
        except IMAPClientError:
            raise Rejected("the mailbox has no folder of this name, or it cannot be opened", code="no_folder") from None
        selected = Selected(int(found.get(b"UIDVALIDITY") or 0), found.get(b"UIDNEXT"))
        self._folder = (folder, is_marked, selected.validity)
        return selected

    def _ready(self) -> IMAPClient:
        """The connection with its folder open, on which the UIDs mean what they meant."""
        if self._client is None and self._folder is not None:
            folder, is_marked, validity = self._folder
            if self._select(folder, is_marked).validity != validity:
                raise Unavailable("the folder's UIDs changed while it was read", code="renumbered")
        return self._open()

    def _after(self, uid: int) -> list[int]:
        # `n:*` always names the last one, even below n.
        return sorted(n for n in self._ready().search(["UID", f"{uid + 1}:*"]) if n > uid)

    def _since(self, at: datetime) -> list[int]:
        return sorted(self._ready().search(["SINCE", at.date()]))

    def _sizes(self, uids: Sequence[int]) -> dict[int, Size]:
        found = self._fetched(uids, "RFC822.SIZE", "INTERNALDATE")
        return {
            uid: Size(int(data[b"RFC822.SIZE"]), _aware(data.get(b"INTERNALDATE")))
            for uid, data in found.items()
            if b"RFC822.SIZE" in data
        }

    def _fetch(self, uids: Sequence[int], wanted: str, name: bytes) -> dict[int, bytes]:
        found = self._fetched(uids, wanted)
        # Without the bytes it was expunged meanwhile, or the server cannot give it.
        return {uid: bytes(data[name]) for uid, data in found.items() if data.get(name) is not None}

    def _fetched(self, uids: Sequence[int], *wanted: str) -> dict[int, dict[bytes, Any]]:
        client = self._ready()
        try:
            found = client.fetch(list(uids), list(wanted))
        except (IMAPClientAbortError, OSError):
            raise
        except (IMAPClientError, ValueError, LookupError, TypeError, AttributeError, AssertionError) as error:
            raise Unreadable(type(error).__name__) from None
        asked = set(uids)
        return {uid: data for uid, data in found.items() if uid in asked}

    def _mark(self, uids: Sequence[int]) -> bool:
        client = self._ready()
        try:
            client.add_flags(list(uids), [rb"\Seen"], silent=True)
        except IMAPClientAbortError:
            raise
        except IMAPClientError:
            return False
        return True


LOST = (IMAPClientError, OSError, EOFError)


def _aware(at: datetime | None) -> datetime:
    """Whoever puts a mail into a folder may name any time; one in the future is now."""
    now = datetime.now(UTC)
    if at is None:
        return now
    return min(at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC), now)


@cache
def _trust() -> ssl.SSLContext:
    """The machine's own, where a company adds its own authority for its mail servers."""
    return ssl.create_default_context()


def _connected(account: Account) -> IMAPClient:
    """Raises InboxMisconfigured where the settings do not say which server."""
    host, port = account.settings.get("imap_host"), account.settings.get("imap_port")
    security = account.settings.get("imap_security", "tls")
    if not isinstance(host, str) or not host or security not in SECURITY:
        raise InboxMisconfigured(f"account {account.id} lacks `imap_host` or a known `imap_security`", code="no_server")
    try:
        number = int(port or (993 if security == "tls" else 143))
    except (TypeError, ValueError):
        raise InboxMisconfigured(f"account {account.id}: `imap_port` is no number", code="no_server") from None
    timeout = SocketTimeout(CONNECT, READ)
    client = IMAPClient(host, number, ssl=security == "tls", ssl_context=_trust(), timeout=timeout, use_uid=True)
    if security == "starttls":
        try:
            client.starttls(_trust())
        except BaseException:
            with suppress(OSError, AttributeError):
                client.shutdown()
            raise
    return client


@contextmanager
def _calling() -> Iterator[None]:
    """What the library and the socket below it raise, as errors of ours; never with the server's words."""
    try:
        yield
    except (DragomanError, Unreadable):
        raise
    except ssl.SSLCertVerificationError:
        raise AccountBroken("the mail server's certificate is not valid", code="bad_certificate") from None
    except LoginError as error:
        raise _refused(str(error)) from None
    except LOST as error:
        name = type(error).__name__
        raise Unavailable(f"the connection to the mail server is lost: {name}", code="no_connection") from None


def _refused(told: str) -> DragomanError:
    """A server that is busy says so where it would refuse the password."""
    if any(word in told.lower() for word in BUSY):
        return Throttled("the mail server has no connection for us now", code="server_busy", retry_after=BUSY_FOR)
    return AccountBroken("the mail server refuses the log-in", code="login_refused")
