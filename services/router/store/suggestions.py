"""Who may be one: found by what they have in common, kept for a person to confirm or refuse."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from services.router.domain.identity import MOST_ALIKE, Customer, Key, Likeness, Pair, pair
from shared.db.transaction import Transaction


@dataclass(slots=True)
class Wanted:
    """Who is compared with everybody else, and by what."""

    addresses: list[tuple[Key, UUID]] = field(default_factory=list)
    names: list[Customer] = field(default_factory=list)
    matters: list[tuple[Customer, str]] = field(default_factory=list)


async def alike(tx: Transaction, wanted: Wanted) -> dict[UUID, list[Likeness]]:
    """By customer, whom they are like in what; where too many share something, just more than say anything."""
    if not (wanted.addresses or wanted.names or wanted.matters):
        return {}
    rows = await tx.fetch(
        """
        SELECT f.mine, o.id, coalesce(o.survivor_id, o.id) AS root, f.reason
        FROM (
            SELECT k.mine, i.customer_id AS other, 'address ' || k.kind AS reason
            FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[]) AS k (mine, brand_id, kind, value)
            JOIN router.identity AS i USING (brand_id, kind, value) WHERE i.customer_id <> k.mine
            UNION ALL
            SELECT n.mine, l.id, 'name' FROM unnest($5::uuid[], $6::uuid[], $7::text[]) AS n (mine, brand_id, name)
            CROSS JOIN LATERAL (
                SELECT c.id FROM router.customer AS c
                WHERE c.brand_id = n.brand_id AND lower(c.name) = lower(n.name) AND c.id <> n.mine LIMIT $11
            ) AS l
            UNION ALL
            SELECT m.mine, l.id, 'matter ' || m.matter
            FROM unnest($8::uuid[], $9::uuid[], $10::text[]) AS m (mine, brand_id, matter)
            CROSS JOIN LATERAL (
                SELECT DISTINCT c.customer_id AS id FROM router.conversation AS c
                WHERE c.brand_id = m.brand_id AND c.matter = m.matter AND c.customer_id <> m.mine LIMIT $11
            ) AS l
        ) AS f
        JOIN router.customer AS o ON o.id = f.other
        ORDER BY f.mine, o.id
        """,
        [id_ for _, id_ in wanted.addresses],
        [key.brand_id for key, _ in wanted.addresses],
        [key.kind for key, _ in wanted.addresses],
        [key.value for key, _ in wanted.addresses],
        [c.id for c in wanted.names],
        [c.brand_id for c in wanted.names],
        [c.name for c in wanted.names],
        [c.id for c, _ in wanted.matters],
        [c.brand_id for c, _ in wanted.matters],
        [matter for _, matter in wanted.matters],
        MOST_ALIKE + 1,
    )
    found: dict[UUID, list[Likeness]] = {}
    for row in rows:
        found.setdefault(row["mine"], []).append(Likeness(row["id"], row["root"], row["reason"]))
    return found


async def refused(tx: Transaction, ids: Iterable[UUID]) -> list[Pair]:
    """The pairs of whom a person said that they are not one, where one of them is among these; by their survivors."""
    rows = await tx.fetch(
        """
        SELECT coalesce(a.survivor_id, a.id) AS one, coalesce(b.survivor_id, b.id) AS other
        FROM router.suggestion AS s
        JOIN router.customer AS a ON a.id = s.customer_id JOIN router.customer AS b ON b.id = s.other_id
        WHERE s.state = 'refused' AND (s.customer_id = ANY ($1::uuid[]) OR s.other_id = ANY ($1::uuid[]))
        """,
        sorted(ids),
    )
    return [pair(row["one"], row["other"]) for row in rows]


async def suggest(tx: Transaction, brands: Mapping[Pair, UUID], reasons: Mapping[Pair, Iterable[str]]) -> None:
    """Keeps the pairs with their reasons; what a person has answered stays answered."""
    pairs = sorted(brands)
    if not pairs:
        return
    await tx.execute(
        """
        INSERT INTO router.suggestion AS s (customer_id, other_id, brand_id, reasons, state, actor, at)
        SELECT r.one, r.other, r.brand_id, string_to_array(r.reasons, E'\\n'), 'open', 'router', $5
        FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) AS r (one, other, brand_id, reasons)
        ON CONFLICT (customer_id, other_id) DO UPDATE
        SET reasons = s.reasons || ARRAY(SELECT unnest(excluded.reasons) EXCEPT SELECT unnest(s.reasons))
        WHERE NOT s.reasons @> excluded.reasons
        """,
        [one for one, _ in pairs],
        [other for _, other in pairs],
        [brands[p] for p in pairs],
        # unnest flattens arrays of arrays.
        ["\n".join(" ".join(reason.split()) for reason in reasons[p]) for p in pairs],
        tx.now,
    )


async def of_group(tx: Transaction, ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """What is suggested or was refused of these customers and somebody else: by the other's survivor, one row each."""
    rows = await tx.fetch(
        """
        SELECT o.root, min(o.at) AS at, array_agg(DISTINCT o.reason) FILTER (WHERE o.state = 'open') AS reasons
        FROM (
            SELECT coalesce(c.survivor_id, c.id) AS root, s.at, s.state, u.reason
            FROM router.suggestion AS s
            JOIN router.customer AS c ON c.id = CASE WHEN s.customer_id = ANY ($1::uuid[]) THEN s.other_id
                                                     ELSE s.customer_id END
            CROSS JOIN LATERAL unnest(s.reasons) AS u (reason)
            WHERE s.state <> 'confirmed' AND (s.customer_id = ANY ($1::uuid[]) OR s.other_id = ANY ($1::uuid[]))
        ) AS o
        WHERE o.root <> ALL ($1::uuid[])
        GROUP BY o.root ORDER BY o.root
        """,
        list(ids),
    )
    return [dict(row) for row in rows]


async def answer(tx: Transaction, ones: Sequence[UUID], others: Sequence[UUID], state: str, actor: str) -> list[str]:
    """Confirms or refuses everything that is suggested of two groups; the reasons that had been given."""
    rows = await tx.fetch(
        """
        UPDATE router.suggestion SET state = $3, actor = $4, at = $5
        WHERE state <> 'confirmed' AND (customer_id = ANY ($1::uuid[]) AND other_id = ANY ($2::uuid[])
                                        OR customer_id = ANY ($2::uuid[]) AND other_id = ANY ($1::uuid[]))
        RETURNING reasons
        """,
        list(ones),
        list(others),
        state,
        actor,
        tx.now,
    )
    return sorted({reason for row in rows for reason in row["reasons"]})


async def refuse(tx: Transaction, brand_id: UUID, one: UUID, other: UUID, actor: str) -> None:
    """A person said that these two are not one, whatever is or will be suggested of them."""
    await tx.execute(
        """
        INSERT INTO router.suggestion (customer_id, other_id, brand_id, reasons, state, actor, at)
        VALUES ($1, $2, $3, '{split}', 'refused', $4, $5)
        ON CONFLICT (customer_id, other_id) DO UPDATE SET state = 'refused', actor = excluded.actor, at = excluded.at
        """,
        *pair(one, other),
        brand_id,
        actor,
        tx.now,
    )
