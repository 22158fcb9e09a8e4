"""What a handler did, kept in a table of the test, so that a test sees only what was committed."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import asyncpg

from shared.bus.contract import Bus, Consumer, Handler
from shared.db.transaction import Database, Transaction
from shared.errors import Unavailable
from shared.events import Address, DeadLetter, Event, MessageReceived, Record, decode, encode
from shared.topics import Topic

MONDAY = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
PATIENCE = 20.0
T = TypeVar("T")


async def effects_table(url: str) -> None:
    """A table that the router's role may fill; `n` is the order of the first effects."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE TABLE public.effect (n bigserial PRIMARY KEY, id uuid UNIQUE, key text, text text);"
            "GRANT ALL ON public.effect, public.effect_n_seq TO dragoman_router"
        )
    finally:
        await connection.close()


class Effects:
    """A handler that is idempotent as all of ours are, and questions about what it has done."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def handle(self, tx: Transaction, events: Sequence[Event]) -> None:
        await tx.execute(
            "INSERT INTO public.effect (id, key, text) SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[]) "
            "ON CONFLICT (id) DO NOTHING",
            [event.id for event in events],
            [event.key for event in events],
            [text_of(event) for event in events],
        )

    def consumer(self, handler: Handler | None = None, *, topic: Topic = Topic.INBOUND) -> Consumer:
        return Consumer(group="router", topic=topic, handler=handler or self.handle, database=self._database)

    async def texts(self) -> list[str]:
        """The texts of all committed effects in their order."""
        async with self._database.transaction() as tx:
            return [row["text"] for row in await tx.fetch("SELECT text FROM public.effect ORDER BY n")]

    async def by_key(self) -> Mapping[str, Sequence[str]]:
        async with self._database.transaction() as tx:
            rows = await tx.fetch("SELECT key, array_agg(text ORDER BY n) AS texts FROM public.effect GROUP BY key")
        return {row["key"]: row["texts"] for row in rows}

    async def letters(self) -> list[DeadLetter]:
        """The dead letters that wait in the outbox; each once, for a batch may be handled again."""
        async with self._database.transaction() as tx:
            rows = await tx.fetch("SELECT topic, key, headers, value FROM bus.outbox WHERE topic = 'dead' ORDER BY id")
        found: dict[str, DeadLetter] = {}
        for row in rows:
            letter = decode(Record(**row)).data
            assert isinstance(letter, DeadLetter)
            found[letter.headers.get("ce_id", "")] = letter
        return list(found.values())

    async def until(self, count: int) -> list[str]:
        """The texts once there are `count` of them; a bus with a log has its effects after `publish` returned."""
        return await eventually(self.texts, lambda texts: len(texts) >= count)

    async def until_letters(self, count: int) -> list[DeadLetter]:
        return await eventually(self.letters, lambda letters: len(letters) >= count)


async def eventually(ask: Callable[[], Awaitable[T]], enough: Callable[[T], object] = bool) -> T:
    """The first answer that is enough; a real broker and a relay take their time."""
    async with asyncio.timeout(PATIENCE):
        while not enough(answer := await ask()):
            await asyncio.sleep(0.02)
    return answer


def text_of(event: Event) -> str:
    assert isinstance(event.data, MessageReceived)
    return event.data.text


def a_message(text: str = "Hallo", *, key: str = "page-1/anna") -> Event:
    """A customer's message as ingest would publish it."""
    data = MessageReceived(
        channel="messenger",
        keys=[f"{key}:{text}"],
        sender=Address(kind="messenger", value=key),
        occurred_at=MONDAY,
        text=text,
    )
    return Event(data=data, key=key, source="ingest", time=MONDAY + timedelta(seconds=1))


def records(*texts: str, key: str = "page-1/anna") -> list[Record]:
    return [encode(a_message(text, key=key)) for text in texts]


async def publish(bus: Bus, *wanted: Record) -> None:
    """As every publisher of ours does: again until it is safe."""
    async with asyncio.timeout(PATIENCE):
        while True:
            with suppress(Unavailable):
                return await bus.publish(wanted)
            await asyncio.sleep(0.02)
