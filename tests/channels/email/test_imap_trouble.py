"""Mailboxes whose server loses its numbers, its connections or its mails: what is told again, and what is not lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.sandbox.mail import imap
from services.sandbox.mail.imap import Owner, Store, Trouble
from services.sandbox.mail.store import Mail, Mailboxes
from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Item
from shared.channels.email import polling
from shared.channels.email.lines import Lines, connect
from shared.channels.email.polling import poll
from shared.errors import Throttled, Unavailable
from tests.channels.email.sample import ACCOUNT, ADDRESS, INBOX

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@dataclass
class Box:
    """One mailbox of the stand-in, and us reading it."""

    store: Store
    lines: Lines
    account: Account
    inbox: Inbox
    cursor: str = ""
    told: list[Any] = field(default_factory=list)

    @property
    def mails(self) -> list[Mail]:
        return self.store.boxes.of(ADDRESS).mails

    def gets(self, *numbers: int, ago: timedelta = timedelta(0)) -> None:
        for n in numbers:
            raw = f"From: c{n}@example.com\nSubject: Order {n}\nMessage-ID: <m{n}@example.com>\n\nWhere is it?\n"
            self.store.boxes.deliver(ADDRESS, raw.encode())
            self.mails[-1].at = datetime.now(UTC) - ago

    def renumber(self) -> None:
        self.store.boxes.renumber(ADDRESS)

    async def poll(self) -> list[Any]:
        """What is new; the cursor as ingest would keep it."""
        before = len(self.told)
        async for page in poll(self.lines, self.account, self.inbox, self.cursor):
            self.told += page.items
            self.cursor = page.cursor or self.cursor
        return self.told[before:]


@asynccontextmanager
async def box(**settings: Any) -> AsyncIterator[Box]:
    store = Store({ADDRESS: Owner(("imap-password-of-the-shop",), {"INBOX": ADDRESS})}, Mailboxes())
    async with imap.listening(store, 0) as port, connect() as lines:
        account = replace(ACCOUNT, settings={**ACCOUNT.settings, "imap_port": port})
        yield Box(store, lines, account, replace(INBOX, settings={**INBOX.settings, **settings}))


def orders(items: list[Any]) -> list[int]:
    return [int(item.data.subject.split()[1]) for item in items if isinstance(item, Item)]


def lost(items: list[Any]) -> list[str]:
    return [item.code for item in items if isinstance(item, BadItem)]


async def test_a_server_that_went_back_in_time_is_read_again() -> None:
    async with box() as b:
        b.gets(1, 2, 3)
        assert orders(await b.poll()) == [1, 2, 3]
        # Restored from a backup: fewer mails, under numbers that were others' before.
        del b.mails[1:]
        b.store.boxes.of(ADDRESS).next_uid = 2
        b.gets(4)
        assert orders(await b.poll()) == [1, 4]
        assert await b.poll() == []


async def test_other_numbers_bring_what_came_in_the_two_days_before_as_well() -> None:
    async with box() as b:
        b.gets(1)
        await b.poll()
        b.renumber()
        b.gets(2, ago=DAY)
        assert 2 in orders(await b.poll())


async def test_other_numbers_bring_nothing_from_before_the_mailbox_was_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "PAGE_MAILS", 1)
    async with box(read_history=False) as b:
        b.gets(1, ago=10 * DAY)
        b.gets(2, ago=HOUR)
        assert await b.poll() == []
        b.gets(3, 4)
        assert orders(await b.poll()) == [3, 4]
        # As a move to another server may number them: the oldest last.
        b.mails.reverse()
        b.renumber()
        pages = poll(b.lines, b.account, b.inbox, b.cursor)
        b.cursor = (await anext(pages)).cursor or b.cursor
        await pages.aclose()
        assert sorted(orders(await b.poll())) == [3, 4], "also after it was broken off"
        assert await b.poll() == []


async def test_a_mail_from_the_future_hides_none_of_those_that_come_before_it() -> None:
    async with box() as b:
        b.gets(1, ago=-1000 * DAY)
        (item,) = await b.poll()
        assert item.data.occurred_at <= datetime.now(UTC)
        b.gets(2)
        b.renumber()
        assert 2 in orders(await b.poll())


async def test_numbers_that_change_while_a_folder_is_read_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "PAGE_MAILS", 1)
    async with box() as b:
        b.gets(1, 2, 3)
        b.store.misbehave(Trouble(mode="garble", uid=3))
        with pytest.raises(Unavailable) as caught:
            async for page in poll(b.lines, b.account, b.inbox, b.cursor):
                b.cursor = page.cursor or b.cursor
                b.store.boxes.of(ADDRESS).uidvalidity += 1
        assert caught.value.code == "renumbered"
        assert orders(await b.poll()) == [1, 2, 3]


async def test_a_mail_at_which_the_connection_always_ends_is_left_out() -> None:
    async with box() as b:
        b.gets(1, 2, 3)
        b.store.misbehave(Trouble(mode="drop", uid=2, times=10))
        for _ in range(polling.MOST_DEATHS + 1):
            with pytest.raises(Unavailable):
                await b.poll()
        await b.poll()
        assert (orders(b.told), lost(b.told)) == ([1, 3], ["ends_the_connection"])


@pytest.mark.parametrize(
    ("mode", "stage"),
    [("garble", "fetch"), ("refuse", "fetch"), ("withhold", "fetch"), ("garble", "size"), ("refuse", "size")],
)
async def test_a_mail_that_the_server_cannot_give_is_a_dead_letter_and_the_others_come(mode: Any, stage: Any) -> None:
    async with box() as b:
        b.gets(1, 2, 3)
        b.store.misbehave(Trouble(mode=mode, stage=stage, uid=2, times=10))
        found = await b.poll()
        assert (orders(found), lost(found)) == ([1, 3], ["unreadable_answer"])
        assert await b.poll() == []


async def test_a_server_that_is_busy_is_left_alone_for_a_while_and_no_password_is_blamed() -> None:
    async with box() as b:
        b.store.misbehave(Trouble(mode="refuse", stage="login"))
        with pytest.raises(Throttled) as caught:
            await b.poll()
        assert caught.value.code == "server_busy"
        assert await b.poll() == []
