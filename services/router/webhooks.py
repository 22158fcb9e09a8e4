"""Alerts to webhooks, signed: a row per alert and webhook, a worker per router, retries for more than a day.

The receiver's address may have been chosen by anybody: calls go through the guard against our own networks, follow no
redirect, and read nothing but the status.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg

from services.router import metrics
from services.router.domain import alerts, signing
from services.router.store import audit, webhooks
from services.router.store.configuration import ConfigurationCache
from shared.background import background
from shared.bus import outbox
from shared.db.transaction import Database, Transaction
from shared.errors import BadPayload, DragomanError, InboxMisconfigured, PoisonEvent, Unavailable
from shared.events import Event, WebhookDisabled, encode
from shared.guard import Guard, Trusted, parsed, raised_inside
from shared.secrets import Vault

log = logging.getLogger(__name__)

SOURCE = "router"
# A receiver that hangs has only some of the places.
IN_FLIGHT, OF_A_WEBHOOK = 24, 3
WITHIN = 30.0
# Longer than all that an attempt may take.
LEASE = timedelta(seconds=60)
LOOK_EVERY = 1.0
WAITS = [
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=10),
]  # fmt: skip
DISABLED_AFTER = timedelta(days=5)
GONE = 410
KEEP = timedelta(days=30)
FORGET_EVERY = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the receiver answered, if it did; `reason` is ours where it was no success."""

    status: int | None = None
    reason: str = ""


class Webhooks:
    """The handler of the topic `alerts`, and the worker that delivers what it keeps."""

    def __init__(
        self, database: Database, cache: ConfigurationCache, vault: Vault, trusted: Trusted, address: str,
        *, within: float = WITHIN,
    ) -> None:  # fmt: skip
        self._database = database
        self._cache = cache
        self._vault = vault
        self._trusted = trusted
        self._address = address
        self._within = within
        self._woken = asyncio.Event()
        self._in_hand: dict[asyncio.Task[None], UUID] = {}
        self._next_purge = 0.0
        self.trouble = ""

    async def handle(self, tx: Transaction, batch: Sequence[Event]) -> None:
        """A delivery for each webhook that an alert concerns. Raises PoisonEvent for what is no alert."""
        for position, event in enumerate(batch):
            if not isinstance(event.data, alerts.ALERTS):
                raise PoisonEvent(position, BadPayload(f"{event.type} does not belong on alerts", code="wrong_topic"))
        receivers = await webhooks.webhooks(tx)
        if not receivers:
            return
        configuration = await self._cache.current(tx)
        await webhooks.add(
            tx,
            [
                webhooks.Alert(
                    webhook_id=row["id"],
                    event_id=event.id,
                    brand_id=event.brand_id if event.brand_id in (row["brands"] or configuration.brand_names) else None,
                    event=alerts.name_of(event.data),
                    at=event.time,
                    body=alerts.body(event, row["brands"], configuration, self._address),
                    waits=row["enabled"],
                )
                for event in batch
                for row in receivers
                if (not row["events"] or alerts.name_of(event.data) in row["events"])
                and alerts.concerns(row["brands"], event, configuration)
            ],
        )
        tx.after_commit(self._woken.set)

    def hint(self) -> None:
        """Something may be due."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leaving gives up what is in hand: its claim ends, and somebody sends it again."""
        connector = aiohttp.TCPConnector(resolver=Guard(self._trusted), use_dns_cache=False, limit=IN_FLIGHT)
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._within),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as session:
            try:
                async with background(self._run(session), "webhooks"):
                    yield
            finally:
                for task in self._in_hand:
                    task.cancel()
                await asyncio.gather(*self._in_hand, return_exceptions=True)

    async def _run(self, session: aiohttp.ClientSession) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._claim(session)
                await self._purge()
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"webhooks wait: {why}"
                log.warning("%s", self.trouble, exc_info=None if error is why else error)

    async def _claim(self, session: aiohttp.ClientSession) -> None:
        """Begins what is due and has a place; whatever ends looks again."""
        busy = list(self._in_hand.values())
        room = IN_FLIGHT - len(busy)
        if room <= 0:
            return
        full = sorted(set(busy))
        rows = await self._database.retrying(lambda tx: webhooks.claim(tx, full, OF_A_WEBHOOK, room, LEASE))
        for row in rows:
            task = asyncio.create_task(self._work(session, row), name=f"webhook {row['webhook_id']}")
            self._in_hand[task] = row["webhook_id"]
            task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.pop(task, None)
        self._woken.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a webhook's delivery failed: %s", type(error).__name__, exc_info=error)

    async def _work(self, session: aiohttp.ClientSession, row: Mapping[str, Any]) -> None:
        outcome = await self._attempt(session, row)
        try:
            told = await self._database.retrying(lambda tx: settle(tx, row, outcome))
        except (Unavailable, asyncpg.PostgresError) as error:
            # The claim ends by itself, and it is sent again.
            log.warning("a webhook's delivery could not be settled: %s", type(error).__name__)
            return
        metrics.DELIVERIES.labels(told).inc()
        if outcome.reason:
            log.info("webhook %s, alert %s: %s", row["handle"], row["event_id"], outcome.reason)

    async def _attempt(self, session: aiohttp.ClientSession, row: Mapping[str, Any]) -> Outcome:
        """One call; raises nothing that a receiver or its configuration can cause."""
        try:
            url = parsed(row["url"])
            self._trusted.check_url(url)
            secrets = [self._vault.open(sealed) for sealed in row["sealed"]]
            headers = signing.headers(row["event_id"], row["now"], row["body"], secrets)
            async with session.post(
                url.geturl(),
                data=row["body"],
                headers={"Content-Type": "application/json", "User-Agent": "Dragoman", **headers},
                allow_redirects=False,
            ) as response:
                succeeded = 200 <= response.status < 300
                return Outcome(response.status, "" if succeeded else f"it answered {response.status}")
        except TimeoutError:
            return Outcome(reason="it did not answer in time")
        except (DragomanError, aiohttp.ClientError, OSError, ValueError) as error:
            ours = raised_inside(error)
            return Outcome(reason=ours.code if ours is not None else f"no connection: {type(error).__name__}")

    async def _purge(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_purge:
            self._next_purge = now + FORGET_EVERY
            await self._database.retrying(lambda tx: webhooks.forget(tx, tx.now - KEEP))


async def settle(tx: Transaction, row: Mapping[str, Any], outcome: Outcome) -> str:
    """What became of an attempt: `delivered`, `again`, `failed`, `disabled`, or `lost` where the claim was."""
    await webhooks.lock(tx, row["webhook_id"])
    if not outcome.reason:
        if not await webhooks.settle(tx, row, "delivered", tx.now, outcome.status, ""):
            return "lost"
        await webhooks.works(tx, row["webhook_id"])
        return "delivered"
    tries = row["attempts"]
    again = tries <= len(WAITS)
    wait = WAITS[tries - 1] * random.uniform(1.0, 1.1) if again else timedelta(0)  # noqa: S311
    state = "waiting" if again else "failed"
    if not await webhooks.settle(tx, row, state, tx.now + wait, outcome.status, outcome.reason):
        return "lost"
    since = await webhooks.fails(tx, row["webhook_id"])
    if outcome.status == GONE:
        await _disable(tx, row, "its receiver is gone (410)")
    elif tx.now - since >= DISABLED_AFTER:
        await _disable(tx, row, f"nothing got through for {DISABLED_AFTER.days} days")
    else:
        return "again" if again else "failed"
    return "disabled"


async def _disable(tx: Transaction, row: Mapping[str, Any], reason: str) -> None:
    """And says so once: to the other webhooks, to Kafka, and in the audit."""
    if not await webhooks.disable(tx, row["webhook_id"], reason):
        return
    alert = WebhookDisabled(webhook_id=row["webhook_id"], webhook=row["handle"], reason=reason, at=tx.now)
    event = Event(data=alert, key=str(row["webhook_id"]), source=SOURCE, time=tx.now)
    await outbox.add(tx, SOURCE, [encode(event)])
    await audit.note(tx, None, "webhooks", "webhook.disabled", {"webhook": row["webhook_id"], "reason": reason})
    log.warning("webhook %s is disabled: %s", row["handle"], reason)


def trusted_receivers(urls: Sequence[str]) -> Trusted:
    """Raises InboxMisconfigured for a setting that is no address."""
    try:
        return Trusted.of(urls)
    except DragomanError:
        raise InboxMisconfigured("DRAGOMAN_WEBHOOK_HOSTS is no list of addresses", code="bad_setting") from None
