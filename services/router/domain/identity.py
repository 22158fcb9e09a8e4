"""Who wrote: which addresses are one customer, which may be, and why.

Every address brings a customer of its own. That two of them are one is a merge: it points at the one who survives, so
it can be undone, and a conversation stays with the customer whose address opened it.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

import msgspec

from shared.events import Address

# Digits without a plus are a number that lost it; a short code has fewer.
SHORTEST, LONGEST = 8, 15
# What vendors write in two ways: Mexican mobiles with a 1 that went in 2019, Brazilian ones without their newer 9.
SAME_NUMBER = (
    (re.compile(r"\+521(\d{10})"), r"+52\1"),
    (re.compile(r"\+55(\d\d)([6-9]\d{7})"), r"+55\g<1>9\2"),
)
# What more customers than this share (a name, an order of a whole firm) does not tell them apart from anybody.
MOST_ALIKE = 5


# Two customers, the smaller id first.
Pair = tuple[UUID, UUID]


def pair(one: UUID, other: UUID) -> Pair:
    return (one, other) if one < other else (other, one)


class Key(NamedTuple):
    """What makes an address one: a verified one within its brand (`scope` is empty), any other within its inbox."""

    brand_id: UUID
    kind: str
    value: str
    scope: str


def canonical(address: Address) -> Address:
    """The address in the form in which it is compared: a phone number in E.164, mail in lower case.

    A phone address that is no number (a sender's name in letters, a short code) is anybody's, so it is not verified.
    """
    if address.kind == "phone":
        number = _e164(address.value)
        if number is None:
            return msgspec.structs.replace(address, value=address.value.strip(), verified_by=None)
        return msgspec.structs.replace(address, value=number)
    if address.kind == "email":
        return msgspec.structs.replace(address, value=address.value.strip().lower())
    return address


def _e164(value: str) -> str | None:
    digits = re.sub(r"[\s().+-]", "", value)
    if not (digits.isascii() and digits.isdigit() and SHORTEST <= len(digits) <= LONGEST) or digits.startswith("0"):
        return None
    number = f"+{digits}"
    return next((form.sub(one, number) for form, one in SAME_NUMBER if form.fullmatch(number)), number)


def key_of(brand_id: UUID, inbox_id: UUID, address: Address) -> Key:
    """Of a canonical address. Nobody who only claims an address shares its verified owner's key."""
    return Key(brand_id, address.kind, address.value, "" if address.verified_by else str(inbox_id))


@dataclass(slots=True)
class Customer:
    """Whom one address brought; `languages` counts what their own words from there established."""

    id: UUID
    brand_id: UUID
    name: str
    country: str | None
    languages: dict[str, int] = field(default_factory=dict)
    survivor_id: UUID | None = None
    changed: bool = False

    @property
    def root(self) -> UUID:
        """The one who stands for all who were merged."""
        return self.survivor_id or self.id


@dataclass(frozen=True, slots=True)
class Merge:
    """Two groups became one: `absorbed` and everybody of theirs belong to `survivor` now."""

    brand_id: UUID
    survivor: UUID
    absorbed: UUID
    because: str


class People:
    """Whole groups of merged customers: a flat forest, whatever is merged and split in whatever order."""

    def __init__(self, customers: Iterable[Customer] = ()) -> None:
        self.by_id: dict[UUID, Customer] = {}
        self._groups: dict[UUID, list[Customer]] = {}
        for customer in customers:
            self.by_id[customer.id] = customer
            self._groups.setdefault(customer.root, []).append(customer)

    def root_of(self, id_: UUID) -> UUID:
        """Of somebody who is not among these people: themself."""
        found = self.by_id.get(id_)
        return found.root if found else id_

    def group(self, id_: UUID) -> Sequence[Customer]:
        """Everybody who is one with this customer, themself included."""
        return self._groups[self.by_id[id_].root]

    def languages(self, id_: UUID) -> dict[str, int]:
        """What all of the group's words established."""
        total: Counter[str] = Counter()
        for customer in self.group(id_):
            total.update(customer.languages)
        return dict(total)

    def merge(self, one: UUID, other: UUID, because: str) -> Merge | None:
        """Makes them one; the older survives. None where they are one already. Raises ValueError across brands."""
        survivor, absorbed = sorted((self.by_id[one].root, self.by_id[other].root))
        if survivor == absorbed:
            return None
        brand_id = self.by_id[survivor].brand_id
        if brand_id != self.by_id[absorbed].brand_id:
            raise ValueError("customers of two brands are never one")
        moved = self._groups.pop(absorbed)
        _point(moved, survivor)
        self._groups[survivor] += moved
        return Merge(brand_id, survivor, absorbed, because)

    def split(self, id_: UUID) -> UUID | None:
        """Takes one out of their group: who stands for the rest, None where there is no rest."""
        alone = self.by_id[id_]
        rest = [customer for customer in self._groups[alone.root] if customer is not alone]
        if not rest:
            return None
        del self._groups[alone.root]
        survivor = alone.root if alone.survivor_id else min(customer.id for customer in rest)
        _point(rest, survivor)
        _point([alone], alone.id)
        self._groups |= {survivor: rest, alone.id: [alone]}
        return survivor


def _point(customers: Iterable[Customer], survivor: UUID) -> None:
    for customer in customers:
        wanted = None if customer.id == survivor else survivor
        if customer.survivor_id != wanted:
            customer.survivor_id, customer.changed = wanted, True


@dataclass(frozen=True, slots=True)
class Likeness:
    """Somebody who has something in common with a customer: `root` stands for their group."""

    customer_id: UUID
    root: UUID
    reason: str


def telling(likenesses: Sequence[Likeness]) -> list[Likeness]:
    """Those of one customer that say something: what too many share is left out."""
    shared_by = Counter(likeness.reason for likeness in set(likenesses))
    return [likeness for likeness in likenesses if shared_by[likeness.reason] <= MOST_ALIKE]


def says_who(name: str) -> bool:
    """Whether a name is more than a first name."""
    return len(name.split()) > 1


@dataclass(slots=True)
class Recognised:
    """Who a batch is from: loaded once, folded as customers become one, saved once."""

    people: People = field(default_factory=People)
    by_key: Mapping[Key, Customer] = field(default_factory=dict)
    # By customer; only what says something.
    alike: Mapping[UUID, Sequence[Likeness]] = field(default_factory=dict)
    # Survivors of whom a person said that they are not one.
    refused: Sequence[Pair] = ()
    merges: list[Merge] = field(default_factory=list)
    suggested: dict[Pair, dict[str, None]] = field(default_factory=dict)
    of_matter: dict[tuple[UUID, str], dict[UUID, None]] = field(default_factory=dict)

    def customer(self, brand_id: UUID, inbox_id: UUID, address: Address) -> Customer:
        """Whom the address brought. Raises KeyError for one that was not loaded."""
        return self.by_key[key_of(brand_id, inbox_id, canonical(address))]

    def is_refused(self, one: UUID, other: UUID) -> bool:
        wanted = pair(self.people.root_of(one), self.people.root_of(other))
        return any(pair(self.people.root_of(a), self.people.root_of(b)) == wanted for a, b in self.refused)

    def link(self, one: Key, other: Key, because: str) -> None:
        """Of two addresses that the vendor calls one person's: one customer from now on where both are verified.

        An address that is only claimed is never linked without a person's word, nor is what a person took apart.
        """
        a, b = self.by_key[one], self.by_key[other]
        if one.scope or other.scope or self.is_refused(a.id, b.id):
            self.suggest(a, b.id, because)
        elif (merge := self.people.merge(a.id, b.id, because)) is not None:
            self.merges.append(merge)

    def compare(self, customer: Customer, matter: str | None) -> None:
        """Suggests whoever is like the customer, among those who were there before and in this batch."""
        for likeness in self.alike.get(customer.id, ()):
            self.suggest(customer, likeness.root, likeness.reason)
        if matter is not None:
            others = self.of_matter.setdefault((customer.brand_id, matter), {})
            for other in [id_ for id_ in others if id_ != customer.id][:MOST_ALIKE]:
                self.suggest(customer, other, f"matter {matter}")
            others[customer.id] = None

    def suggest(self, customer: Customer, other: UUID, reason: str) -> None:
        reasons = self.suggested.setdefault(pair(customer.id, other), {})
        reasons[reason] = None

    def suggestions(self) -> dict[Pair, list[str]]:
        """What remains to be asked of a person once everything is folded: by survivors."""
        remaining: dict[Pair, dict[str, None]] = {}
        for (one, other), reasons in self.suggested.items():
            roots = pair(self.people.root_of(one), self.people.root_of(other))
            if roots[0] != roots[1] and not self.is_refused(*roots):
                remaining.setdefault(roots, {}).update(reasons)
        return {roots: list(reasons) for roots, reasons in remaining.items()}

    def brand_of(self, roots: Pair) -> UUID:
        """At least one of the two was loaded."""
        return next(self.people.by_id[id_].brand_id for id_ in roots if id_ in self.people.by_id)
