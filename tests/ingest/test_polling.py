"""Accounts that are polled: the cursor follows what is safe, by one process at a time, and nobody waits for another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.outlet import Outlet
from services.ingest.polling import Polling
from services.ingest.spool import Spool
from shared.accounts import Account, Directory, Inbox
from shared.channels.contract import BadItem, Channel, Item, Page
from shared.channels.http import client
from shared.db import lease as leases
from shared.db.transaction import Database
from shared.errors import AccountBroken, BadPayload, Fenced, Throttled, Unavailable
from shared.events import AccountHealth, Address, DeadLetter, MessageReceived, decode
from shared.ids import derived_id
from shared.objects import FolderStore, Objects
from tests.ingest.test_hooks import Bus

AT = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
BRAND = derived_id("brand")


def a_message(key: str, address: str) -> Item:
    sender = Address(kind="market", value="buyer")
    data = MessageReceived(channel="market", keys=[key], sender=sender, occurred_at=AT, text="Bonjour", raw=b"{}")
    return Item(address, "thread", data)


class Crash(BaseException):
    """Ends the process where it stands."""


@dataclass
class Vendor:
    """What the vendor has at each shop; a shop may raise instead."""

    shops: dict[str, list[str]] = field(default_factory=dict)
    raises: dict[str, Exception] = field(default_factory=dict)
    extra: list[Item | BadItem] = field(default_factory=list)
    page_takes: float = 0.0
    asked: list[tuple[str, str]] = field(default_factory=list)
    dies_before_the_cursor: bool = False

    async def poll(self, http: httpx.AsyncClient, account: Account, inbox: Inbox, cursor: str) -> AsyncIterator[Page]:
        """A page per message; the cursor is how many there are."""
        self.asked.append((inbox.address, cursor))
        if inbox.address in self.raises:
            raise self.raises[inbox.address]
        found = self.shops.get(inbox.address, [])
        for key in found[int(cursor or 0) :]:
            await asyncio.sleep(self.page_takes)
            yield Page([a_message(key, inbox.address)])
        if self.dies_before_the_cursor:
            raise Crash
        yield Page(self.extra, str(len(found)))

    @property
    def channel(self) -> Channel:
        async def send(*_: object) -> str:
            raise AssertionError("nothing is sent here")

        return Channel(
            name="market", address_kind="market", live=False, poll=self.poll, render=lambda _: (), send=send,
            text_limit=1000,
        )  # fmt: skip


def an_account(name: str, *shops: str) -> Account:
    id_ = derived_id("account", name)
    inboxes = {
        shop: Inbox(id=derived_id("inbox", shop), brand_id=BRAND, account_id=id_, channel="market", address=shop)
        for shop in shops
    }
    return Account(id=id_, channel="market", inboxes=inboxes)


@dataclass
class Poller:
    """One process that polls."""

    database: Database
    vendor: Vendor
    accounts: Sequence[Account]
    bus: Bus
    spool: Spool
    objects: Objects

    def polling(self, every: float = 0.02) -> Polling:
        directory = Directory(1, {a.id: a for a in self.accounts}, {}, {})
        outlet = Outlet(self.bus, self.spool, self.objects)  # type: ignore[arg-type]
        return Polling(self.database, lambda: directory, (self.vendor.channel,), outlet, every=every, plain_httpx=True)

    async def once(self, shop: str = "s1") -> None:
        """Polls the first account's shop, holding its lease."""
        account = self.accounts[0]
        lease = await self.lease()
        assert lease is not None
        async with client(plain_httpx=True) as http:
            await self.polling().poll(http, account, account.inboxes[shop], lease)

    async def lease(self, holder: str = "me", seconds: float = 60) -> leases.Lease | None:
        return await leases.acquire(self.database, f"poll:{self.accounts[0].id}", holder, timedelta(seconds=seconds))

    async def cursor(self, shop: str = "s1") -> str | None:
        async with self.database.transaction() as tx:
            found: str | None = await tx.fetchval(
                "SELECT cursor FROM ingest.poll_cursor WHERE inbox_id = $1", derived_id("inbox", shop)
            )
        return found

    def keys(self) -> list[str]:
        found = (decode(record).data for record in self.bus.records)
        return [data.keys[0] for data in found if isinstance(data, MessageReceived)]

    def health(self) -> list[tuple[Any, str]]:
        found = (decode(record).data for record in self.bus.records)
        return [(data.account_id, data.state) for data in found if isinstance(data, AccountHealth)]


@pytest.fixture
async def poller(database_url: str, tmp_path: Path) -> AsyncIterator[Poller]:
    database = Database(database_url, role="dragoman_ingest", size=4)
    await database.open()
    spool = Spool(tmp_path, 10_000_000)
    spool.open()
    yield Poller(
        database, Vendor({"s1": ["a", "b"]}), [an_account("one", "s1")], Bus(), spool, FolderStore(tmp_path / "media")
    )
    spool.close()
    await database.close()


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


# the cursor


async def test_what_was_published_moves_the_cursor_and_is_not_asked_for_again(poller: Poller) -> None:
    await poller.once()
    assert (poller.keys(), await poller.cursor()) == (["a", "b"], "2")
    poller.vendor.shops["s1"].append("c")
    await poller.once()
    assert poller.keys() == ["a", "b", "c"]


async def test_the_cursor_stays_while_nothing_can_be_kept(poller: Poller, tmp_path: Path) -> None:
    poller.bus.away = True
    poller.spool = Spool(tmp_path / "full", 10)
    poller.spool.open()
    with pytest.raises(Unavailable):
        await poller.once()
    assert await poller.cursor() is None
    poller.bus.away = False
    await poller.once()
    assert (poller.keys(), await poller.cursor()) == (["a", "b"], "2")
    poller.spool.close()


async def test_what_the_spool_has_is_safe_too(poller: Poller) -> None:
    poller.bus.away = True
    await poller.once()
    assert (poller.spool.waiting, await poller.cursor()) == (2, "2")


async def test_after_a_crash_between_publishing_and_the_cursor_the_same_events_come_again(poller: Poller) -> None:
    poller.vendor.dies_before_the_cursor = True
    with pytest.raises(Crash):
        await poller.once()
    poller.vendor.dies_before_the_cursor = False
    await poller.once()
    ids = [record.headers["ce_id"] for record in poller.bus.records]
    assert poller.keys() == ["a", "b", "a", "b"]
    assert ids[:2] == ids[2:], "duplicates that have one effect"


async def test_who_lost_the_lease_moves_nothing(poller: Poller) -> None:
    mine = await poller.lease(seconds=-1)
    assert mine is not None
    assert await poller.lease("another") is not None
    account = poller.accounts[0]
    async with client(plain_httpx=True) as http:
        with pytest.raises(Fenced):
            await poller.polling().poll(http, account, account.inboxes["s1"], mine)
    assert await poller.cursor() is None


async def test_a_long_past_is_read_although_it_takes_longer_than_a_page_may(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.polling.PAGE_WITHIN", 0.25)
    poller.vendor.shops["s1"] = [str(n) for n in range(8)]
    poller.vendor.page_takes = 0.05
    await poller.once()
    assert (len(poller.keys()), await poller.cursor()) == (8, "8")


async def test_a_vendor_that_hangs_is_given_up(poller: Poller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.ingest.polling.PAGE_WITHIN", 0.05)
    poller.vendor.page_takes = 60
    with pytest.raises(Unavailable):
        await poller.once()


async def test_a_bad_item_is_a_dead_letter_and_the_cursor_moves_on(poller: Poller) -> None:
    poller.vendor.extra = [BadItem(b"{", "broken_item", "it breaks the form", "s1"), a_message("z", "s1")]
    await poller.once()
    assert [r.topic for r in poller.bus.records] == ["inbound", "inbound", "dead", "inbound"]
    assert isinstance(decode(poller.bus.records[2]).data, DeadLetter)
    assert await poller.cursor() == "2"


# who polls, and what goes wrong


async def test_it_polls_by_itself_and_gives_its_lease_back(poller: Poller) -> None:
    async with poller.polling().running():
        await until(lambda: len(poller.vendor.asked) >= 3)
    assert poller.keys() == ["a", "b"]
    assert poller.vendor.asked[-1] == ("s1", "2")
    assert await poller.lease("another") is not None, "nobody has to wait for its end"


async def test_only_the_holder_of_the_lease_asks_the_vendor(poller: Poller) -> None:
    assert await poller.lease("another") is not None
    async with poller.polling().running():
        await asyncio.sleep(0.3)
    assert poller.vendor.asked == []


async def test_one_account_never_blocks_another(poller: Poller) -> None:
    poller.accounts = [an_account("broken", "s0"), an_account("one", "s1")]
    poller.vendor.raises["s0"] = KeyError("url")
    async with poller.polling().running():
        await until(lambda: ("s1", "2") in poller.vendor.asked and poller.health())
    assert poller.keys() == ["a", "b"]
    assert poller.health() == [(poller.accounts[0].id, "broken")], "a person is told, once"


async def test_one_shop_that_cannot_be_read_holds_the_others_not_back(poller: Poller) -> None:
    poller.accounts = [an_account("one", "s0", "s1")]
    poller.vendor.raises["s0"] = BadPayload("the list of threads has no `data`", code="no_data")
    async with poller.polling().running():
        await until(lambda: poller.keys() == ["a", "b"])


async def test_a_broken_account_is_told_once_and_so_is_its_recovery(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.polling.BROKEN_PAUSE", 0.02)
    poller.vendor.raises["s1"] = AccountBroken("the vendor does not accept the account's credentials")
    async with poller.polling().running():
        await until(lambda: len(poller.vendor.asked) >= 4)
        poller.vendor.raises.clear()
        await until(lambda: len(poller.health()) == 2)
    assert [state for _, state in poller.health()] == ["broken", "healthy"]
    assert poller.keys() == ["a", "b"]


async def test_a_vendor_that_is_away_is_asked_less_and_less_and_a_person_told(
    poller: Poller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.ingest.polling.BACK_OFF", 0.02)
    poller.vendor.raises["s1"] = Unavailable("no connection to the vendor", code="no_connection")
    began = asyncio.get_running_loop().time()
    async with poller.polling(every=0.0).running():
        await until(lambda: poller.health())
    assert [state for _, state in poller.health()] == ["broken"]
    assert asyncio.get_running_loop().time() - began > 0.02 * (1 + 2 + 4 + 8)


async def test_a_throttled_account_waits_as_long_as_the_vendor_says(poller: Poller) -> None:
    poller.vendor.raises["s1"] = Throttled("the vendor answered 429", retry_after=timedelta(seconds=30))
    async with poller.polling(every=0.0).running():
        await until(lambda: poller.vendor.asked)
        await asyncio.sleep(0.2)
    assert len(poller.vendor.asked) == 1
    assert poller.health() == [], "that is no fault of the account"
