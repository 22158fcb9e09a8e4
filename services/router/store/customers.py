"""Identities and customers: found or made by exact address, under lock.

The lock of a survivor guards its whole group: whoever merges or splits holds the locks of all survivors concerned, so
the group of a locked survivor stands still.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import asyncpg

from services.router.domain.identity import Customer, Key, Merge, People
from services.router.store.screens import survivor
from shared.db.transaction import Transaction
from shared.events import Address
from shared.ids import new_id


@dataclass(frozen=True, slots=True)
class Found:
    """The customer of each address, everybody who is one with them, and who was made just now."""

    people: People
    by_key: Mapping[Key, Customer]
    made: frozenset[UUID]


async def find_or_make(tx: Transaction, addresses: Mapping[Key, Address]) -> Found:
    """The customers of canonical addresses, under lock (identities first, then survivors).

    Addresses that nobody knows get a customer of their own; the unique key decides between two who make the same one.
    """
    keys = sorted(addresses)
    made = await tx.fetch(
        """
        INSERT INTO router.identity
            (id, brand_id, kind, value, scope, name, customer_id, verified_by, created_at)
        SELECT *, $9 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                                 $8::text[])
        ON CONFLICT (brand_id, kind, value, scope) DO NOTHING
        RETURNING brand_id, customer_id, name
        """,
        [new_id() for _ in keys],
        *_columns(keys),
        [addresses[key].name for key in keys],
        [new_id() for _ in keys],
        [addresses[key].verified_by for key in keys],
        tx.now,
    )
    if made:
        await _make(tx, made)
    identities = await tx.fetch(
        """
        SELECT i.brand_id, i.kind, i.value, i.scope, i.customer_id
        FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[]) AS k (brand_id, kind, value, scope)
        JOIN router.identity AS i USING (brand_id, kind, value, scope)
        ORDER BY i.id FOR UPDATE OF i
        """,
        *_columns(keys),
    )
    people = await lock_groups(tx, [row["customer_id"] for row in identities])
    by_key = {
        Key(row["brand_id"], row["kind"], row["value"], row["scope"]): people.by_id[row["customer_id"]]
        for row in identities
    }
    return Found(people, by_key, frozenset(row["customer_id"] for row in made))


async def _make(tx: Transaction, made: Sequence[asyncpg.Record]) -> None:
    """A customer for each new identity, whose reference to it is looked at when the transaction commits."""
    await tx.execute(
        """
        INSERT INTO router.customer (id, brand_id, name, languages, created_at)
        SELECT id, brand_id, name, '{}', $4 FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS r (id, brand_id, name)
        """,
        [row["customer_id"] for row in made],
        [row["brand_id"] for row in made],
        [row["name"] for row in made],
        tx.now,
    )


def _columns(keys: Sequence[Key]) -> list[list[object]]:
    return [list(column) for column in zip(*keys, strict=True)] if keys else [[], [], [], []]


async def lock_groups(tx: Transaction, ids: Sequence[UUID]) -> People:
    """These customers and everybody who is one with them, under the locks of their survivors in the order of ids.

    Raises asyncpg.SerializationError where somebody merged or split them while we waited: it is to be done again.
    """
    # Not FOR UPDATE, which a suggestion's reference to somebody else's customer would have to wait for.
    locked = await tx.fetch(
        f"""
        SELECT s.id FROM router.customer AS s
        WHERE s.id IN (SELECT {survivor("c")} FROM router.customer AS c WHERE c.id = ANY ($1::uuid[]))
        ORDER BY s.id FOR NO KEY UPDATE
        """,
        list(ids),
    )
    roots = {row["id"] for row in locked}
    rows = await tx.fetch(
        """
        SELECT c.id, c.brand_id, c.name, c.country, c.languages, c.survivor_id FROM router.customer AS c
        WHERE c.id = ANY ($1::uuid[]) OR c.survivor_id = ANY ($1::uuid[]) ORDER BY c.id
        """,
        sorted(roots),
    )
    people = People(Customer(**row) for row in rows)
    if any(c.root not in roots for c in people.by_id.values()) or not people.by_id.keys() >= set(ids):
        raise asyncpg.SerializationError("somebody merged or split these customers meanwhile")
    return people


async def save(tx: Transaction, people: People) -> None:
    """Writes what decisions learned of the customers, and whom they belong to."""
    changed = [customer for customer in people.by_id.values() if customer.changed]
    if not changed:
        return
    await tx.execute(
        """
        UPDATE router.customer AS c
        SET languages = r.languages, name = r.name, country = r.country, survivor_id = r.survivor_id
        FROM unnest($1::uuid[], $2::jsonb[], $3::text[], $4::text[], $5::uuid[])
            AS r (id, languages, name, country, survivor_id)
        WHERE c.id = r.id
        """,
        [customer.id for customer in changed],
        [customer.languages for customer in changed],
        [customer.name for customer in changed],
        [customer.country for customer in changed],
        [customer.survivor_id for customer in changed],
    )


async def note_merges(tx: Transaction, merges: Sequence[Merge], actor: str) -> None:
    """Into the audit: who became one with whom, and why."""
    if not merges:
        return
    await tx.execute(
        """
        INSERT INTO router.audit (id, brand_id, at, actor, action, data)
        SELECT id, brand_id, $3, $4, 'customer.merged', data
        FROM unnest($1::uuid[], $2::uuid[], $5::jsonb[]) AS r (id, brand_id, data)
        """,
        [new_id() for _ in merges],
        [merge.brand_id for merge in merges],
        tx.now,
        actor,
        [{"customers": [merge.survivor, merge.absorbed], "because": [merge.because]} for merge in merges],
    )
