"""Accounts whose vendor never calls us: polled by whoever holds their lease; published, then the cursor moves."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Literal
from uuid import UUID

from services.ingest import metrics, store
from services.ingest.outlet import Outlet
from services.ingest.seal import SOURCE, seal
from shared.accounts import Account, Directory, Inbox
from shared.background import background
from shared.bus.contract import PUBLISH_WITHIN
from shared.channels.contract import Channel, Page
from shared.clock import utc_now
from shared.db import lease as leases
from shared.db.transaction import Database
from shared.errors import (
    AccountBroken,
    BadPayload,
    DragomanError,
    Fenced,
    InboxMisconfigured,
    Rejected,
    Throttled,
    Unavailable,
)
from shared.events import AccountHealth, Event, encode
from shared.ids import new_id

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
# A page of mails has many files.
KEEP_WITHIN = 30.0
# One page and its publishing; well within the lease, which every page prolongs.
PAGE_WITHIN = 45.0
BROKEN_PAUSE = 600.0
THROTTLED_PAUSE = timedelta(seconds=30)
# Doubled with every failure in a row, up to the last.
BACK_OFF, LONGEST_BACK_OFF = 1.0, 300.0
# So many failures in a row are no weather any more.
TELL_AFTER = 5
LOOK_EVERY = 1.0


class Polling:
    """One task per account; an account never waits for another."""

    def __init__(
        self,
        database: Database,
        directory: Callable[[], Directory],
        channels: Sequence[Channel],
        outlet: Outlet,
        *,
        every: float,
        plain_httpx: bool,
    ) -> None:
        self._database = database
        self._directory = directory
        self._channels: Mapping[str, Channel] = {c.name: c for c in channels if c.poll is not None}
        self._outlet = outlet
        self._every = every
        self._plain_httpx = plain_httpx
        self._holder = f"poll-{new_id()}"
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._leases: dict[UUID, leases.Lease] = {}
        self._broken: set[UUID] = set()
        self._failures: dict[UUID, int] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        try:
            async with background(self._supervise(), "polling"):
                yield
        finally:
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await self._give_back()

    async def _give_back(self) -> None:
        """Whoever polls next, perhaps this very process after a restart, need not wait for the leases' end."""
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(1):
                for lease in self._leases.values():
                    await leases.release(self._database, lease)

    async def _supervise(self) -> None:
        """A task for every account that is polled; one that left the configuration ends."""
        while True:
            accounts = {a.id: a for a in self._directory().accounts.values() if a.channel in self._channels}
            for gone in self._tasks.keys() - accounts.keys():
                self._tasks.pop(gone).cancel()
            for account_id, account in accounts.items():
                task = self._tasks.get(account_id)
                if task is None:
                    self._begin(account_id, 0.0)
                elif task.done():
                    await self._stumbled(account, task)
            await asyncio.sleep(LOOK_EVERY)

    def _begin(self, account_id: UUID, pause: float) -> None:
        self._tasks[account_id] = asyncio.create_task(self._follow(account_id, pause), name=f"poll {account_id}")

    async def _stumbled(self, account: Account, task: asyncio.Task[None]) -> None:
        """A mistake of ours in one account's reader: a person is told, and the others are polled all the same."""
        error = None if task.cancelled() else task.exception()
        log.error("polling account %s failed: %s", account.id, type(error).__name__, exc_info=error)
        metrics.POLLS.labels(account.channel, "failed").inc()
        self._begin(account.id, BROKEN_PAUSE)
        await self._is_broken(account, f"polling it fails on our side: {type(error).__name__}")

    async def _follow(self, account_id: UUID, pause: float) -> None:
        await asyncio.sleep(pause)
        account = self._directory().accounts[account_id]
        async with self._channels[account.channel].connect(plain_httpx=self._plain_httpx) as vendor:
            while True:
                current = self._directory().accounts.get(account_id)
                pause = self._every * random.uniform(0.9, 1.1)  # noqa: S311
                if current is not None:
                    pause = max(pause, await self._turn(vendor, current))
                await asyncio.sleep(pause)

    async def _turn(self, vendor: Any, account: Account) -> float:
        """One poll of the account's inboxes; how long to wait at least before the next."""
        outcome, pause = "done", 0.0
        try:
            lease = await leases.acquire(self._database, f"poll:{account.id}", self._holder, LEASE)
            if lease is None:
                return 0.0
            self._leases[account.id] = lease
            await self._all(vendor, account, lease)
            await self._works(account)
        except (AccountBroken, InboxMisconfigured) as error:
            await self._is_broken(account, str(error))
            outcome, pause = error.code, BROKEN_PAUSE
        except Throttled as error:
            outcome, pause = error.code, (error.retry_after or THROTTLED_PAUSE).total_seconds()
        except DragomanError as error:
            # The next turn begins where this one stopped: the cursor moved only past what is safe.
            log.warning("polling account %s: %s", account.id, error)
            outcome, pause = error.code, await self._failed(account, error)
        metrics.POLLS.labels(account.channel, outcome).inc()
        return pause

    async def _all(self, vendor: Any, account: Account, lease: leases.Lease) -> None:
        """Polls every inbox. What is wrong with one alone holds the others not back; it is raised at the end."""
        failed: DragomanError | None = None
        for inbox in account.inboxes.values():
            try:
                await self.poll(vendor, account, inbox, lease)
            except (BadPayload, Rejected) as error:
                failed = error
        if failed is not None:
            raise failed

    async def _failed(self, account: Account, error: DragomanError) -> float:
        failures = self._failures[account.id] = self._failures.get(account.id, 0) + 1
        if failures == TELL_AFTER:
            await self._is_broken(account, f"polling failed {failures} times in a row: {error}")
        # The exponent is bounded too, or the figure would grow without an end.
        return min(BACK_OFF * 2.0 ** min(failures - 1, 20), LONGEST_BACK_OFF)

    async def poll(self, vendor: Any, account: Account, inbox: Inbox, lease: leases.Lease) -> None:
        """Every page: published first, and the cursor moved once it is safe. Raises Fenced, Unavailable, …"""
        poll = self._channels[account.channel].poll
        assert poll is not None
        async with self._database.transaction() as tx:
            cursor = await store.cursor(tx, inbox.id)
        # A page at a time, for a shop's whole past may take long.
        try:
            async with asyncio.timeout(PAGE_WITHIN) as limit, aclosing(poll(vendor, account, inbox, cursor)) as pages:
                async for page in pages:
                    await self._take(account, inbox, page, lease)
                    limit.reschedule(asyncio.get_running_loop().time() + PAGE_WITHIN)
        except TimeoutError:
            raise Unavailable("the vendor did not give a page in time", code="slow_page") from None

    async def _take(self, account: Account, inbox: Inbox, page: Page, lease: leases.Lease) -> None:
        for item in page.items:
            metrics.items(account.channel, type(getattr(item, "data", item)).__name__).inc()
        items = await self._outlet.keep(page.items, account, KEEP_WITHIN)
        await self._outlet.publish(seal(items, account, utc_now()), PUBLISH_WITHIN)
        if await leases.acquire(self._database, lease.name, lease.holder, LEASE) != lease:
            raise Fenced(f"the lease {lease.name} was taken by another process")
        if page.cursor is None:
            return
        async with self._database.transaction() as tx:
            await leases.hold(tx, lease)
            await store.move_cursor(tx, inbox, page.cursor, lease.epoch)

    async def _works(self, account: Account) -> None:
        self._failures.pop(account.id, None)
        if account.id in self._broken:
            self._broken.discard(account.id)
            metrics.BROKEN.set(len(self._broken))
            await self._tell(account, "healthy", "polling works again")

    async def _is_broken(self, account: Account, reason: str) -> None:
        if account.id not in self._broken:
            self._broken.add(account.id)
            metrics.BROKEN.set(len(self._broken))
            await self._tell(account, "broken", reason)

    async def _tell(self, account: Account, state: Literal["healthy", "broken"], reason: str) -> None:
        now = utc_now()
        alert = AccountHealth(account_id=account.id, state=state, reason=reason, at=now)
        with suppress(Unavailable):
            event = Event(data=alert, key=str(account.id), source=SOURCE, time=now)
            await self._outlet.publish([encode(event)], PUBLISH_WITHIN)
