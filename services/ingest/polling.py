"""Accounts whose vendor never calls us: polled by whoever holds their lease; published, then the cursor moves."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from uuid import UUID

import httpx

from services.ingest import metrics, store
from services.ingest.outlet import Outlet
from services.ingest.seal import SOURCE, seal
from shared.accounts import Account, Directory, Inbox
from shared.channels.contract import Channel
from shared.channels.http import client
from shared.clock import utc_now
from shared.db import lease as leases
from shared.db.transaction import Database
from shared.errors import AccountBroken, DragomanError, Throttled, Unavailable
from shared.events import AccountHealth, Event, encode
from shared.ids import new_id

log = logging.getLogger(__name__)

LEASE = timedelta(seconds=60)
PUBLISH_WITHIN = 10.0
# One poll of one account, all its pages; a vendor that hangs must not hold it for ever.
POLL_WITHIN = 45.0
BROKEN_PAUSE = 600.0
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
        self._broken: set[UUID] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._supervise(), name="polling")
        try:
            yield
        finally:
            for running in (task, *self._tasks.values()):
                running.cancel()
            for running in (task, *self._tasks.values()):
                with suppress(asyncio.CancelledError):
                    await running

    async def _supervise(self) -> None:
        """A task for every account that is polled; one that left the configuration ends."""
        while True:
            accounts = {a.id for a in self._directory().accounts.values() if a.channel in self._channels}
            for gone in self._tasks.keys() - accounts:
                self._tasks.pop(gone).cancel()
            for account_id in accounts - self._tasks.keys():
                self._tasks[account_id] = asyncio.create_task(self._follow(account_id), name=f"poll {account_id}")
            await asyncio.sleep(LOOK_EVERY)

    async def _follow(self, account_id: UUID) -> None:
        async with client(plain_httpx=self._plain_httpx) as http:
            while True:
                account = self._directory().accounts.get(account_id)
                pause = self._every * random.uniform(0.9, 1.1)  # noqa: S311
                if account is not None:
                    pause = max(pause, await self._turn(http, account))
                await asyncio.sleep(pause)

    async def _turn(self, http: httpx.AsyncClient, account: Account) -> float:
        """One poll of the account's inboxes; how long to wait at least before the next."""
        try:
            lease = await leases.acquire(self._database, f"poll:{account.id}", self._holder, LEASE)
            if lease is None:
                return 0.0
            for inbox in account.inboxes.values():
                async with asyncio.timeout(POLL_WITHIN):
                    await self.poll(http, account, inbox, lease)
                metrics.POLLS.labels(account.channel, "done").inc()
            if account.id in self._broken:
                self._broken.discard(account.id)
                await self._tell(account, "healthy", "polling works again")
        except AccountBroken as error:
            metrics.POLLS.labels(account.channel, error.code).inc()
            if account.id not in self._broken:
                self._broken.add(account.id)
                await self._tell(account, "broken", str(error))
            return BROKEN_PAUSE
        except Throttled as error:
            metrics.POLLS.labels(account.channel, error.code).inc()
            return (error.retry_after or timedelta(seconds=30)).total_seconds()
        except (DragomanError, TimeoutError) as error:
            # The next turn begins where this one stopped: the cursor moved only past what is safe.
            metrics.POLLS.labels(account.channel, getattr(error, "code", "timeout")).inc()
            log.warning("polling account %s: %s", account.id, error)
        return 0.0

    async def poll(self, http: httpx.AsyncClient, account: Account, inbox: Inbox, lease: leases.Lease) -> None:
        """Every page: published first, and the cursor moved once the last is safe. Raises Fenced, Unavailable, …"""
        poll = self._channels[account.channel].poll
        assert poll is not None
        async with self._database.transaction() as tx:
            cursor = await store.cursor(tx, inbox.id)
        async for page in poll(http, account, inbox, cursor):
            for item in page.items:
                metrics.items(account.channel, type(getattr(item, "data", item)).__name__).inc()
            await self._outlet.publish(seal(page.items, account, utc_now()), PUBLISH_WITHIN)
            if page.cursor is not None and page.cursor != cursor:
                async with self._database.transaction() as tx:
                    await leases.hold(tx, lease)
                    await store.move_cursor(tx, inbox, page.cursor, lease.epoch)

    async def _tell(self, account: Account, state: str, reason: str) -> None:
        now = utc_now()
        alert = AccountHealth(account_id=account.id, state="broken" if state == "broken" else "healthy",
                              reason=reason, at=now)  # fmt: skip
        with suppress(Unavailable):
            event = Event(data=alert, key=str(account.id), source=SOURCE, time=now)
            await self._outlet.publish([encode(event)], PUBLISH_WITHIN)
