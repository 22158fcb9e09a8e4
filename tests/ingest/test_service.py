"""The whole service on a real database, the real bus of one process and a real port."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

import httpx
import pytest
from cryptography.fernet import Fernet

from services.ingest.app import Ingest, serve
from services.ingest.spool import Spool
from shared.bus.contract import Consumer
from shared.bus.inprocess import InProcessBus
from shared.channels import messenger
from shared.db.transaction import Database, Transaction
from shared.errors import InboxMisconfigured, Unavailable
from shared.events import DeadLetter, Event, MessageReceived
from shared.ids import new_id
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.topics import Topic
from shared.trust import trust
from tests.ingest.test_hooks import ACCOUNT, BRAND, INBOX, SECRET, body, item, signature
from tests.ingest.test_limits import served, until

TOPICS = (Topic.INBOUND, Topic.RECEIPTS, Topic.DEAD)


class Door:
    """A way to the database that can be shut: its connections break, new ones are refused."""

    def __init__(self, url: str, folder: str) -> None:
        parts = urlsplit(url)
        self._behind = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._path = Path(folder) / ".s.PGSQL.5432"
        self.url = urlunsplit(parts._replace(query=urlencode({"host": folder})))
        self._server: asyncio.Server | None = None
        self._passing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._enter, self._path)

    async def shut(self) -> None:
        if self._server is None:
            return
        self._server.close()
        self._path.unlink(missing_ok=True)
        for task in self._passing:
            task.cancel()
        await asyncio.gather(*self._passing, return_exceptions=True)
        self._server = None

    async def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inside, to_inside = await asyncio.open_unix_connection(self._behind)
        for source, target in ((reader, to_inside), (inside, writer)):
            task = asyncio.create_task(_carry(source, target))
            self._passing.add(task)
            task.add_done_callback(self._passing.discard)


async def _carry(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
    except ConnectionError:
        return
    finally:
        target.transport.abort()


@dataclass
class Reader:
    """The next service: keeps what was committed, and can be away."""

    events: list[Event] = field(default_factory=list)
    away: bool = False

    async def __call__(self, tx: Transaction, batch: Sequence[Event]) -> None:
        if self.away:
            raise Unavailable
        tx.after_commit(lambda: self.events.extend(batch))

    def keys(self, lane: str = "p") -> list[str]:
        mine = (e.data for e in self.events if e.key == f"{INBOX}:{lane}")
        return [data.keys[0] for data in mine if isinstance(data, MessageReceived)]


@dataclass
class World:
    """A configured database, its door, and who reads the bus."""

    parts: Parts
    door: Door
    reader: Reader
    owner: Database

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Ingest, "Vendor"]]:
        async with serve(self.parts, channels=(messenger.channel,)) as ingest, served(ingest.app) as port:
            url = f"http://127.0.0.1:{port}/hooks/messenger/"
            async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False, verify=trust()) as http:
                yield ingest, Vendor(http)

    async def token(self, value: str) -> None:
        async with self.owner.transaction() as tx:
            await _secret(tx, self.parts.vault, "hook_token", value)
            await tx.execute("UPDATE config.revision SET n = n + 1")


@dataclass
class Vendor:
    http: httpx.AsyncClient

    async def post(self, sent: bytes, token: str = "token") -> int:
        return (await self.http.post(token, content=sent, headers=signature(sent))).status_code


async def _secret(tx: Transaction, vault: Vault, name: str, value: str) -> None:
    await tx.execute("INSERT INTO config.secret VALUES ($1, $2, $3, $4)", new_id(), ACCOUNT, name, vault.seal(value))


async def _configure(owner: Database, vault: Vault) -> None:
    async with owner.transaction() as tx:
        await tx.execute("INSERT INTO config.client VALUES ($1, 'client', 'Client')", new_id())
        await tx.execute("INSERT INTO config.brand SELECT $1, id, 'brand', 'Brand' FROM config.client", BRAND)
        await tx.execute("INSERT INTO config.account VALUES ($1, 'meta', 'messenger', 'Meta', '{}')", ACCOUNT)
        await tx.execute(
            "INSERT INTO config.inbox (id, brand_id, account_id, handle, channel, address, name, settings) "
            "VALUES ($1, $2, $3, 'page', 'messenger', '100', 'Page', '{}')", INBOX, BRAND, ACCOUNT,
        )  # fmt: skip
        await _secret(tx, vault, "app_secret", SECRET)
        await _secret(tx, vault, "hook_token", "token")
        await tx.execute("UPDATE config.revision SET n = n + 1")


@pytest.fixture
async def world(database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    vault = Vault([Fernet.generate_key().decode()])
    owner = Database(database_url, role="dragoman_router", size=3)
    bus, reader = InProcessBus(), Reader()
    async with AsyncExitStack() as stack:
        await owner.open()
        stack.push_async_callback(owner.close)
        await _configure(owner, vault)
        for topic in TOPICS:
            consumer = Consumer(group="reader", topic=topic, handler=reader, database=owner)
            await stack.enter_async_context(bus.consuming(consumer))
        # A socket's path may not be long.
        door = Door(database_url, stack.enter_context(TemporaryDirectory(prefix="door-")))
        await door.open()
        stack.push_async_callback(door.shut)
        settings = Settings(data_dir=tmp_path, poll_every=60)
        yield World(Parts(settings=settings, database_url=door.url, bus=bus, vault=vault), door, reader, owner)


async def test_a_message_is_committed_by_its_reader_before_the_vendor_hears_200(world: World) -> None:
    async with world.running() as (ingest, vendor):
        assert await vendor.post(body(item("m1"))) == 200
        assert world.reader.keys() == ["message:m1"]
        (event,) = world.reader.events
        assert (event.brand_id, event.inbox_id, event.source) == (BRAND, INBOX, "ingest")
        assert list(ingest.troubles()) == []


async def test_an_unknown_page_and_a_receipt_find_their_readers(world: World) -> None:
    receipt = {
        "sender": {"id": "p"}, "recipient": {"id": "100"}, "timestamp": 1_790_000_000_000,
        "delivery": {"mids": ["m9"], "watermark": 1_790_000_000_000},
    }  # fmt: skip
    sent = json.loads(body(item("m1"), receipt))
    sent["entry"] += json.loads(body(item("m2", page="999"), page="999"))["entry"]
    async with world.running() as (_, vendor):
        assert await vendor.post(json.dumps(sent).encode()) == 200
    assert {event.topic for event in world.reader.events} == set(TOPICS)
    (letter,) = [e.data for e in world.reader.events if isinstance(e.data, DeadLetter)]
    assert letter.code == "unknown_inbox"


async def test_while_its_reader_is_away_everything_is_taken_and_comes_in_order_later(world: World) -> None:
    async with world.running() as (ingest, vendor):
        world.reader.away = True
        for n in range(5):
            assert await vendor.post(body(item(f"m{n}"))) == 200
        assert (world.reader.events, ingest.spool.waiting) == ([], 5)
        assert list(ingest.troubles()) == [], "webhooks are welcome just then"
        world.reader.away = False
        assert await vendor.post(body(item("m5"))) == 200
        await until(lambda: ingest.spool.waiting == 0, 10)
        assert await vendor.post(body(item("m6"))) == 200
    assert world.reader.keys() == [f"message:m{n}" for n in range(7)]


async def test_what_a_run_left_is_through_before_the_next_is_ready(world: World, tmp_path: Path) -> None:
    async with world.running() as (ingest, vendor):
        world.reader.away = True
        assert await vendor.post(body(item("m1"))) == 200
        assert ingest.spool.waiting == 1
    async with world.running() as (ingest, vendor):
        assert "earlier run" in ingest.troubles()[0]
        assert await vendor.post(body(item("m2"))) == 200
        world.reader.away = False
        await until(lambda: not ingest.troubles(), 10)
        await until(lambda: ingest.spool.waiting == 0, 10)
    assert world.reader.keys() == ["message:m1", "message:m2"]


async def test_with_the_database_away_accounts_are_served_from_memory(world: World) -> None:
    async with world.running() as (_, vendor):
        await world.door.shut()
        await asyncio.sleep(2.5)
        assert await vendor.post(body(item("m1"))) == 200
        assert await vendor.post(body(item("m1")), token="guess") == 404
        await world.door.open()
        await world.token("newer")
        async with asyncio.timeout(10):
            while await vendor.post(body(item("m2")), token="newer") != 200:
                await asyncio.sleep(0.1)
        assert await vendor.post(body(item("m3"))) == 200, "both hold while a token is rotated"


async def test_at_its_start_it_waits_for_the_database(world: World) -> None:
    await world.door.shut()
    opening = asyncio.create_task(_later(world.door.open))
    async with world.running() as (_, vendor):
        assert opening.done()
        assert await vendor.post(body(item("m1"))) == 200
    await opening


async def _later(work: Callable[[], Awaitable[None]]) -> None:
    await asyncio.sleep(0.5)
    await work()


async def test_told_to_stop_while_it_waits_it_does_so_at_once(world: World) -> None:
    await world.door.shut()
    asyncio.get_running_loop().call_later(0.3, world.parts.stopping.set)
    async with asyncio.timeout(2):
        with pytest.raises(Unavailable):
            async with world.running():
                raise AssertionError("there are no accounts to serve")


async def test_going_down_it_takes_nothing_more(world: World) -> None:
    async with world.running() as (_, vendor):
        world.parts.stopping.set()
        assert await vendor.post(body(item("m1"))) == 503
    assert world.reader.events == []


async def test_a_spool_directory_of_its_own_is_used(world: World, tmp_path: Path) -> None:
    async with world.running():
        assert (tmp_path / "spool" / "lock").exists()
        with pytest.raises(InboxMisconfigured):
            Spool(tmp_path / "spool", 1).open()


async def test_a_hundred_messages_posted_four_times_at_once_have_a_hundred_ids(world: World) -> None:
    posts = [body(item(f"m{n}", psid=f"p{n % 40}")) for n in range(100)] * 4
    async with world.running() as (_, vendor):
        places = asyncio.Semaphore(32)

        async def post(sent: bytes) -> int:
            async with places:
                return await vendor.post(sent)

        assert set(await asyncio.gather(*map(post, posts))) == {200}
    assert len(world.reader.events) == 400
    assert len({event.id for event in world.reader.events}) == 100
