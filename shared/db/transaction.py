"""Connections and the one transaction: only `Database.transaction` commits."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from typing import Any, Literal, TypeVar
from uuid import UUID

import asyncpg
import msgspec

from shared.clock import Clock, DatabaseClock
from shared.errors import Unavailable

_Connection = Any
T = TypeVar("T")
Isolation = Literal["repeatable_read"]
RETRYABLE = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError)
# The database or the way to it is gone; nothing was committed that we were told of.
AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    # What the client makes of a server that says good-bye just before the next statement.
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.QueryCanceledError,
    asyncpg.LockNotAvailableError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    OSError,
    TimeoutError,
)
RETRIES = 5


class Transaction:
    """What handlers and stores get: statements, the transaction's instant, and what to do once it is committed."""

    def __init__(self, connection: Any, now: datetime) -> None:
        self._connection = connection
        self.now = now
        self._after_commit: list[Callable[[], None]] = []
        # For the test that counts statements.
        self.statements = 0

    async def fetch(self, query: str, *args: object) -> list[asyncpg.Record]:
        self.statements += 1
        return list(await self._connection.fetch(query, *args))

    async def fetchrow(self, query: str, *args: object) -> asyncpg.Record | None:
        self.statements += 1
        row: asyncpg.Record | None = await self._connection.fetchrow(query, *args)
        return row

    async def fetchval(self, query: str, *args: object) -> Any:
        self.statements += 1
        return await self._connection.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> int:
        """The number of rows that the statement touched."""
        self.statements += 1
        tag: str = await self._connection.execute(query, *args)
        last = tag.rsplit(" ", 1)[-1]
        return int(last) if last.isdigit() else 0

    def after_commit(self, hint: Callable[[], None]) -> None:
        """Runs `hint` once the transaction is committed, and never where it is not."""
        self._after_commit.append(hint)


class Database:
    """A pool of connections that all act in one role.

    `role` is one of the roles of the migrations (`dragoman_router`, ...); None acts as the connecting user.
    """

    def __init__(self, url: str, *, role: str | None, clock: Clock | None = None, size: int = 6) -> None:
        self._url = url
        self._role = role
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._looking = asyncio.Lock()
        self._looker: Any = None
        self.clock: Clock = clock or DatabaseClock()

    async def open(self) -> None:
        """Raises Unavailable where the server cannot be reached."""
        settings = {
            "application_name": self._role or "dragoman",
            "statement_timeout": "15000",
            "lock_timeout": "5000",
            "idle_in_transaction_session_timeout": "30000",
        }
        if self._role:
            settings["role"] = self._role
        try:
            self._pool = await asyncpg.create_pool(
                self._url,
                min_size=1,
                # One of them only looks.
                max_size=self._size + 1,
                max_inactive_connection_lifetime=0,
                command_timeout=20,
                timeout=10,
                server_settings=settings,
                init=_teach_types,
                # Nothing of ours stays in a session: every setting is local to its transaction.
                reset=_nothing,
            )
        except AWAY as error:
            raise Unavailable(f"the database cannot be reached: {type(error).__name__}") from error

    async def close(self) -> None:
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(5):
                async with self._looking:
                    await self._forget(pool)
                await pool.close()
        except TimeoutError:
            pool.terminate()

    @asynccontextmanager
    async def transaction(
        self, *, brands: Sequence[UUID] | None = None, isolation: Isolation | None = None
    ) -> AsyncIterator[Transaction]:
        """One transaction; commits at the end, rolls back on any exception.

        `brands` are what row-level security shows to the API's role. With the isolation `repeatable_read` all of its
        statements see the same instant. Raises Unavailable where the database is away.
        """
        if self._pool is None:
            raise Unavailable("the database is not open")
        try:
            async with self._pool.acquire(timeout=10) as connection, connection.transaction(isolation=isolation):
                transaction = Transaction(connection, await self.clock.now(connection))
                if brands is not None:
                    listed = "{" + ",".join(map(str, brands)) + "}"
                    await connection.fetchval("SELECT set_config('dragoman.brands', $1, true)", listed)
                yield transaction
        except AWAY as error:
            raise Unavailable(f"the database is away: {type(error).__name__}", code="database_away") from error
        for hint in transaction._after_commit:
            hint()

    async def look(self, query: str, *args: object) -> list[asyncpg.Record]:
        """The rows of one statement by itself. Raises Unavailable.

        Workers look up to fifty times a second: the connection for it is kept, for getting one and giving it back
        would cost as much as the statement.
        """
        async with self._looking:
            # Asked for in here: it may be closed while others look, and while this look goes on.
            pool = self._pool
            if pool is None:
                raise Unavailable("the database is not open")
            try:
                if self._looker is None:
                    self._looker = await pool.acquire(timeout=10)
                found: list[asyncpg.Record] = await self._looker.fetch(query, *args)
                return found
            except BaseException as error:
                await self._forget(pool, broken=isinstance(error, AWAY))
                if isinstance(error, AWAY):
                    raise Unavailable(f"the database is away: {type(error).__name__}", code="database_away") from error
                raise

    async def _forget(self, pool: Any, *, broken: bool = False) -> None:
        """Gives back the connection that looks; the next look gets another."""
        looker, self._looker = self._looker, None
        if looker is None:
            return
        # One that has closed is no longer ours, and says so.
        with suppress(asyncpg.InterfaceError):
            if broken:
                looker.terminate()
        await pool.release(looker)

    async def retrying(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        brands: Sequence[UUID] | None = None,
        isolation: Isolation | None = None,
    ) -> T:
        """Runs `work` in a transaction, again after a deadlock or a lost race, at most five times."""
        for attempt in range(RETRIES):
            try:
                async with self.transaction(brands=brands, isolation=isolation) as transaction:
                    return await work(transaction)
            except RETRYABLE:
                if attempt == RETRIES - 1:
                    raise
                await asyncio.sleep(random.uniform(0.005, 0.05) * 2**attempt)  # noqa: S311
        raise AssertionError("unreachable")


async def _nothing(_connection: _Connection) -> None:
    """asyncpg's own reset would be a round trip per acquire."""


async def _teach_types(connection: _Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + msgspec.json.encode(value),
        decoder=lambda data: msgspec.json.decode(memoryview(data)[1:]),
    )
