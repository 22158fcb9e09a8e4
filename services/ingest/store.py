"""The SQL on the schema `ingest`."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
import msgspec

from shared.accounts import Inbox
from shared.db.transaction import Transaction
from shared.events import Attachment, Event, FetchMedia


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


async def add_media_jobs(tx: Transaction, wanted: Sequence[tuple[Event, FetchMedia]]) -> None:
    """A job per attachment, due now; those that are known already stay as they are."""
    await tx.execute(
        """
        INSERT INTO ingest.media_job (message_id, position, brand_id, inbox_id, conversation_id, attachment, state,
                                      attempts, next_at, reason, created_at)
        SELECT *, 'waiting', 0, $7, '', $7
        FROM unnest($1::uuid[], $2::smallint[], $3::uuid[], $4::uuid[], $5::uuid[], $6::jsonb[])
        ON CONFLICT (message_id, position) DO NOTHING
        """,
        [data.message_id for _, data in wanted],
        [data.position for _, data in wanted],
        [event.brand_id for event, _ in wanted],
        [event.inbox_id for event, _ in wanted],
        [data.conversation_id for _, data in wanted],
        [data.attachment for _, data in wanted],
        tx.now,
    )


async def claim_media(tx: Transaction, full: Sequence[UUID], most: int, lease: timedelta) -> list[asyncpg.Record]:
    """At most so many due jobs, ours until the lease is over, but none of the inboxes that are `full`."""
    return await tx.fetch(
        """
        WITH due AS (
            SELECT message_id, position FROM ingest.media_job
            WHERE state = 'waiting' AND next_at <= $1 AND inbox_id <> ALL ($2::uuid[])
            ORDER BY next_at LIMIT $3 FOR UPDATE SKIP LOCKED
        )
        UPDATE ingest.media_job AS j SET attempts = least(attempts + 1, 32000), next_at = $4 FROM due
        WHERE j.message_id = due.message_id AND j.position = due.position
        RETURNING j.*, $1::timestamptz AS now
        """,
        tx.now,
        list(full),
        most,
        tx.now + lease,
    )


async def settle_media(tx: Transaction, job: asyncpg.Record, state: str, next_at: datetime, reason: str) -> bool:
    """Writes what became of a claimed job; False where another claim was made meanwhile."""
    done = await tx.execute(
        """
        UPDATE ingest.media_job SET state = $4, next_at = $5, reason = $6
        WHERE message_id = $1 AND position = $2 AND attempts = $3 AND state = 'waiting'
        """,
        job["message_id"],
        job["position"],
        job["attempts"],
        state,
        next_at,
        reason,
    )
    return done == 1


async def forget_media(tx: Transaction, before: datetime) -> None:
    """Drops jobs that are over for long."""
    await tx.execute("DELETE FROM ingest.media_job WHERE state <> 'waiting' AND created_at < $1", before)


def attachment_of(job: asyncpg.Record) -> Attachment:
    """The attachment as the vendor told of it."""
    return msgspec.convert(job["attachment"], Attachment)
