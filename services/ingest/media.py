"""Files of messages, fetched from their vendors after the vendor was answered: jobs in a table, a worker per process.

A claim is the job's next instant moved into the future and its attempts counted: whoever settles it names the attempt,
so a process that was away too long settles nothing.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.ingest import metrics, store
from services.ingest.download import MOST_BYTES, Fetched, download
from services.ingest.seal import SOURCE
from shared.accounts import Account, Directory
from shared.background import background
from shared.bus import outbox
from shared.channels.contract import Channel, Source
from shared.db.transaction import Database, Transaction
from shared.errors import BadPayload, DragomanError, PoisonEvent, Rejected, Throttled, Unavailable
from shared.events import Event, FetchMedia, MediaFailed, MediaStored, encode
from shared.ids import derived_id
from shared.objects import Objects
from shared.sniffing import media_type_of

log = logging.getLogger(__name__)

# Each holds a whole file in memory; one slow vendor has only some of the places.
IN_FLIGHT, OF_AN_INBOX = 8, 3
LOCATE_WITHIN = 20.0
FETCH_WITHIN = 60.0
# Longer than all that an attempt may take.
LEASE = timedelta(seconds=150)
LOOK_EVERY = 1.0
PAUSES = (1, 5, 15, 60, 300, 900, 1800, 3600)
GIVE_UP_AFTER = timedelta(hours=24)
# Vendors tell of a message before the file is everywhere; afterwards it is gone.
MAY_APPEAR_FOR = timedelta(minutes=10)
# Attempts that our own code may fail in.
STUMBLES_ALLOWED = 3
KEEP = timedelta(days=30)
PURGE_EVERY = 3600.0
STUMBLES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, msgspec.MsgspecError)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt led to: a file, a reason why there will be none, or when to try again."""

    stored: MediaStored | None = None
    failed: str = ""
    next_at: datetime | None = None


async def take(tx: Transaction, batch: Sequence[Event]) -> None:
    """The handler of the topic `media`: one job per attachment. Raises PoisonEvent for anything else."""
    wanted: list[tuple[Event, FetchMedia]] = []
    for position, event in enumerate(batch):
        if not isinstance(event.data, FetchMedia) or event.brand_id is None or event.inbox_id is None:
            raise PoisonEvent(position, BadPayload(f"{event.type} does not belong on media", code="wrong_topic"))
        wanted.append((event, event.data))
    await store.add_media_jobs(tx, wanted)


class Media:
    """Fetches what is due; several processes share the work by claims."""

    def __init__(
        self,
        database: Database,
        directory: Callable[[], Directory],
        channels: Sequence[Channel],
        objects: Objects,
        *,
        plain_httpx: bool,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._database = database
        self._directory = directory
        self._channels: Mapping[str, Channel] = {channel.name: channel for channel in channels}
        self._objects = objects
        self._plain_httpx = plain_httpx
        self._most_bytes = most_bytes
        self._woken = asyncio.Event()
        self._in_hand: dict[asyncio.Task[None], UUID] = {}
        self._clients: dict[UUID, Any] = {}
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._next_purge = 0.0
        self.trouble = ""

    async def handle(self, tx: Transaction, batch: Sequence[Event]) -> None:
        """`take`, and the worker looks at once."""
        await take(tx, batch)
        tx.after_commit(self._woken.set)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leaving gives up what is in hand: its claim ends, and somebody fetches it again."""
        async with self._opened:
            try:
                async with background(self._run(), "media"):
                    yield
            finally:
                for task in self._in_hand:
                    task.cancel()
                await asyncio.gather(*self._in_hand, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            await _woken(self._woken, LOOK_EVERY)
            try:
                while await self._claim():
                    pass
                await self._purge()
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"files wait: {why}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(0.5)

    async def _claim(self) -> bool:
        """Begins some of what is due; whether there may be more."""
        inboxes = list(self._in_hand.values())
        room = min(OF_AN_INBOX, IN_FLIGHT - len(inboxes))
        if room <= 0:
            return False
        full = [inbox for inbox in set(inboxes) if inboxes.count(inbox) >= OF_AN_INBOX]
        jobs = await self._database.retrying(lambda tx: store.claim_media(tx, full, room, LEASE))
        for job in jobs:
            task = asyncio.create_task(self._work(job), name=f"media {job['message_id']}:{job['position']}")
            self._in_hand[task] = job["inbox_id"]
            task.add_done_callback(self._done)
        return len(jobs) == room

    def _done(self, task: asyncio.Task[None]) -> None:
        self._in_hand.pop(task, None)
        self._woken.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("a file's job failed: %s", type(error).__name__, exc_info=error)

    async def _work(self, job: asyncpg.Record) -> None:
        outcome = await self._attempt(job)
        label = "stored" if outcome.stored else outcome.failed or "again"
        metrics.MEDIA.labels("stored" if outcome.stored else "failed" if outcome.failed else "again").inc()
        if label != "stored":
            log.info("the file %s of message %s: %s", job["position"], job["message_id"], label)
        try:
            await self._database.retrying(lambda tx: _settle(tx, job, outcome))
        except (Unavailable, asyncpg.PostgresError) as error:
            # The claim ends by itself, and the file is fetched again.
            log.warning("a file's job could not be settled: %s", type(error).__name__)

    async def _attempt(self, job: asyncpg.Record) -> Outcome:
        """Fetches and keeps one file; raises nothing that an account, a vendor or a file can cause."""
        try:
            fetched = await self._fetch(job)
            sha256 = await self._objects.put(job["brand_id"], fetched.content)
        except Rejected as error:
            return Outcome(failed=error.code)
        except DragomanError as error:
            return _later(job, error)
        except TimeoutError:
            return _later(job, Unavailable("the vendor did not say in time where the file is", code="slow"))
        except STUMBLES as error:
            log.error("a file could not be fetched: %s", type(error).__name__, exc_info=error)
            if job["attempts"] >= STUMBLES_ALLOWED:
                return Outcome(failed="internal_error")
            return _later(job, Unavailable("our own code failed", code="internal_error"))
        name = str(job["attachment"].get("name", ""))
        metrics.MEDIA_BYTES.inc(len(fetched.content))
        return Outcome(
            stored=MediaStored(
                message_id=job["message_id"],
                conversation_id=job["conversation_id"],
                position=job["position"],
                sha256=sha256,
                size=len(fetched.content),
                media_type=await asyncio.to_thread(media_type_of, fetched.content, name),
                name=name,
            )
        )

    async def _fetch(self, job: asyncpg.Record) -> Fetched:
        directory = self._directory()
        account = directory.account_of(job["inbox_id"])
        inbox = directory.inboxes[job["inbox_id"]]
        channel = self._channels.get(inbox.channel)
        if channel is None or channel.locate is None:
            raise Rejected("this channel's files cannot be fetched", code="not_fetched")
        attachment = store.attachment_of(job)
        async with asyncio.timeout(LOCATE_WITHIN):
            source: Source = await channel.locate(await self._client(channel, account), attachment, account, inbox)
        return await download(source, self._most_bytes, FETCH_WITHIN)

    async def _client(self, channel: Channel, account: Account) -> Any:
        """What the account's calls go through; opened once."""
        async with self._opening:
            if account.id not in self._clients:
                connection = channel.connect(plain_httpx=self._plain_httpx)
                self._clients[account.id] = await self._opened.enter_async_context(connection)
        return self._clients[account.id]

    async def _purge(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_purge:
            return
        self._next_purge = now + PURGE_EVERY
        await self._database.retrying(lambda tx: store.forget_media(tx, tx.now - KEEP))


def _later(job: asyncpg.Record, error: DragomanError) -> Outcome:
    """The next attempt, or the reason where it is no use any more; the instants are those of the claim."""
    now: datetime = job["now"]
    patience = MAY_APPEAR_FOR if error.code == "not_there" else GIVE_UP_AFTER
    if now - job["created_at"] >= patience:
        return Outcome(failed="gone" if error.code == "not_there" else error.code)
    pause = timedelta(seconds=PAUSES[min(job["attempts"], len(PAUSES)) - 1] * random.uniform(0.8, 1.2))  # noqa: S311
    asked = error.retry_after if isinstance(error, Throttled) else None
    return Outcome(next_at=now + max(pause, asked or pause))


async def _settle(tx: Transaction, job: asyncpg.Record, outcome: Outcome) -> None:
    """What became of the attempt, and the event about it, in one transaction; nothing where the claim was lost."""
    state = "waiting" if outcome.next_at else "stored" if outcome.stored else "failed"
    if not await store.settle_media(tx, job, state, outcome.next_at or tx.now, outcome.failed):
        return
    if outcome.next_at is not None:
        return
    data = outcome.stored or MediaFailed(
        message_id=job["message_id"],
        conversation_id=job["conversation_id"],
        position=job["position"],
        reason=outcome.failed,
    )
    event = Event(
        data=data,
        # No peer is known here; the conversation keeps what belongs together near.
        key=f"{job['inbox_id']}:{job['conversation_id']}",
        source=SOURCE,
        time=tx.now,
        brand_id=job["brand_id"],
        inbox_id=job["inbox_id"],
        subject=str(job["conversation_id"]),
        id=derived_id("media", job["message_id"], job["position"]),
    )
    await outbox.add(tx, SOURCE, [encode(event)])


async def _woken(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    finally:
        event.clear()
