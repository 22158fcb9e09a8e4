"""The SQL on the schema `ingest`."""

from uuid import UUID

from shared.accounts import Inbox
from shared.db.transaction import Transaction


async def cursor(tx: Transaction, inbox_id: UUID) -> str:
    """How far the inbox has been polled, empty before the first time."""
    found = await tx.fetchval("SELECT cursor FROM ingest.poll_cursor WHERE inbox_id = $1", inbox_id)
    return str(found or "")


async def move_cursor(tx: Transaction, inbox: Inbox, to: str, epoch: int) -> None:
    """Remembers that everything before `to` is safe; an older epoch never moves it."""
    await tx.execute(
        """
        INSERT INTO ingest.poll_cursor AS p (inbox_id, brand_id, cursor, epoch, polled_at, error)
        VALUES ($1, $2, $3, $4, $5, '')
        ON CONFLICT (inbox_id) DO UPDATE SET cursor = excluded.cursor, epoch = excluded.epoch,
            polled_at = excluded.polled_at WHERE p.epoch <= excluded.epoch
        """,
        inbox.id,
        inbox.brand_id,
        to,
        epoch,
        tx.now,
    )
