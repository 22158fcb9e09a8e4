"""Leases: who may do a thing until when. Every later write of the holder is fenced by the lease's epoch.

The one file that uses the database's own `clock_timestamp()` in statements: a lease is about real time, also in tests.
"""

from dataclasses import dataclass
from datetime import timedelta

from shared.db.transaction import Database, Transaction
from shared.errors import Fenced


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    epoch: int


async def acquire(database: Database, name: str, holder: str, duration: timedelta) -> Lease | None:
    """The lease where it is free, expired or ours already (then prolonged, same epoch), else None."""
    async with database.transaction() as tx:
        epoch = await tx.fetchval(
            """
            INSERT INTO bus.lease AS l (name, holder, epoch, until)
            VALUES ($1, $2, 1, clock_timestamp() + $3)
            ON CONFLICT (name) DO UPDATE
            SET holder = excluded.holder, until = excluded.until,
                epoch = l.epoch + (l.holder <> excluded.holder OR l.until < clock_timestamp())::int
            WHERE l.holder = excluded.holder OR l.until < clock_timestamp()
            RETURNING epoch
            """,
            name,
            holder,
            duration,
        )
    return None if epoch is None else Lease(name, holder, epoch)


async def hold(tx: Transaction, lease: Lease) -> None:
    """Makes the rest of this transaction the holder's. Raises Fenced where somebody else took the lease."""
    held = await tx.fetchval(
        "SELECT 1 FROM bus.lease WHERE name = $1 AND epoch = $2 AND holder = $3 FOR SHARE",
        lease.name,
        lease.epoch,
        lease.holder,
    )
    if held is None:
        raise Fenced(f"the lease {lease.name} was taken by another process")


async def release(database: Database, lease: Lease) -> None:
    """Gives it back, so that the next one need not wait."""
    async with database.transaction() as tx:
        await tx.execute(
            "UPDATE bus.lease SET until = clock_timestamp() - interval '1 second' WHERE name = $1 AND epoch = $2",
            lease.name,
            lease.epoch,
        )
