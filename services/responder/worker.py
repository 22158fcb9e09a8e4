"""Sends what waits: claims parts, calls vendors, writes what became of it. No transaction is open during a call."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.responder import circuit, metrics, receipts, store
from services.responder.domain.delivery import ASK_AFTER, Outcome, retry_at, verdict
from services.responder.files import BrandFiles
from services.responder.store import Claimed
from services.responder.telling import SOURCE, tell
from shared.accounts import Account, Directory, Inbox
from shared.bus import outbox
from shared.channels.contract import Channel, Part, Try
from shared.db.transaction import Database, Transaction
from shared.errors import AccountBroken, DragomanError, InboxBroken, OutcomeUnknown, Unavailable
from shared.events import AccountHealth, Event, SendReply, encode
from shared.ids import new_id
from shared.links import Links
from shared.objects import Objects
from shared.tracing import Attributes, Traces, calling

log = logging.getLogger(__name__)

IN_FLIGHT = 64
# Our own commits wake us; other processes' are found by looking.
LOOK_EVERY = 0.05
LOOK_EVERY_ALONE = 0.5
SWEEP_EVERY = 1.0
MOST = 100
# What a channel's code can stumble over; whether the vendor has it cannot be told then.
STUMBLES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)


class Worker:
    """One per process; several share the work by claims."""

    def __init__(
        self,
        database: Database,
        directory: Callable[[], Directory],
        channels: Sequence[Channel],
        *,
        alone: bool,
        plain_httpx: bool,
        links: Links,
        objects: Objects,
        address: str,
        traces: Traces | None,
    ) -> None:
        self._database = database
        self._directory = directory
        self._channels: Mapping[str, Channel] = {channel.name: channel for channel in channels}
        self._call_within = {channel.name: channel.call_within for channel in channels}
        self._look_every = LOOK_EVERY_ALONE if alone else LOOK_EVERY
        self._plain_httpx = plain_httpx
        self._links = links
        self._objects = objects
        self._address = address
        self._traces = traces
        self._holder = f"responder-{new_id()}"
        self._woken = asyncio.Event()
        self._accounts: dict[UUID, circuit.Account] = {}
        # Those whose own credentials broke; the account's other inboxes go on.
        self._inboxes: dict[UUID, circuit.Account] = {}
        self._clients: dict[UUID, Any] = {}
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._calls: set[asyncio.Task[None]] = set()
        self._next_sweep = 0.0
        self.trouble = ""
        known = self._accounts, self._inboxes
        metrics.BROKEN.set_function(lambda: sum(account.is_broken for of in known for account in of.values()))

    def wake(self) -> None:
        """There is something to send, or a slot is free again."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leaving stops claiming, gives calls in hand three seconds, and leaves the rest to their leases."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._opened)
            task = asyncio.create_task(self._run(), name="worker")
            try:
                yield
            finally:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
                if self._calls:
                    _, late = await asyncio.wait(self._calls, timeout=2.5)
                    for call in late:
                        call.cancel()
                    await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._look_every):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._sweep()
                while await self._claim():
                    pass
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                # A statement that the database refuses must not end the worker in silence.
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"replies wait: {why}"
                log.warning("%s", self.trouble, exc_info=None if error is why else error)
                await asyncio.sleep(0.5)

    async def _claim(self) -> bool:
        """Starts what may leave now; whether there may be more."""
        now = asyncio.get_running_loop().time()
        room = IN_FLIGHT - len(self._calls)
        free = {id_: account.free(now) for id_, account in self._accounts.items()}
        if room <= 0:
            return False

        async def work(tx: Transaction) -> list[Claimed]:
            blocked = [id_ for id_, slots in free.items() if slots == 0]
            broken = [id_ for id_, inbox in self._inboxes.items() if inbox.free(now) == 0]
            return await store.claim(tx, self._holder, free, blocked, broken, circuit.SLOTS, room, self._call_within)

        claimed = await self._database.retrying(work)
        for part in claimed:
            self._accounts.setdefault(part.account_id, circuit.Account()).begin()
            call = asyncio.create_task(self._deliver(part), name=f"part {part.id}")
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
        return len(claimed) == room

    async def _deliver(self, part: Claimed) -> None:
        outcome, error = await self._attempt(part)
        account = self._accounts[part.account_id]
        now = asyncio.get_running_loop().time()
        account.end(now, well=error is None or outcome.state == "refused" or isinstance(error, InboxBroken))
        broke = isinstance(error, AccountBroken) and account.broke(now)
        if isinstance(error, InboxBroken):
            broke = self._inboxes.setdefault(part.inbox_id, circuit.Account()).broke(now)
        healed = outcome.state == "accepted" and account.is_broken
        if healed:
            account.is_broken = False
        if outcome.state == "accepted":
            healed = self._inboxes.pop(part.inbox_id, None) is not None or healed
        await self._write(part, outcome, "broken" if broke else "healthy" if healed else None)
        self.wake()

    async def _attempt(self, part: Claimed) -> tuple[Outcome, DragomanError | None]:
        """One call of the vendor, and what it leads to."""
        command = msgspec.json.decode(part.command, type=SendReply)
        now, suppressed = await self._facts(part, command)
        jitter = random.uniform(-1, 1)  # noqa: S311
        try:
            channel = self._channels[part.channel]
            account = self._directory().account_of(part.inbox_id)
            inbox = self._directory().inboxes[part.inbox_id]
            if now >= part.expires_at:
                return Outcome(state="expired", reason="expired"), None
            if suppressed is not None:
                return Outcome(state="refused", reason="suppressed", code=suppressed), None
            permission = channel.may_write(command, inbox, now)
            if not permission.allowed:
                return Outcome(state="refused", reason=permission.reason), None
            files = BrandFiles(self._links, self._objects, part.brand_id)
            attempt = Try(
                part=part.part,
                reference=str(part.id),
                started_at=part.started_at,
                files=files,
                hook_url=account.hook_url(self._address),
            )
            client = await self._client(channel, account)
            with calling(self._traces, f"call {channel.name}", part.traceparent, _told(part)):
                async with asyncio.timeout(channel.call_within.total_seconds()):
                    external_id = await channel.send(client, attempt, account, inbox)
        except DragomanError as error:
            return verdict(error, part.attempts, now, jitter), error
        except TimeoutError:
            late = OutcomeUnknown("the call took too long", code="too_long")
            return verdict(late, part.attempts, now, jitter), late
        except STUMBLES as error:
            log.error("part %s: %s in the channel", part.id, type(error).__name__, exc_info=error)
            unclear = OutcomeUnknown("our own code failed in the call", code="internal_error")
            return verdict(unclear, part.attempts, now, jitter), unclear
        return Outcome(state="accepted", external_id=external_id), None

    async def _facts(self, part: Claimed, command: SendReply) -> tuple[datetime, str | None]:
        """The time, and the code for which nothing goes to this peer, if there is one."""
        async with self._database.transaction() as tx:
            return tx.now, await store.suppression_of(tx, part.inbox_id, part.part.peer, command.heard_at)

    async def _client(self, channel: Channel, account: Account) -> Any:
        """What the account's calls go through; opened once, for several may ask at the same time."""
        async with self._opening:
            if account.id not in self._clients:
                connection = channel.connect(plain_httpx=self._plain_httpx)
                self._clients[account.id] = await self._opened.enter_async_context(connection)
        return self._clients[account.id]

    async def _write(self, part: Claimed, outcome: Outcome, health: str | None) -> None:
        """Keeps trying while the database is away: what the vendor did is known only here, until the lease is over."""

        async def work(tx: Transaction) -> None:
            await store.lock_deliveries(tx, [part.reply_id])
            mine = await store.settle(
                tx,
                part.id,
                holder=self._holder,
                attempts=part.attempts,
                state=outcome.state,
                next_at=outcome.next_at,
                external_id=outcome.external_id,
                reason=outcome.reason,
                code=outcome.code,
                counts=outcome.counts,
            )
            parts = (await store.parts_of(tx, [part.reply_id]))[part.reply_id]
            if mine and outcome.state in ("refused", "expired"):
                behind = [p["id"] for p in parts if p["state"] == "waiting"]
                await store.change_parts(tx, behind, "refused", reason="earlier_part_refused")
            if mine and outcome.reason != "suppressed" and outcome.code in self._suppresses(part):
                await store.suppress(tx, [(part.inbox_id, part.part.peer, part.brand_id, "rejected", outcome.code)])
            if outcome.external_id is not None:
                await receipts.catch_up(tx, next(p for p in parts if p["id"] == part.id), outcome.external_id)
            await tell(tx, [part.reply_id])
            if health is not None:
                await self._tell_health(tx, part, health, outcome.code)

        lease = self._call_within.get(part.channel, timedelta(0)) + store.LEASE_MARGIN
        until = asyncio.get_running_loop().time() + lease.total_seconds()
        while True:
            try:
                return await self._database.retrying(work)
            except Unavailable:
                if asyncio.get_running_loop().time() > until:
                    return None
                await asyncio.sleep(0.5)

    def _suppresses(self, part: Claimed) -> frozenset[str]:
        channel = self._channels.get(part.channel)
        return channel.suppresses if channel is not None else frozenset()

    async def _tell_health(self, tx: Transaction, part: Claimed, state: str, code: str) -> None:
        broken = state == "broken"
        alert = AccountHealth(
            account_id=part.account_id,
            state="broken" if broken else "healthy",
            reason=f"the vendor does not take replies: {code}" if broken else "the vendor takes replies again",
            at=tx.now,
        )
        event = Event(data=alert, key=str(part.brand_id), source=SOURCE, time=tx.now, brand_id=part.brand_id)
        await outbox.add(tx, SOURCE, [encode(event)])

    async def _sweep(self) -> None:
        """Once a second: lost calls, held echoes, unknown parts."""
        now = asyncio.get_running_loop().time()
        if now < self._next_sweep:
            return
        self._next_sweep = now + SWEEP_EVERY

        async def lost(tx: Transaction) -> None:
            await tell(tx, await store.expire_leases(tx, MOST))

        async def echoes(tx: Transaction) -> None:
            await receipts.release_echoes(tx, MOST)

        await self._database.retrying(lost)
        await self._database.retrying(echoes)
        await self._clear_up()

    async def _clear_up(self) -> None:
        """Unknown parts: ask the vendor where that can be done, else wait for proof, else resend or tell a person."""

        async def take(tx: Transaction) -> list[asyncpg.Record]:
            rows = await store.unknown_due(tx, MOST)
            for row in rows:
                # Whoever took it has it until then; nobody else asks meanwhile.
                await store.postpone_unknown(tx, row["id"], tx.now + ASK_AFTER[1])
            return rows

        for row in await self._database.retrying(take):
            channel = self._channels.get(row["channel"])
            if channel is not None and channel.ask is not None:
                call = asyncio.create_task(self._ask(channel, row), name=f"ask {row['id']}")
                self._calls.add(call)
                call.add_done_callback(self._calls.discard)
            elif channel is not None:
                await self._give_up_or_resend(channel, row)

    async def _ask(self, channel: Channel, row: asyncpg.Record) -> None:
        assert channel.ask is not None
        attempt = Try(
            part=Part(row["kind"], row["payload"], row["peer"]),
            reference=str(row["id"]),
            started_at=row["started_at"],
            taken=frozenset(row["taken"]),
        )
        try:
            account = self._directory().account_of(row["inbox_id"])
            inbox: Inbox = self._directory().inboxes[row["inbox_id"]]
            async with asyncio.timeout(channel.call_within.total_seconds()):
                found = await channel.ask(await self._client(channel, account), attempt, account, inbox)
        except (DragomanError, TimeoutError, *STUMBLES) as error:
            log.warning("part %s could not be asked about: %s", row["id"], type(error).__name__)
            return
        state = "accepted" if found is not None else "waiting"
        await self._resolve(row, state, found, "asked" if found is not None else "resent")

    async def _give_up_or_resend(self, channel: Channel, row: asyncpg.Record) -> None:
        proof_until = row["started_at"] + channel.proof_within

        async def work(tx: Transaction) -> bool:
            if tx.now < proof_until:
                await store.postpone_unknown(tx, row["id"], proof_until)
                return False
            most = channel.resend_at_most
            is_enough = most is not None and await store.times_resent(tx, row["id"]) >= most
            if is_enough or not channel.resend_unproven:
                await store.postpone_unknown(tx, row["id"], None)
                await tell(tx, [row["reply_id"]])
                return False
            return True

        if await self._database.retrying(work):
            await self._resolve(row, "waiting", None, "resent")

    async def _resolve(self, row: asyncpg.Record, state: str, external_id: str | None, reason: str) -> None:
        async def work(tx: Transaction) -> None:
            await store.lock_deliveries(tx, [row["reply_id"]])
            next_at: Any = retry_at(1, tx.now, 0.0) if state == "waiting" else None
            await store.resolve_unknown(tx, row["id"], state, external_id, next_at, reason)
            await tell(tx, [row["reply_id"]])

        with suppress(Unavailable):
            # Postponed when it was taken: it comes again.
            await self._database.retrying(work)
        self.wake()


def _told(part: Claimed) -> Attributes:
    return {
        "dragoman.channel": part.channel,
        "dragoman.brand.id": part.brand_id,
        "dragoman.account.id": part.account_id,
        "dragoman.inbox.id": part.inbox_id,
        "dragoman.conversation.id": part.conversation_id,
        "dragoman.reply.id": part.reply_id,
        "dragoman.part.id": part.id,
        "dragoman.attempt": part.attempts,
    }
