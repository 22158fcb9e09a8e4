"""Where time comes from: the database's clock, read once at the start of a transaction."""

from datetime import UTC, datetime
from typing import Protocol


class Reader(Protocol):
    """What a clock may ask: one value of one statement."""

    async def fetchval(self, query: str, *args: object) -> object: ...


class Clock(Protocol):
    async def now(self, connection: Reader) -> datetime:
        """The instant of this transaction, aware, in UTC."""


class DatabaseClock:
    """All processes share the database's clock, so a skewed host cannot make a deadline wrong."""

    async def now(self, connection: Reader) -> datetime:
        value = await connection.fetchval("SELECT clock_timestamp()")
        if not isinstance(value, datetime):
            raise TypeError("the database gave no time")
        return value.astimezone(UTC)


def utc_now() -> datetime:
    """This host's clock, for what has no transaction: `received_at` and leases of the network."""
    return datetime.now(UTC)
