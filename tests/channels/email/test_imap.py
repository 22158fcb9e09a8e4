"""Mailboxes read from a real IMAP server: what comes, what is in the way of it, and what is told again."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from imapclient import IMAPClient

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Item, Page
from shared.channels.email import polling
from shared.channels.email.lines import Lines, connect
from shared.channels.email.polling import Cursor, poll
from shared.errors import AccountBroken, InboxMisconfigured, Rejected, Unavailable
from tests import dovecot
from tests.channels.email.sample import ACCOUNT, INBOX

USER = "support@shop.example"


@pytest.fixture(scope="module")
def server() -> Iterator[dovecot.Dovecot]:
    lacking = dovecot.missing()
    if lacking:
        if os.environ.get("DOVECOT_REQUIRED"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    # Every user of this machine may enter it, and its path is short enough for a socket.
    with tempfile.TemporaryDirectory(prefix="dragoman-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with dovecot.dovecot(Path(folder)) as running:
            yield running


def a_mail(n: int, text: str = "Where is my order?") -> bytes:
    return (
        f"From: Customer {n} <c{n}@example.com>\r\nTo: {USER}\r\nSubject: Order {n}\r\n"
        f"Message-ID: <m{n}@example.com>\r\nDate: Mon, 03 Aug 2026 08:30:00 +0000\r\n\r\n{text}\r\n"
    ).encode()


@dataclass
class Box:
    """One mailbox of the server, and us reading it."""

    server: dovecot.Dovecot
    user: str
    lines: Lines
    account: Account
    inbox: Inbox
    cursor: str = ""
    pages: list[Page] = field(default_factory=list)

    def gets(self, *mails: bytes) -> None:
        self.server.deliver(self.user, *mails)

    async def poll(self) -> list[Any]:
        """What is new; the cursor as ingest would keep it."""
        items: list[Any] = []
        async for page in poll(self.lines, self.account, self.inbox, self.cursor):
            self.pages.append(page)
            items += page.items
            self.cursor = page.cursor or self.cursor
        return items

    def client(self) -> IMAPClient:
        client = IMAPClient("127.0.0.1", self.server.port, ssl=False)
        client.login(self.user, dovecot.PASSWORD)
        client.select_folder("INBOX")
        return client


_users = iter(range(10**6))


@asynccontextmanager
async def box(server: dovecot.Dovecot, **settings: Any) -> AsyncIterator[Box]:
    user = f"user{next(_users)}"
    account = replace(ACCOUNT, settings={**ACCOUNT.settings, "imap_port": server.port, "imap_user": user})
    inbox = replace(INBOX, settings={**INBOX.settings, **settings})
    server.deliver(user)
    async with connect() as lines:
        yield Box(server, user, lines, account, inbox)


def texts(items: list[Any]) -> list[str]:
    return [item.data.subject for item in items if isinstance(item, Item)]


async def test_new_mails_come_in_order_and_once(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.gets(a_mail(1), a_mail(2))
        assert texts(await b.poll()) == ["Order 1", "Order 2"]
        assert await b.poll() == []
        b.gets(a_mail(3))
        assert texts(await b.poll()) == ["Order 3"]


async def test_what_was_handed_out_is_marked_as_read_unless_the_inbox_says_no(server: dovecot.Dovecot) -> None:
    for mark, flags in ((True, (b"\\Seen",)), (False, ())):
        async with box(server, mark_read=mark) as b:
            b.gets(a_mail(1))
            await b.poll()
            client = b.client()
            assert [f for f in client.get_flags([1])[1] if f != b"\\Recent"] == list(flags)
            client.logout()


async def test_a_mail_that_somebody_else_has_read_is_new_to_us(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.gets(a_mail(1))
        client = b.client()
        client.add_flags([1], [rb"\Seen"])
        client.logout()
        assert texts(await b.poll()) == ["Order 1"]


async def test_the_past_is_left_alone_unless_it_is_asked_for(server: dovecot.Dovecot) -> None:
    async with box(server, read_history=False) as b:
        b.gets(a_mail(1))
        assert await b.poll() == []
        b.gets(a_mail(2))
        assert texts(await b.poll()) == ["Order 2"]


async def test_other_numbers_for_the_same_mails_tell_them_again_under_the_same_keys(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.gets(a_mail(1), a_mail(2))
        before = await b.poll()
        server.renumber(b.user)
        b.gets(a_mail(3))
        after = await b.poll()
        assert sorted(texts(after)) == ["Order 1", "Order 2", "Order 3"]
        keys = {tuple(item.data.keys) for item in after}
        assert keys > {tuple(item.data.keys) for item in before}
        assert len(keys) == 3
        assert await b.poll() == []


async def test_other_numbers_do_not_bring_the_past_that_nobody_asked_for(server: dovecot.Dovecot) -> None:
    async with box(server, read_history=False) as b:
        old = server._maildir(b.user) / "new" / "1000000000.1.test"
        old.write_bytes(a_mail(1))
        os.utime(old, (1_000_000_000, 1_000_000_000))
        old.chmod(0o644)
        await b.poll()
        b.gets(a_mail(2))
        assert texts(await b.poll()) == ["Order 2"]
        server.renumber(b.user)
        assert texts(await b.poll()) == ["Order 2"]


async def test_a_mail_that_is_expunged_while_others_are_read_is_left_out(
    server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "PAGE_MAILS", 2)
    async with box(server) as b:
        b.gets(*(a_mail(n) for n in range(6)))
        found: list[Any] = []
        async for page in poll(b.lines, b.account, b.inbox, ""):
            found += page.items
            if len(found) == 2:
                client = b.client()
                client.delete_messages([6])
                client.expunge()
                client.logout()
        assert texts(found) == [f"Order {n}" for n in range(5)]
        assert await b.poll() != []


async def test_a_server_that_dies_in_mid_fetch_loses_nothing(
    server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "PAGE_MAILS", 2)
    async with box(server) as b:
        b.gets(*(a_mail(n, "word " * 100_000) for n in range(8)))
        found: list[Any] = []
        with pytest.raises(Unavailable):
            async for page in poll(b.lines, b.account, b.inbox, ""):
                found += page.items
                b.cursor = page.cursor or ""
                server.kill()
        with pytest.raises(Unavailable):
            await b.poll()
        server.start()
        found += await b.poll()
        assert sorted(set(texts(found))) == [f"Order {n}" for n in range(8)]
        assert len(found) <= 10


async def test_ten_thousand_mails_are_read_page_by_page(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.gets(*(a_mail(n) for n in range(10_000)))
        items = await b.poll()
        assert len({item.data.keys[0] for item in items}) == 10_000
        assert max(len(page.items) for page in b.pages) == polling.PAGE_MAILS
        assert Cursor.decode(b.cursor).uid == 10_000  # type: ignore[union-attr]


async def test_a_poisoned_mail_is_a_dead_letter_and_the_mailbox_goes_on(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.gets(a_mail(1), b"\x00\xff" * 50 + b"\n", a_mail(3))
        items = await b.poll()
        assert texts(items) == ["Order 1", "Order 3"]
        (bad,) = [item for item in items if isinstance(item, BadItem)]
        assert bad.code == "no_mail"
        assert await b.poll() == []


async def test_a_mail_beyond_the_limit_is_told_of_by_its_header(
    server: dovecot.Dovecot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(polling, "BODY_LIMIT", 10_000)
    async with box(server) as b:
        b.gets(a_mail(1, "x" * 20_000), a_mail(2))
        long, short = await b.poll()
        (attachment,) = long.data.attachments
        assert (long.data.text, attachment.error, attachment.sha256) == ("", "too_large", "")
        assert attachment.size > 20_000
        assert short.data.text == "Where is my order?"


async def test_a_folder_of_its_own_is_an_inbox(server: dovecot.Dovecot) -> None:
    async with box(server, folder="Returns") as b:
        server.deliver(b.user, a_mail(1), folder="Returns")
        assert texts(await b.poll()) == ["Order 1"]


async def test_a_folder_that_is_not_there_is_rejected(server: dovecot.Dovecot) -> None:
    async with box(server, folder="Nowhere") as b:
        with pytest.raises(Rejected) as caught:
            await b.poll()
        assert caught.value.code == "no_folder"


async def test_a_wrong_password_breaks_the_account_and_is_told_nobody(server: dovecot.Dovecot) -> None:
    async with box(server) as b:
        b.account = replace(b.account, secrets={**b.account.secrets, "imap_password": ["a-wrong-one"]})
        with pytest.raises(AccountBroken) as caught:
            await b.poll()
        assert "a-wrong-one" not in f"{caught.value!r} {caught.value.__cause__!r}"


async def test_nobody_there_and_no_settings_are_told_apart() -> None:
    async with connect() as lines:
        nobody = replace(ACCOUNT, settings={**ACCOUNT.settings, "imap_port": 1})
        with pytest.raises(Unavailable):
            await anext(poll(lines, nobody, INBOX, ""))
        for settings in ({}, {"imap_host": ""}, {"imap_security": "maybe"}, {"imap_port": "x"}):
            unset = replace(ACCOUNT, settings={**ACCOUNT.settings, **settings} if settings else {})
            with pytest.raises(InboxMisconfigured):
                await anext(poll(lines, unset, INBOX, ""))


async def test_whoever_stops_waiting_leaves_no_thread_behind() -> None:
    """A server that takes the connection and never says a word."""
    async with connect() as lines:
        silent = socket.create_server(("127.0.0.1", 0))
        account = replace(ACCOUNT, settings={**ACCOUNT.settings, "imap_port": silent.getsockname()[1]})
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await anext(poll(lines, account, INBOX, ""))
        silent.close()
