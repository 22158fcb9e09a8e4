"""Who gets what: never above capacity, nobody idle while a servable conversation waits, the same whatever the order."""

from datetime import timedelta
from random import Random
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.domain.matching import FreeAgent, Match, Waiting, match
from tests.router.world import MONDAY

BRAND, OTHER = UUID(int=1), UUID(int=2)
POOLS = [UUID(int=100 + n) for n in range(4)]


def waiting(n: int, *, pools: list[int], weight: int = 1, due: int | None = None, **more: object) -> Waiting:
    return Waiting(
        conversation_id=UUID(int=1000 + n),
        brand_id=more.pop("brand", BRAND),  # type: ignore[arg-type]
        sort_at=MONDAY + timedelta(minutes=due if due is not None else n),
        queued_at=MONDAY,
        weight=weight,
        pools=[(POOLS[p], step) for step, p in enumerate(pools)],
        **more,  # type: ignore[arg-type]
    )


def agent(
    n: int, *, pools: dict[int, str], spare: int = 1, idle: int = 0, brands: tuple[UUID, ...] = (BRAND,)
) -> FreeAgent:
    return FreeAgent(
        agent_id=UUID(int=n),
        spare=spare,
        idle_since=MONDAY - timedelta(minutes=idle),
        pools={POOLS[p]: level for p, level in pools.items()},  # type: ignore[misc]
        brands=frozenset(brands),
    )


def pairs(matches: list[Match]) -> list[tuple[int, int]]:
    return [(m.conversation_id.int - 1000, m.agent_id.int) for m in matches]


def test_a_native_of_a_later_step_goes_before_a_fluent_one_of_an_earlier() -> None:
    agents = [agent(1, pools={0: "fluent"}, spare=5), agent(2, pools={1: "native"})]
    assert pairs(match([waiting(1, pools=[0, 1])], agents, MONDAY)) == [(1, 2)]


def test_the_most_urgent_is_served_first() -> None:
    later, sooner = waiting(1, pools=[0], due=60), waiting(2, pools=[0], due=5)
    assert pairs(match([later, sooner], [agent(1, pools={0: "native"})], MONDAY)) == [(2, 1)]


def test_most_spare_capacity_then_longest_idle() -> None:
    agents = [
        agent(1, pools={0: "native"}, spare=1, idle=60),
        agent(2, pools={0: "native"}, spare=3, idle=1),
        agent(3, pools={0: "native"}, spare=3, idle=9),
    ]
    assert pairs(match([waiting(1, pools=[0])], agents, MONDAY)) == [(1, 3)]


def test_the_customers_last_agent_is_preferred_among_equals_for_three_days() -> None:
    agents = [agent(1, pools={0: "native"}, spare=5), agent(2, pools={0: "native"}, spare=1)]
    yesterday, last_week = MONDAY - timedelta(days=1), MONDAY - timedelta(days=7)
    same = waiting(1, pools=[0], last_agent_id=UUID(int=2), last_agent_at=yesterday)
    (found,) = match([same], agents, MONDAY)
    assert (found.agent_id.int, found.same_agent) == (2, True)
    long_ago = waiting(1, pools=[0], last_agent_id=UUID(int=2), last_agent_at=last_week)
    assert pairs(match([long_ago], agents, MONDAY)) == [(1, 1)]


def test_who_was_passed_over_is_said() -> None:
    agents = [
        agent(1, pools={0: "native"}, spare=9),
        agent(2, pools={0: "native"}, spare=8, brands=(OTHER,)),
        agent(3, pools={0: "native"}, spare=1),
        agent(4, pools={0: "native"}, spare=2),
    ]
    (found,) = match([waiting(1, pools=[0], weight=2, declined_by=frozenset({UUID(int=1)}))], agents, MONDAY)
    assert found.agent_id.int == 4
    assert [(who.int, why) for who, why in found.passed_over] == [
        (1, "declined it in this round"),
        (2, "does not work for this brand"),
    ]


def test_what_is_overtaken_is_on_record() -> None:
    heavy, light = waiting(1, pools=[0], weight=3), waiting(2, pools=[0])
    (found,) = match([heavy, light], [agent(1, pools={0: "native"}, spare=2)], MONDAY)
    assert (found.conversation_id, list(found.overtook)) == (light.conversation_id, [heavy.conversation_id])


conversations = st.lists(
    st.builds(
        waiting,
        st.integers(0, 10_000),
        pools=st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        weight=st.integers(1, 3),
        due=st.integers(0, 30),
        brand=st.sampled_from([BRAND, OTHER]),
        declined_by=st.frozensets(st.integers(1, 12).map(lambda n: UUID(int=n)), max_size=2),
    ),
    max_size=30,
    unique_by=lambda w: w.conversation_id,
)
floors = st.lists(
    st.builds(
        agent,
        st.integers(1, 12),
        pools=st.dictionaries(st.integers(0, 3), st.sampled_from(["native", "fluent"]), min_size=1, max_size=3),
        spare=st.integers(0, 4),
        idle=st.integers(0, 5),
        brands=st.sampled_from([(BRAND,), (OTHER,), (BRAND, OTHER)]),
    ),
    max_size=12,
    unique_by=lambda a: a.agent_id,
)


@settings(max_examples=200, deadline=None)
@given(conversations, floors, st.randoms(use_true_random=False))
def test_matching_keeps_its_promises(queue: list[Waiting], floor: list[FreeAgent], random: Random) -> None:
    matches = match(queue, floor, MONDAY)
    by_id = {w.conversation_id: w for w in queue}
    load: dict[UUID, int] = {}
    for found in matches:
        load[found.agent_id] = load.get(found.agent_id, 0) + by_id[found.conversation_id].weight
    agents = {a.agent_id: a for a in floor}
    assert all(units <= agents[id_].spare for id_, units in load.items()), "above capacity"
    assert len({m.conversation_id for m in matches}) == len(matches), "given away twice"
    left = [w for w in queue if w.conversation_id not in {m.conversation_id for m in matches}]
    for conversation in left:
        for one in floor:
            fits = (
                any(pool in one.pools for pool, _ in conversation.pools)
                and conversation.brand_id in one.brands
                and one.agent_id not in conversation.declined_by
                and one.spare - load.get(one.agent_id, 0) >= conversation.weight
            )
            assert not fits, "waits although somebody eligible has room"
    random.shuffle(queue)
    random.shuffle(floor)
    assert match(queue, floor, MONDAY) == matches
