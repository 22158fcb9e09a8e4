"""The SQL on the schema `responder`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg

from shared.channels.contract import Part
from shared.db.transaction import Transaction

# What a lease is longer than the channel's call may take, so that an expired one is of a process that is gone.
LEASE_MARGIN = timedelta(seconds=25)
UNFINISHED = "('waiting', 'sending', 'unknown')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A part that is ours to send now."""

    id: UUID
    brand_id: UUID
    reply_id: UUID
    conversation_id: UUID
    inbox_id: UUID
    account_id: UUID
    channel: str
    part: Part
    attempts: int
    started_at: datetime
    command: bytes
    expires_at: datetime
    traceparent: str


async def add_deliveries(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[UUID]:
    """New deliveries; those that were known already are left as they are. The ids of the new ones."""
    names = (
        "reply_id", "brand_id", "conversation_id", "inbox_id", "account_id", "channel", "number", "command", "state",
        "reason", "expires_at", "traceparent",
    )  # fmt: skip
    done = await tx.fetch(
        """
        INSERT INTO responder.delivery (reply_id, brand_id, conversation_id, inbox_id, account_id, channel, number,
            command, state, reason, expires_at, traceparent, created_at, told)
        SELECT *, $13, '' FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[],
            $7::integer[], $8::bytea[], $9::text[], $10::text[], $11::timestamptz[], $12::text[])
        ON CONFLICT (reply_id) DO NOTHING RETURNING reply_id
        """,
        *[[row[name] for row in rows] for name in names],
        tx.now,
    )
    return {row["reply_id"] for row in done}


async def add_parts(tx: Transaction, rows: Sequence[dict[str, Any]]) -> None:
    names = (
        "id", "brand_id", "reply_id", "conversation_id", "inbox_id", "account_id", "number", "position", "kind",
        "payload", "peer", "text_hash",
    )  # fmt: skip
    await tx.execute(
        """
        INSERT INTO responder.part (id, brand_id, reply_id, conversation_id, inbox_id, account_id, number, position,
            kind, payload, peer, text_hash, state, attempts, next_at, holder, receipt, reason, code)
        SELECT *, 'waiting', 0, $13, '', '', '', '' FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[],
            $5::uuid[], $6::uuid[], $7::integer[], $8::smallint[], $9::text[], $10::jsonb[], $11::text[], $12::text[])
        """,
        *[[row[name] for row in rows] for name in names],
        tx.now,
    )


async def claim(
    tx: Transaction,
    holder: str,
    free: dict[UUID, int],
    blocked: Sequence[UUID],
    broken: Sequence[UUID],
    default_free: int,
    most: int,
    call_within: Mapping[str, timedelta],
) -> list[Claimed]:
    """Parts that may leave now, written as `sending`: the heads of their conversations, a few of every account.

    `free` are the slots of accounts that have calls open, `blocked` the accounts whose circuit is open, `broken` the
    inboxes, `call_within` how long a channel's call may take; what no channel has is not claimed for long.
    """
    rows = await tx.fetch(
        f"""
        WITH due AS (
            SELECT p.id, p.account_id,
                   row_number() OVER (PARTITION BY p.account_id ORDER BY p.next_at, p.id) AS place
            FROM responder.part AS p
            WHERE p.state = 'waiting' AND p.next_at <= $2 AND NOT p.account_id = ANY ($4::uuid[])
              AND NOT p.inbox_id = ANY ($9::uuid[])
              AND NOT EXISTS (
                  SELECT FROM responder.part AS e
                  WHERE e.conversation_id = p.conversation_id AND e.state IN {UNFINISHED}
                    AND (e.number, e.position) < (p.number, p.position))
        ), chosen AS (
            SELECT d.id, d.place FROM due AS d
            LEFT JOIN unnest($5::uuid[], $6::integer[]) AS f (account_id, slots) USING (account_id)
            WHERE d.place <= coalesce(f.slots, $7)
            ORDER BY d.place LIMIT $8
        ), locked AS (
            SELECT p.id FROM responder.part AS p JOIN chosen USING (id)
            WHERE p.state = 'waiting' ORDER BY p.id FOR UPDATE OF p SKIP LOCKED
        )
        UPDATE responder.part AS p
        SET state = 'sending', attempts = attempts + 1, holder = $1, next_at = NULL,
            lease_until = $3::timestamptz + coalesce(
                (SELECT c.takes FROM unnest($10::text[], $11::interval[]) AS c (name, takes) WHERE c.name = d.channel),
                interval '0'
            ),
            started_at = coalesce(p.started_at, $2)
        FROM locked, responder.delivery AS d
        WHERE p.id = locked.id AND d.reply_id = p.reply_id
        RETURNING p.*, d.channel, d.command, d.expires_at, d.traceparent
        """,
        holder,
        tx.now,
        tx.now + LEASE_MARGIN,
        list(blocked),
        list(free),
        list(free.values()),
        default_free,
        most,
        list(broken),
        list(call_within),
        list(call_within.values()),
    )
    if rows:
        await tx.execute(
            """
            INSERT INTO responder.attempt (part_id, n, brand_id, started_at, outcome, code)
            SELECT *, $4, 'open', '' FROM unnest($1::uuid[], $2::smallint[], $3::uuid[])
            ON CONFLICT (part_id, n) DO UPDATE SET started_at = excluded.started_at, outcome = 'open', ended_at = NULL
            """,
            [row["id"] for row in rows],
            [row["attempts"] for row in rows],
            [row["brand_id"] for row in rows],
            tx.now,
        )
    return [_claimed(row) for row in rows]


def _claimed(row: asyncpg.Record) -> Claimed:
    return Claimed(
        id=row["id"],
        brand_id=row["brand_id"],
        reply_id=row["reply_id"],
        conversation_id=row["conversation_id"],
        inbox_id=row["inbox_id"],
        account_id=row["account_id"],
        channel=row["channel"],
        part=Part(row["kind"], row["payload"], row["peer"]),
        attempts=row["attempts"],
        started_at=row["started_at"],
        command=row["command"],
        expires_at=row["expires_at"],
        traceparent=row["traceparent"],
    )


async def lock_deliveries(tx: Transaction, reply_ids: Sequence[UUID]) -> dict[UUID, asyncpg.Record]:
    rows = await tx.fetch(
        "SELECT * FROM responder.delivery WHERE reply_id = ANY ($1::uuid[]) ORDER BY reply_id FOR UPDATE",
        sorted(reply_ids),
    )
    return {row["reply_id"]: row for row in rows}


async def parts_of(tx: Transaction, reply_ids: Sequence[UUID]) -> dict[UUID, list[asyncpg.Record]]:
    """All parts of the replies, in order, under lock."""
    rows = await tx.fetch(
        "SELECT * FROM responder.part WHERE reply_id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE", sorted(reply_ids)
    )
    found: dict[UUID, list[asyncpg.Record]] = {}
    for row in sorted(rows, key=lambda r: (r["reply_id"], r["position"])):
        found.setdefault(row["reply_id"], []).append(row)
    return found


async def settle(
    tx: Transaction, part_id: UUID, *, holder: str, attempts: int, state: str, next_at: datetime | None,
    external_id: str | None, reason: str, code: str, counts: bool,
) -> bool:  # fmt: skip
    """Writes what became of an attempt, where it is still this one's to say."""
    done = await tx.execute(
        """
        UPDATE responder.part SET state = $4, next_at = $5, lease_until = NULL, reason = $7, code = $8,
            external_id = coalesce($6, external_id),
            attempts = CASE WHEN $9 THEN attempts ELSE attempts - 1 END,
            started_at = CASE WHEN $4 = 'waiting' THEN NULL ELSE started_at END,
            accepted_at = CASE WHEN $4 = 'accepted' THEN coalesce(accepted_at, $10) ELSE accepted_at END
        WHERE id = $1 AND state = 'sending' AND holder = $2 AND attempts = $3
        """,
        part_id, holder, attempts, state, next_at, external_id, reason, code, counts, tx.now,
    )  # fmt: skip
    await tx.execute(
        "UPDATE responder.attempt SET ended_at = $3, outcome = $4, code = $5 WHERE part_id = $1 AND n = $2",
        part_id, attempts, tx.now, state, code,
    )  # fmt: skip
    return bool(done)


async def change_parts(
    tx: Transaction, part_ids: Sequence[UUID], state: str, *, reason: str = "", next_at: datetime | None = None
) -> None:
    """Parts that change without an attempt: withdrawn, refused behind an earlier one, waiting again, accepted."""
    await tx.execute(
        """
        UPDATE responder.part SET state = $2, reason = $3, next_at = $4, lease_until = NULL,
            accepted_at = CASE WHEN $2 = 'accepted' THEN coalesce(accepted_at, $5) ELSE accepted_at END
        WHERE id = ANY ($1::uuid[])
        """,
        list(part_ids), state, reason, next_at, tx.now,
    )  # fmt: skip


async def expire_leases(tx: Transaction, limit: int) -> list[UUID]:
    """Whatever a lost process was sending is unknown; the replies that this concerns."""
    rows = await tx.fetch(
        """
        UPDATE responder.part SET state = 'unknown', next_at = $1, lease_until = NULL, reason = 'process_lost'
        WHERE id IN (SELECT id FROM responder.part WHERE state = 'sending' AND lease_until < $1
                     ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED)
        RETURNING id, attempts, reply_id
        """,
        tx.now,
        limit,
    )
    await tx.execute(
        """
        UPDATE responder.attempt AS a SET outcome = 'unknown', ended_at = $3
        FROM unnest($1::uuid[], $2::smallint[]) AS r (part_id, n) WHERE a.part_id = r.part_id AND a.n = r.n
        """,
        [row["id"] for row in rows],
        [row["attempts"] for row in rows],
        tx.now,
    )
    return sorted({row["reply_id"] for row in rows})


async def unknown_due(tx: Transaction, limit: int) -> list[asyncpg.Record]:
    """Unknown parts that are to be asked about or given up now, under lock, with their delivery's channel.

    `taken` are the vendor's ids of the peer's other parts of that time.
    """
    return await tx.fetch(
        """
        SELECT p.*, d.channel, d.command, d.expires_at, ARRAY(
            SELECT o.external_id FROM responder.part AS o
            WHERE o.inbox_id = p.inbox_id AND o.peer = p.peer AND o.external_id IS NOT NULL AND o.id <> p.id
              AND o.started_at >= p.started_at - interval '1 day') AS taken
        FROM responder.part AS p
        JOIN responder.delivery AS d USING (reply_id)
        WHERE p.state = 'unknown' AND p.next_at IS NOT NULL AND p.next_at <= $1
        ORDER BY p.id LIMIT $2 FOR UPDATE OF p SKIP LOCKED
        """,
        tx.now,
        limit,
    )


async def postpone_unknown(tx: Transaction, part_id: UUID, next_at: datetime | None) -> None:
    """When to look at an unknown part again; None leaves it to a person."""
    await tx.execute("UPDATE responder.part SET next_at = $2 WHERE id = $1 AND state = 'unknown'", part_id, next_at)


async def resolve_unknown(
    tx: Transaction, part_id: UUID, state: str, external_id: str | None, next_at: datetime | None, reason: str
) -> None:
    """What was unknown is known, or is sent again."""
    await tx.execute(
        """
        UPDATE responder.part SET state = $2, external_id = coalesce($3, external_id), next_at = $4, reason = $5,
            accepted_at = CASE WHEN $2 = 'accepted' THEN $6 ELSE accepted_at END
        WHERE id = $1 AND state = 'unknown'
        """,
        part_id, state, external_id, next_at, reason, tx.now,
    )  # fmt: skip
    await tx.execute(
        "UPDATE responder.attempt SET outcome = $2 WHERE part_id = $1 AND outcome = 'unknown'",
        part_id, "resent" if state == "waiting" else state,
    )  # fmt: skip


async def times_resent(tx: Transaction, part_id: UUID) -> int:
    """How often a part was sent again though nobody could tell whether it had left."""
    return int(
        await tx.fetchval("SELECT count(*) FROM responder.attempt WHERE part_id = $1 AND outcome = 'resent'", part_id)
    )


# addresses that nothing is sent to


async def suppress(tx: Transaction, rows: Sequence[tuple[UUID, str, UUID, str, str]]) -> None:
    """(inbox, peer, brand, reason, code): nothing goes there until the peer writes again."""
    unique = list({(row[0], row[1]): row for row in rows}.values())
    await tx.execute(
        """
        INSERT INTO responder.suppression (inbox_id, peer, brand_id, reason, code, at)
        SELECT *, $6 FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[])
        ON CONFLICT (inbox_id, peer) DO UPDATE SET reason = excluded.reason, code = excluded.code, at = excluded.at
        """,
        *([row[n] for row in unique] for n in range(5)),
        tx.now,
    )


async def suppression_of(tx: Transaction, inbox_id: UUID, peer: str, heard_at: datetime | None) -> str | None:
    """The code for which nothing goes to a peer, None where it may; one that is older than `heard_at` is lifted."""
    if heard_at is not None:
        await tx.execute(
            "DELETE FROM responder.suppression WHERE inbox_id = $1 AND peer = $2 AND at < $3", inbox_id, peer, heard_at
        )
    code: str | None = await tx.fetchval(
        "SELECT code FROM responder.suppression WHERE inbox_id = $1 AND peer = $2", inbox_id, peer
    )
    return code


async def tell_deliveries(tx: Transaction, rows: Sequence[tuple[UUID, str, str, str]]) -> None:
    """(reply, state, reason, told)."""
    await tx.execute(
        """
        UPDATE responder.delivery AS d SET state = r.state, reason = r.reason, told = r.told
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS r (id, state, reason, told)
        WHERE d.reply_id = r.id
        """,
        *[list(column) for column in zip(*rows, strict=True)],
    )


# receipts and echoes


async def new_receipts(tx: Transaction, rows: Sequence[dict[str, Any]]) -> set[tuple[UUID, str]]:
    """Keeps what was not known; (inbox, key) of the new ones."""
    names = (
        "inbox_id", "key", "brand_id", "kind", "state", "at", "external_id", "peer", "watermark", "held_until", "data",
    )  # fmt: skip
    done = await tx.fetch(
        """
        INSERT INTO responder.receipt (inbox_id, key, brand_id, kind, state, at, external_id, peer, watermark,
                                       held_until, data)
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::timestamptz[],
            $7::text[], $8::text[], $9::timestamptz[], $10::timestamptz[], $11::bytea[])
        ON CONFLICT (inbox_id, key) DO NOTHING RETURNING inbox_id, key
        """,
        *[[row[name] for row in rows] for name in names],
    )
    return {(row["inbox_id"], row["key"]) for row in done}


async def parts_by_external_id(tx: Transaction, pairs: Sequence[tuple[UUID, str]]) -> list[asyncpg.Record]:
    return await tx.fetch(
        """
        SELECT p.* FROM responder.part AS p
        JOIN unnest($1::uuid[], $2::text[]) AS e (inbox_id, external_id) USING (inbox_id, external_id)
        ORDER BY p.id FOR UPDATE OF p
        """,
        [inbox for inbox, _ in pairs],
        [external for _, external in pairs],
    )


async def parts_by_id(tx: Transaction, pairs: Sequence[tuple[UUID, UUID]]) -> list[asyncpg.Record]:
    """Parts of those inboxes, under lock."""
    return await tx.fetch(
        """
        SELECT p.* FROM responder.part AS p
        JOIN unnest($1::uuid[], $2::uuid[]) AS e (inbox_id, id) USING (inbox_id, id)
        ORDER BY p.id FOR UPDATE OF p
        """,
        [inbox for inbox, _ in pairs],
        [id_ for _, id_ in pairs],
    )


async def parts_of_peers(tx: Transaction, peers: Sequence[tuple[UUID, str]], since: datetime) -> list[asyncpg.Record]:
    """What was tried towards these peers lately, under lock."""
    return await tx.fetch(
        """
        SELECT p.* FROM responder.part AS p
        WHERE p.id IN (
            SELECT q.id FROM unnest($1::uuid[], $2::text[]) AS e (inbox_id, peer)
            JOIN responder.part AS q ON q.inbox_id = e.inbox_id AND q.peer = e.peer AND q.started_at >= $3)
        ORDER BY p.id FOR UPDATE
        """,
        [inbox for inbox, _ in peers],
        [peer for _, peer in peers],
        since,
    )


async def set_receipts(tx: Transaction, rows: Sequence[tuple[UUID, str, str]]) -> None:
    """(part, receipt, why it failed)."""
    await tx.execute(
        """
        UPDATE responder.part AS p SET receipt = r.receipt, receipt_at = $4, code = r.code
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS r (id, receipt, code) WHERE p.id = r.id
        """,
        *([row[n] for row in rows] for n in range(3)),
        tx.now,
    )


async def prove(tx: Transaction, part_id: UUID, external_id: str) -> bool:
    """An echo or receipt proves that the vendor took an open part; whether it was open."""
    done = await tx.execute(
        """
        UPDATE responder.part SET state = 'accepted', external_id = coalesce(external_id, $2), next_at = NULL,
            lease_until = NULL, accepted_at = coalesce(accepted_at, $3)
        WHERE id = $1 AND (state IN ('sending', 'unknown')
                           OR (state = 'waiting' AND attempts > 0) OR (state = 'accepted' AND external_id IS NULL))
        """,
        part_id, external_id, tx.now,
    )  # fmt: skip
    return bool(done)


async def receipts_of(tx: Transaction, pairs: Sequence[tuple[UUID, str]]) -> list[asyncpg.Record]:
    """Receipts that came before their part was known by this external id."""
    return await tx.fetch(
        """
        SELECT r.* FROM responder.receipt AS r
        JOIN unnest($1::uuid[], $2::text[]) AS e (inbox_id, external_id) USING (inbox_id, external_id)
        WHERE r.kind = 'receipt'
        """,
        [inbox for inbox, _ in pairs],
        [external for _, external in pairs],
    )


async def watermark_of(tx: Transaction, inbox_id: UUID, peer: str) -> list[asyncpg.Record]:
    """The newest watermark of each state that this peer sent."""
    return await tx.fetch(
        "SELECT state, max(watermark) AS watermark FROM responder.receipt "
        "WHERE inbox_id = $1 AND peer = $2 AND watermark IS NOT NULL GROUP BY state",
        inbox_id,
        peer,
    )


async def echoes_held(tx: Transaction, limit: int) -> list[asyncpg.Record]:
    """Unmatched echoes whose time is up, or towards whose peer nothing is open any more; under lock."""
    return await tx.fetch(
        f"""
        SELECT r.* FROM responder.receipt AS r
        WHERE r.held_until IS NOT NULL AND (r.held_until <= $1 OR NOT EXISTS (
            SELECT FROM responder.part AS p
            WHERE p.inbox_id = r.inbox_id AND p.peer = r.peer AND p.state IN {UNFINISHED} AND p.attempts > 0))
        ORDER BY r.inbox_id, r.key LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        tx.now,
        limit,
    )


async def let_go(tx: Transaction, echoes: Sequence[tuple[UUID, str]], part_id: UUID | None = None) -> None:
    """These echoes are held no longer."""
    await tx.execute(
        """
        UPDATE responder.receipt AS r SET held_until = NULL, data = NULL, part_id = coalesce($3, part_id)
        FROM unnest($1::uuid[], $2::text[]) AS e (inbox_id, key) WHERE r.inbox_id = e.inbox_id AND r.key = e.key
        """,
        [inbox for inbox, _ in echoes],
        [key for _, key in echoes],
        part_id,
    )


async def still_held(tx: Transaction, echoes: Sequence[tuple[UUID, str]]) -> set[tuple[UUID, str]]:
    """Those of the echoes that nothing has explained."""
    rows = await tx.fetch(
        """
        SELECT r.inbox_id, r.key FROM responder.receipt AS r
        JOIN unnest($1::uuid[], $2::text[]) AS e (inbox_id, key) USING (inbox_id, key)
        WHERE r.held_until IS NOT NULL
        """,
        [inbox for inbox, _ in echoes],
        [key for _, key in echoes],
    )
    return {(row["inbox_id"], row["key"]) for row in rows}
