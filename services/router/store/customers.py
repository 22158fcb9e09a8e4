"""Identities and customers: found or made by exact address, under lock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from shared.db.transaction import Transaction
from shared.events import Address
from shared.ids import new_id

Key = tuple[UUID, str, str]  # brand, kind, value


@dataclass(slots=True)
class Customer:
    """A customer as decisions need it; `languages` counts what was established before."""

    id: UUID
    brand_id: UUID
    name: str
    country: str | None
    languages: dict[str, int] = field(default_factory=dict)
    changed: bool = False


async def find_or_make(tx: Transaction, addresses: Mapping[Key, Address]) -> dict[Key, Customer]:
    """The customer of each address, under lock (identities first, then customers).

    Addresses that nobody knows get a customer of their own; the unique key decides between two who make the same one.
    A merged customer's addresses give its survivor.
    """
    keys = sorted(addresses)
    made = await tx.fetch(
        """
        INSERT INTO router.identity (id, brand_id, kind, value, name, customer_id, verified_by, created_at)
        SELECT *, $8 FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::uuid[], $7::text[])
        ON CONFLICT (brand_id, kind, value) DO NOTHING
        RETURNING brand_id, customer_id, name
        """,
        [new_id() for _ in keys],
        *_columns(keys),
        [addresses[key].name for key in keys],
        [new_id() for _ in keys],
        [addresses[key].verified_by for key in keys],
        tx.now,
    )
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
    identities = await tx.fetch(
        """
        SELECT i.brand_id, i.kind, i.value, i.customer_id
        FROM unnest($1::uuid[], $2::text[], $3::text[]) AS k (brand_id, kind, value)
        JOIN router.identity AS i USING (brand_id, kind, value)
        ORDER BY i.id FOR UPDATE OF i
        """,
        *_columns(keys),
    )
    rows = await tx.fetch(
        """
        SELECT c.id, s.id AS survivor, s.brand_id, s.name, s.country, s.languages
        FROM router.customer AS c JOIN router.customer AS s ON s.id = coalesce(c.survivor_id, c.id)
        WHERE c.id = ANY ($1::uuid[]) ORDER BY s.id FOR UPDATE OF s
        """,
        [row["customer_id"] for row in identities],
    )
    survivors: dict[UUID, Customer] = {}
    by_id: dict[UUID, Customer] = {}
    for row in rows:
        known = Customer(row["survivor"], row["brand_id"], row["name"], row["country"], row["languages"])
        by_id[row["id"]] = survivors.setdefault(known.id, known)
    return {(row["brand_id"], row["kind"], row["value"]): by_id[row["customer_id"]] for row in identities}


def _columns(keys: Sequence[Key]) -> list[list[object]]:
    return [list(column) for column in zip(*keys, strict=True)] if keys else [[], [], []]


async def save(tx: Transaction, customers: Sequence[Customer]) -> None:
    """Writes what decisions learned of the customers."""
    changed = [customer for customer in customers if customer.changed]
    if not changed:
        return
    await tx.execute(
        """
        UPDATE router.customer AS c SET languages = r.languages, name = r.name, country = r.country
        FROM unnest($1::uuid[], $2::jsonb[], $3::text[], $4::text[]) AS r (id, languages, name, country)
        WHERE c.id = r.id
        """,
        [customer.id for customer in changed],
        [customer.languages for customer in changed],
        [customer.name for customer in changed],
        [customer.country for customer in changed],
    )
