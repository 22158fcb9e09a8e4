"""Calls: placed once, followed by what their vendor tells and, where it tells nothing, by asking; told when over."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.responder import store_of_calls as store
from services.responder.domain.calls import End, conclude, fold, is_over
from services.responder.telling import SOURCE
from shared.accounts import Account, Directory, Inbox
from shared.background import background
from shared.bus import outbox
from shared.channels.contract import Calls as Telephone
from shared.channels.contract import Channel, Placed
from shared.db.transaction import Database, Transaction
from shared.errors import (
    AccountBroken,
    BadPayload,
    DragomanError,
    InboxBroken,
    InboxMisconfigured,
    OutcomeUnknown,
    PoisonEvent,
    Throttled,
    Unavailable,
)
from shared.events import AccountHealth, CallEnded, CallProgressed, Data, Event, PlaceCall, WithdrawCall, encode
from shared.ids import new_id
from shared.tracing import Attributes, Traces, calling

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5
MOST = 20
# What a lease is longer than the channel's call may take.
LEASE_MARGIN = timedelta(seconds=25)
AGAIN_AFTER = timedelta(seconds=2)
# An unknown one is asked about so often; a vendor's list may lag behind what it has just begun.
ASK_EVERY, LISTED_WITHIN = timedelta(seconds=5), timedelta(seconds=15)
# One whose webhooks are silent is looked at so often, for they may be lost.
FOLLOW_EVERY = timedelta(seconds=60)
# The end of the agent's telephone may overtake what led to it.
GRACE = timedelta(seconds=3)
# No call of anybody lasts longer.
LONGEST = timedelta(hours=5)
STUMBLES = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError)

_command = msgspec.json.Decoder(PlaceCall)
_encode = msgspec.json.Encoder().encode


async def order(
    tx: Transaction, commands: Sequence[tuple[Event, PlaceCall | WithdrawCall]], directory: Directory
) -> None:
    """Calls to place and to withdraw, from the topic `outbound`."""
    rows = [_row(event, data, directory) for event, data in commands if isinstance(data, PlaceCall)]
    if rows:
        await store.add(tx, rows)
    withdrawn = [data.call_id for _, data in commands if isinstance(data, WithdrawCall)]
    for call_id, row in (await store.lock(tx, withdrawn)).items() if withdrawn else ():
        if row["state"] == "waiting":
            await _end(tx, row, End("withdrawn"))
        elif row["state"] != "ended":
            await store.wish_withdrawn(tx, call_id)


def _row(event: Event, command: PlaceCall, directory: Directory) -> dict[str, Any]:
    inbox = directory.inboxes.get(command.inbox_id)
    return {
        "id": command.call_id,
        "brand_id": event.brand_id,
        "conversation_id": command.conversation_id,
        "inbox_id": command.inbox_id,
        "account_id": inbox.account_id if inbox else UUID(int=0),
        "channel": command.channel,
        "command": _encode(command),
        "expires_at": command.expires_at,
        "traceparent": event.traceparent,
    }


async def progressed(tx: Transaction, told: Sequence[CallProgressed]) -> None:
    """What the vendor's webhooks tell, from the topic `receipts`; of a call that we do not have it says nothing."""
    by_call: dict[UUID, list[CallProgressed]] = {}
    for data in told:
        by_call.setdefault(UUID(data.reference), []).append(data)
    for call_id, row in (await store.lock(tx, list(by_call))).items():
        await _learn(tx, row, by_call[call_id])


def reference_of(position: int, data: CallProgressed) -> UUID:
    """Our call's id. Raises PoisonEvent for a reference that is none of ours."""
    try:
        return UUID(data.reference)
    except ValueError:
        raise PoisonEvent(position, BadPayload("the call has no reference of ours", code="no_reference")) from None


async def _learn(tx: Transaction, row: asyncpg.Record, told: Sequence[CallProgressed], *, is_all: bool = False) -> None:
    """Folds what was told into the call; the router hears of its end, once."""
    if row["state"] == "ended":
        return
    legs = row["legs"]
    for data in told:
        legs = fold(legs, data)
    end = conclude(legs, is_withdrawn=row["outcome"] == "withdrawn", is_all=is_all)
    ids = [data.external_id for data in told if data.leg == "agent" and data.external_id]
    next_at = tx.now + (GRACE if is_over(legs) else FOLLOW_EVERY)
    if row["outcome"] == "withdrawn":
        # It is to be hung up, whatever else is told of it meanwhile.
        next_at = min(next_at, row["next_at"])
    await store.move(tx, row["id"], state="placed", legs=legs, external_id=ids[0] if ids else None, next_at=next_at)
    if end is not None:
        await _end(tx, row, end)


async def _end(tx: Transaction, row: asyncpg.Record, end: End) -> None:
    await store.end(tx, row["id"], end.outcome, end.seconds, end.code)
    data = CallEnded(
        call_id=row["id"],
        conversation_id=row["conversation_id"],
        outcome=end.outcome,
        at=tx.now,
        seconds=end.seconds,
        code=end.code,
    )
    await _tell(tx, row, data, str(row["conversation_id"]))


async def _tell(tx: Transaction, row: asyncpg.Record, data: Data, key: str) -> None:
    event = Event(
        data=data, key=key, source=SOURCE, time=tx.now, brand_id=row["brand_id"], inbox_id=row["inbox_id"],
        subject=str(row["id"]), traceparent=row["traceparent"],
    )  # fmt: skip
    await outbox.add(tx, SOURCE, [encode(event)])


class Calls:
    """Places and follows calls; several processes share the work by claims."""

    def __init__(
        self,
        database: Database,
        directory: Callable[[], Directory],
        channels: Sequence[Channel],
        *,
        plain_httpx: bool,
        address: str,
        traces: Traces | None,
    ) -> None:
        self._database = database
        self._directory = directory
        self._channels: Mapping[str, Channel] = {c.name: c for c in channels if c.calls is not None}
        self._plain_httpx = plain_httpx
        self._address = address
        self._traces = traces
        self._holder = f"calls-{new_id()}"
        self._lease = max((c.call_within for c in self._channels.values()), default=timedelta(0)) + LEASE_MARGIN
        self._woken = asyncio.Event()
        self._clients: dict[UUID, Any] = {}
        self._opened = AsyncExitStack()
        self._opening = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self.trouble = ""

    def wake(self) -> None:
        """There is a call to place or to hang up."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Leaving stops claiming and gives what is under way a moment; the rest is left to its lease."""
        async with self._opened:
            try:
                async with background(self._run(), "calls"):
                    yield
            finally:
                if self._tasks:
                    _, late = await asyncio.wait(self._tasks, timeout=2.5)
                    for task in late:
                        task.cancel()
                    await asyncio.gather(*late, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_EVERY):
                    await self._woken.wait()
            self._woken.clear()
            try:
                await self._look()
                self.trouble = ""
            except (Unavailable, asyncpg.PostgresError) as error:
                # A statement that the database refuses must not end the task in silence.
                why = error if isinstance(error, Unavailable) else type(error).__name__
                self.trouble = f"calls wait: {why}"
                log.warning("%s", self.trouble, exc_info=None if error is why else error)
                await asyncio.sleep(0.5)

    async def _look(self) -> None:
        async def work(tx: Transaction) -> tuple[list[asyncpg.Record], list[asyncpg.Record]]:
            for row in await store.expired(tx, MOST):
                await _end(tx, row, End("failed", code=row["code"] or "expired"))
            room = max(0, MOST - len(self._tasks))
            to_place = await store.claim(tx, self._holder, self._lease, room)
            return to_place, await store.to_ask_about(tx, ASK_EVERY, max(0, room - len(to_place)))

        to_place, to_ask = await self._database.retrying(work)
        for row, work_ in [*((r, self._place) for r in to_place), *((r, self._follow) for r in to_ask)]:
            task = asyncio.create_task(work_(row), name=f"call {row['id']}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _place(self, row: asyncpg.Record) -> None:
        external_id, error = None, None
        try:
            channel, telephone, account, inbox = self._line(row)
            url = account.hook_url(self._address)
            async with asyncio.timeout(channel.call_within.total_seconds()):
                client = await self._client(channel, account)
                command = _command.decode(row["command"])
                with calling(self._traces, f"call {channel.name}", row["traceparent"], _told(row)):
                    external_id = await telephone.place(client, command, account, inbox, url)
        except DragomanError as caught:
            error = caught
        except (TimeoutError, *STUMBLES) as caught:
            log.warning("call %s: %s", row["id"], type(caught).__name__)
            error = OutcomeUnknown(code="no_answer")
        await self._write(row, external_id, error)

    async def _write(self, row: asyncpg.Record, external_id: str | None, error: DragomanError | None) -> None:
        async def work(tx: Transaction) -> None:
            match error:
                case None:
                    await store.settle(tx, row["id"], self._holder, "placed", tx.now + FOLLOW_EVERY, external_id)
                case OutcomeUnknown():
                    await store.settle(tx, row["id"], self._holder, "unknown", tx.now + ASK_EVERY)
                case Unavailable():
                    asked = error.retry_after if isinstance(error, Throttled) else None
                    await store.settle(
                        tx, row["id"], self._holder, "waiting", tx.now + (asked or AGAIN_AFTER), code=error.code
                    )
                case _:
                    await self._refused(tx, row, error)

        with suppress(Unavailable):
            # It stays `placing` and is asked about when its lease is over.
            await self._database.retrying(work)

    async def _refused(self, tx: Transaction, row: asyncpg.Record, error: DragomanError) -> None:
        current = (await store.lock(tx, [row["id"]]))[row["id"]]
        if current["state"] == "placing" and current["holder"] == self._holder:
            await _end(tx, current, End("failed", code=error.code))
        if isinstance(error, AccountBroken | InboxBroken):
            reason = f"the vendor does not place calls: {error.code}"
            health = AccountHealth(account_id=row["account_id"], state="broken", reason=reason, at=tx.now)
            await _tell(tx, row, health, str(row["brand_id"]))

    async def _follow(self, row: asyncpg.Record) -> None:
        """Asks the vendor, and hangs up first where the call is not wanted any more."""
        placed = Placed(
            command=_command.decode(row["command"]),
            started_at=row["started_at"] or row["created_at"],
            external_id=row["external_id"],
        )
        try:
            channel, telephone, account, inbox = self._line(row)
            async with asyncio.timeout(channel.call_within.total_seconds()):
                client = await self._client(channel, account)
                told = await telephone.follow(client, placed, account, inbox)
                if row["outcome"] == "withdrawn" and not _talks(told):
                    for id_ in {data.external_id for data in told if data.leg == "agent"}:
                        await telephone.hang_up(client, id_, account, inbox)
        except (DragomanError, TimeoutError, *STUMBLES) as error:
            log.warning("call %s could not be asked about: %s", row["id"], getattr(error, "code", type(error).__name__))
            told = None
        with suppress(Unavailable):
            # It was postponed when it was taken, and comes again.
            await self._database.retrying(lambda tx: self._found(tx, row["id"], told))

    async def _found(self, tx: Transaction, call_id: UUID, told: Sequence[CallProgressed] | None) -> None:
        row = (await store.lock(tx, [call_id]))[call_id]
        if row["state"] == "ended":
            return None
        if tx.now > row["created_at"] + LONGEST:
            await _end(tx, row, End("failed", code="lost"))
        elif told or (told is not None and is_over(row["legs"])):
            await _learn(tx, row, told, is_all=is_over(row["legs"]))
        elif told is not None and row["state"] == "unknown" and tx.now > row["started_at"] + LISTED_WITHIN:
            if row["outcome"] == "withdrawn":
                return await _end(tx, row, End("withdrawn"))
            # The vendor never had it, so nobody is called twice; where it is too late it expires.
            await store.move(tx, call_id, state="waiting", legs=row["legs"], external_id=None, next_at=tx.now)
        return None

    def _line(self, row: asyncpg.Record) -> tuple[Channel, Telephone, Account, Inbox]:
        """Raises InboxMisconfigured where the line is not (or no longer) configured."""
        account = self._directory().account_of(row["inbox_id"])
        channel = self._channels.get(row["channel"])
        if channel is None or channel.calls is None:
            raise InboxMisconfigured("its channel does not call", code="no_channel")
        return channel, channel.calls, account, self._directory().inboxes[row["inbox_id"]]

    async def _client(self, channel: Channel, account: Account) -> Any:
        async with self._opening:
            if account.id not in self._clients:
                connection = channel.connect(plain_httpx=self._plain_httpx)
                self._clients[account.id] = await self._opened.enter_async_context(connection)
        return self._clients[account.id]


def _told(row: asyncpg.Record) -> Attributes:
    return {
        "dragoman.channel": row["channel"],
        "dragoman.brand.id": row["brand_id"],
        "dragoman.account.id": row["account_id"],
        "dragoman.inbox.id": row["inbox_id"],
        "dragoman.conversation.id": row["conversation_id"],
        "dragoman.call.id": row["id"],
    }


def _talks(told: Sequence[CallProgressed]) -> bool:
    """Whether the customer has answered: nobody hangs up on them."""
    return any(data.leg == "customer" and data.state == "answered" for data in told)
