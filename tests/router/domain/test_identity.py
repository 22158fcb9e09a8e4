"""Which addresses are the same, and that merging and splitting leave a flat forest whatever comes in whatever order."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.identity import (
    MOST_ALIKE,
    Customer,
    Key,
    Likeness,
    People,
    Recognised,
    canonical,
    key_of,
    pair,
    telling,
)
from shared.events import Address

SHOP, OTHER = UUID(int=1), UUID(int=2)
INBOX, SECOND = UUID(int=11), UUID(int=12)


@pytest.mark.parametrize(
    ("kind", "told", "kept"),
    [
        ("phone", "+4915112345678", "+4915112345678"),
        ("phone", "4915112345678", "+4915112345678"),
        ("phone", " +49 (151) 1234-5678 ", "+4915112345678"),
        ("phone", "5215512345678", "+525512345678"),
        ("phone", "+525512345678", "+525512345678"),
        ("phone", "551187654321", "+5511987654321"),
        ("phone", "+5511987654321", "+5511987654321"),
        ("phone", "+551132654321", "+551132654321"),
        ("email", " Ina.Kunde@Example.COM ", "ina.kunde@example.com"),
        ("chat", "Ab12", "Ab12"),
    ],
)
def test_an_address_has_one_form(kind: str, told: str, kept: str) -> None:
    found = canonical(Address(kind=kind, value=told, name="Ina", verified_by="channel"))
    assert found == Address(kind=kind, value=kept, name="Ina", verified_by="channel")
    assert canonical(found) == found


@pytest.mark.parametrize(
    "told", ["PARCELS", "72345", "", "+", "+49151123456789012", "00491511234567", "+49 151 x", "٤٩١٥١١٢٣٤٥٦٧"]
)
def test_what_is_no_number_is_not_verified(told: str) -> None:
    found = canonical(Address(kind="phone", value=told, verified_by="channel"))
    assert (found.value, found.verified_by) == (told, None)


def test_a_verified_address_is_one_in_its_brand_and_a_claimed_one_in_its_inbox() -> None:
    verified = Address(kind="email", value="ina@example.com", verified_by="dmarc")
    claimed = Address(kind="email", value="ina@example.com")
    assert key_of(SHOP, INBOX, verified) == key_of(SHOP, SECOND, verified)
    assert key_of(SHOP, INBOX, verified) != key_of(OTHER, INBOX, verified)
    assert key_of(SHOP, INBOX, claimed) != key_of(SHOP, SECOND, claimed)
    assert key_of(SHOP, INBOX, claimed) != key_of(SHOP, INBOX, verified)


def test_what_too_many_share_tells_nobody_apart() -> None:
    few = [Likeness(UUID(int=n), UUID(int=n), "name") for n in range(MOST_ALIKE)]
    many = [Likeness(UUID(int=n), UUID(int=n), "matter 4711") for n in range(MOST_ALIKE + 1)]
    assert telling([*few, *many]) == few


def persons(count: int, brand: UUID = SHOP) -> list[Customer]:
    return [Customer(UUID(int=100 + n), brand, "", None) for n in range(count)]


def assert_flat(people: People) -> None:
    for customer in people.by_id.values():
        survivor = people.by_id[customer.root]
        assert survivor.survivor_id is None
        assert survivor.brand_id == customer.brand_id
        assert customer in people.group(customer.id)
        assert {c.root for c in people.group(customer.id)} == {customer.root}


COUNT = 7
STEPS = st.lists(st.tuples(st.sampled_from(["merge", "split"]), st.integers(0, COUNT - 1), st.integers(0, COUNT - 1)))


@given(STEPS)
def test_whatever_is_merged_and_split_the_forest_is_flat_and_its_groups_are_right(
    steps: list[tuple[str, int, int]],
) -> None:
    people = People(persons(COUNT))
    ids = sorted(people.by_id)
    # The same by sets of names, without survivors.
    expected = [{id_} for id_ in ids]
    for step, a, b in steps:
        mine = next(group for group in expected if ids[a] in group)
        if step == "merge":
            other = next(group for group in expected if ids[b] in group)
            merge = people.merge(ids[a], ids[b], "test")
            assert (merge is None) == (mine is other)
            if mine is not other:
                expected.remove(other)
                mine |= other
        else:
            rest = people.split(ids[a])
            assert (rest is None) == (len(mine) == 1)
            if rest is not None:
                mine.remove(ids[a])
                assert people.root_of(rest) == rest
                assert rest in mine
                expected.append({ids[a]})
        assert_flat(people)
        assert {frozenset(c.id for c in people.group(id_)) for id_ in ids} == set(map(frozenset, expected))
    # And as it would be loaded again.
    assert_flat(People(people.by_id.values()))


@given(st.lists(st.tuples(st.integers(0, COUNT - 1), st.integers(0, COUNT - 1))), st.randoms(use_true_random=False))
def test_automatic_links_give_the_same_groups_in_any_order(links: list[tuple[int, int]], dice: object) -> None:
    def groups(order: list[tuple[int, int]]) -> set[tuple[UUID, frozenset[UUID]]]:
        people = People(persons(COUNT))
        keys = [Key(SHOP, "phone", str(n), "") for n in range(COUNT)]
        recognised = Recognised(people, dict(zip(keys, people.by_id.values(), strict=True)))
        for a, b in order:
            recognised.link(keys[a], keys[b], "vouched")
        assert_flat(people)
        return {(c.root, frozenset(g.id for g in people.group(c.id))) for c in people.by_id.values()}

    shuffled = [(b, a) for a, b in links]
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    assert groups(links) == groups(shuffled)


def test_customers_of_two_brands_are_never_one() -> None:
    one, other = Customer(UUID(int=1), SHOP, "", None), Customer(UUID(int=2), OTHER, "", None)
    people = People([one, other])
    with pytest.raises(ValueError, match="brands"):
        people.merge(one.id, other.id, "test")
    assert one.root != other.root


def test_what_a_person_took_apart_is_linked_by_nobody_else() -> None:
    a, b, c = persons(3)
    keys = [Key(SHOP, "phone", str(n), "") for n in range(3)]
    recognised = Recognised(People([a, b, c]), dict(zip(keys, (a, b, c), strict=True)), refused=[pair(a.id, c.id)])
    recognised.link(keys[0], keys[1], "vouched")
    recognised.link(keys[1], keys[2], "vouched")
    assert (a.root == b.root, b.root == c.root) == (True, False), "also not by way of somebody else"
    assert recognised.suggestions() == {}


def test_a_claimed_address_is_only_suggested() -> None:
    a, b = persons(2)
    keys = [Key(SHOP, "email", "ina@example.com", ""), Key(SHOP, "email", "ina@example.com", str(INBOX))]
    recognised = Recognised(People([a, b]), dict(zip(keys, (a, b), strict=True)))
    recognised.link(keys[0], keys[1], "vouched")
    assert recognised.merges == []
    assert recognised.suggestions() == {pair(a.id, b.id): ["vouched"]}


def test_a_group_speaks_all_of_its_languages() -> None:
    a, b = persons(2)
    a.languages, b.languages = {"de": 2}, {"de": 1, "fr": 1}
    people = People([a, b])
    assert people.languages(a.id) == {"de": 2}
    people.merge(a.id, b.id, "test")
    assert people.languages(b.id) == {"de": 3, "fr": 1}
    people.split(b.id)
    assert people.languages(b.id) == {"de": 1, "fr": 1}
