"""The live stream: every change once, in the order of commits, to those who may see it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from services.router import stream as streams
from services.router.domain.conversation import Assigned, Change, Entry, Resolved
from services.router.store import agents, changes, conversations
from services.router.stream import MOST_PENDING, Reader, Rights, Stream
from shared.background import background
from shared.db.transaction import Transaction
from tests.router.world import World, id_of

BOTH = frozenset({id_of("shop"), id_of("other")})


def a_stream(w: World, rights: Mapping[str, Rights] | None = None, stopping: asyncio.Event | None = None) -> Stream:
    async def recheck(_tx: Transaction, tokens: Sequence[str]) -> dict[str, Rights]:
        known = rights if rights is not None else dict.fromkeys(tokens, Rights(BOTH, None))
        return {token: known[token] for token in tokens if token in known}

    return Stream(w.router, recheck, stopping or asyncio.Event(), alone=False)


def parsed(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Name and data of each event, as a browser reads them."""
    found = []
    for block in data.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            assert json.loads(fields["data"])["seq"] == int(fields["id"])
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@asynccontextmanager
async def reading(
    stream: Stream, after: int | None = None, *brands: str, agent: str | None = None, token: str = "t"
) -> AsyncIterator[AsyncIterator[tuple[str, dict[str, Any]]]]:
    rights = Rights(frozenset(map(id_of, brands)) or BOTH, id_of(agent) if agent else None)
    async with stream.reading(Reader(token, rights, only_own=agent is not None), after) as told:

        async def events() -> AsyncIterator[tuple[str, dict[str, Any]]]:
            async for data in told:
                for one in parsed(data):
                    yield one

        yield events()


async def some(events: AsyncIterator[tuple[str, dict[str, Any]]], count: int) -> list[tuple[str, dict[str, Any]]]:
    found = []
    async with asyncio.timeout(10):
        async for one in events:
            found.append(one)
            if len(found) == count:
                break
    return found


async def stored(w: World) -> list[tuple[UUID, int]]:
    rows = await w.fetch("SELECT conversation_id, max(n) AS n FROM router.history GROUP BY 1")
    return [(row["conversation_id"], row["n"]) for row in rows]


async def test_what_another_router_committed_is_found_between_the_looks_at_rights(
    w: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tail looks at everything now and then for its readers' sake, which must not be what finds changes."""
    monkeypatch.setattr(streams, "CHECK_EVERY", 600.0)
    monkeypatch.setattr(streams, "HEARTBEAT", 600.0)
    stream = a_stream(w)
    async with stream.running(), reading(stream) as events:
        await some(events, 1)
        for n in range(3):
            await w.receive(w.message(sender=f"k{n}"))
            ((name, _),) = await some(events, 1)
            assert name == "queued"


async def test_a_quiet_stream_says_now_and_then_that_it_stands(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT", 0.3)
    monkeypatch.setattr(streams, "BEAT_EVERY", 0.05)
    stream = a_stream(w)
    async with stream.running(), stream.reading(Reader("t", Rights(BOTH, None)), None) as told, asyncio.timeout(10):
        assert b"event: begin" in await anext(told)
        for _ in range(2):
            started = asyncio.get_running_loop().time()
            assert await anext(told) == b": heartbeat\n\n"
            assert asyncio.get_running_loop().time() - started > 0.2


async def test_whoever_does_not_read_is_not_cut_by_a_heartbeat_and_hears_of_none() -> None:
    reader = Reader("t", Rights(BOTH, None))
    for seq in range(MOST_PENDING):
        reader.offer(seq, b"%d," % seq)
    reader.beat()
    assert not reader.is_over
    assert reader.take(-1) == b"".join(b"%d," % seq for seq in range(MOST_PENDING))


async def test_a_reader_is_told_what_happens_from_now_on(w: World) -> None:
    await w.receive(w.message(sender="earlier"))
    stream = a_stream(w)
    async with stream.running(), reading(stream) as events:
        (begin,) = await some(events, 1)
        assert begin[0] == "begin"
        await w.receive(w.message(sender="k1"))
        (queued,) = await some(events, 1)
        assert queued[0] == "queued"
        assert queued[1]["seq"] > begin[1]["seq"]
        assert queued[1]["brand_id"] == str(id_of("shop"))
        assert queued[1]["language"] == "de"
        # What was written stays behind the API's own rights.
        assert queued[1].keys() == {"seq", "kind", "brand_id", "conversation_id", "n", "at", "agent_id", "language"}


async def test_whoever_was_away_is_told_what_they_missed_and_nothing_twice(w: World) -> None:
    stream = a_stream(w)
    async with stream.running():
        async with reading(stream) as events:
            place = (await some(events, 1))[0][1]["seq"]
            await w.receive(w.message(sender="k1"))
            seen = await some(events, 1)
        await w.receive(w.message(sender="k2"), w.message(sender="k3"))
        await asyncio.sleep(0.2)
        async with reading(stream, seen[-1][1]["seq"]) as events:
            missed = await some(events, 2)
            await w.receive(w.message(sender="k4"))
            later = await some(events, 1)
        assert [n for name, _ in (*missed, *later) for n in [name]] == ["queued"] * 3
        numbers = [event["seq"] for _, event in (*seen, *missed, *later)]
        assert numbers == sorted(set(numbers))
        async with reading(stream, place) as events:
            assert [e["seq"] for _, e in await some(events, 4)] == numbers


async def test_nobody_is_told_of_another_brand(w: World) -> None:
    stream = a_stream(w, {"t": Rights(frozenset({id_of("other")}), None)})
    async with stream.running(), reading(stream, None, "other") as events:
        await some(events, 1)
        await w.receive(w.message(sender="k1"))
        await w.receive(w.message(inbox="other-chat", sender="k2"))
        ((_, told),) = await some(events, 1)
        assert told["brand_id"] == str(id_of("other"))


async def test_an_agent_is_told_of_all_that_happens_to_their_conversations_and_of_no_others(w: World) -> None:
    async def change(id_: UUID, entry: Entry) -> None:
        async with w.router.transaction() as tx:
            change = Change.of((await conversations.lock(tx, [id_]))[id_], tx.now)
            change.record(entry, "anna")
            await conversations.save(tx, [change], await w.cache.current(tx))

    stream = a_stream(w, {"t": Rights(BOTH, id_of("anna"))})
    async with stream.running(), reading(stream, agent="anna") as events:
        await some(events, 1)
        await w.receive(w.message(sender="k1"))
        mine = await w.value("SELECT id FROM router.conversation")
        await change(mine, Assigned(agent_id=id_of("anna"), because="claimed"))
        await w.receive(w.message(sender="k1"), w.message(sender="k2"))
        await change(mine, Resolved(because="answered"))
        told = await some(events, 3)
        assert [name for name, _ in told] == ["assigned", "changed", "resolved"]
        ids = {(event["conversation_id"], event["agent_id"]) for _, event in told}
        assert ids == {(str(mine), str(id_of("anna")))}


@pytest.mark.parametrize("after", [10**12, 2**62], ids=["future", "far future"])
async def test_a_place_that_was_never_given_out_means_looking_again(w: World, after: int) -> None:
    stream = a_stream(w)
    async with stream.running(), reading(stream, after) as events:
        ((name, _),) = await some(events, 1)
        assert name == "resync"
        await w.receive(w.message())
        assert (await some(events, 1))[0][0] == "queued"


async def test_a_place_that_is_not_kept_any_more_means_looking_again(w: World) -> None:
    stream = a_stream(w)
    async with stream.running():
        async with reading(stream) as events:
            place = (await some(events, 1))[0][1]["seq"]
            await w.receive(w.message(sender="k1"))
            await some(events, 1)
            await w.receive(w.message(sender="k2"))
            await some(events, 1)
        await w.fetch("DELETE FROM bus.outbox WHERE seq = (SELECT min(seq) FROM bus.outbox)")
        async with reading(stream, place) as events:
            assert (await some(events, 1))[0][0] == "resync"
        async with reading(stream, place + 1) as events:
            assert (await some(events, 1))[0][0] == "queued"


async def test_whoever_does_not_read_is_closed_and_told_to_look_again(w: World) -> None:
    reader = Reader("t", Rights(BOTH, None))
    for seq in range(MOST_PENDING + 5):
        reader.offer(seq, b"id: 1\nevent: queued\ndata: {}\n\n")
    assert reader.is_over
    assert parsed(reader.take(-1)) == [("resync", {"seq": MOST_PENDING})]


async def test_a_token_that_does_not_hold_any_more_ends_its_stream(w: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "CHECK_EVERY", 0.05)
    rights = {"t": Rights(BOTH, None), "u": Rights(BOTH, None)}
    stream = a_stream(w, rights)
    async with stream.running(), reading(stream) as events, reading(stream, token="u") as others:
        await some(events, 1)
        await some(others, 1)
        del rights["t"]
        rights["u"] = Rights(frozenset({id_of("other")}), None)
        assert await some(events, 1) == []
        await w.receive(w.message(sender="k1"))
        await w.receive(w.message(inbox="other-chat", sender="k2"))
        ((_, told),) = await some(others, 1)
        assert told["brand_id"] == str(id_of("other"))


async def test_a_stream_ends_with_its_process(w: World) -> None:
    stopping = asyncio.Event()
    stream = a_stream(w, stopping=stopping)
    async with stream.running(), reading(stream) as events:
        await some(events, 1)
        stopping.set()
        assert await some(events, 1) == []


async def test_an_agent_whose_stream_is_open_stays_present(w: World) -> None:
    async with w.router.transaction() as tx:
        await agents.set_presence(tx, id_of("anna"), "available")
        await agents.set_presence(tx, id_of("bernd"), "available")
    w.clock.at += agents.PRESENCE_LEASE / 2
    rights = {"t": Rights(BOTH, id_of("anna"))}
    stream = a_stream(w, rights)
    async with stream.running(), reading(stream, agent="anna") as events:
        await some(events, 1)
        await asyncio.sleep(0.3)
    w.clock.at += agents.PRESENCE_LEASE * 0.7
    async with w.router.transaction() as tx:
        assert await agents.available(tx) == [id_of("anna")]


async def test_numbers_follow_the_commits_whoever_numbers(w: World) -> None:
    """Transactions that end in another order than they began, and three who number at once."""
    done = asyncio.Event()
    told: list[int] = []

    async def write(n: int) -> None:
        async def work(tx: Transaction) -> None:
            await w.inbound(tx, [w.message(sender=f"k{n}")])
            await asyncio.sleep(random.Random(n).random() / 20)

        await w.router.retrying(work)

    async def number() -> None:
        while not done.is_set():
            await w.router.retrying(changes.number)
            await asyncio.sleep(0.002)

    async def follow() -> None:
        last = 0
        while not done.is_set() or len(told) < 60:
            async with w.router.transaction() as tx:
                found = await changes.since(tx, last, 1000)
            told.extend(change.seq for change in found)
            last = told[-1] if told else 0
            await asyncio.sleep(0.001)

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(number())
        group.create_task(follow())
        for start in range(0, 60, 6):
            await asyncio.gather(*(write(n) for n in range(start, start + 6)))
        await asyncio.sleep(0.1)
        done.set()
    everything = [
        row["seq"] for row in await w.fetch("SELECT seq FROM bus.outbox WHERE topic = 'routing' ORDER BY seq")
    ]
    assert told == everything
    assert len(told) == 60


async def test_many_readers_who_come_and_go_know_in_the_end_what_is_there(w: World) -> None:
    """Each keeps what the stream told and begins anew where it is told to; then it equals a fresh look."""
    stream = a_stream(w)
    dice = random.Random(5)
    knowledge: list[dict[str, int]] = [{} for _ in range(50)]

    async def live(known: dict[str, int]) -> None:
        place: int | None = 0
        while True:
            async with reading(stream, place) as events:
                leave_after = dice.randint(1, 12)
                async for name, event in events:
                    place = event["seq"]
                    if name == "resync":
                        known.clear()
                        known.update((str(id_), n) for id_, n in await stored(w))
                    elif name != "begin":
                        known[event["conversation_id"]] = max(known.get(event["conversation_id"], 0), event["n"])
                    leave_after -= 1
                    if leave_after == 0:
                        break

    async with stream.running(), AsyncExitStack() as readers:
        for known in knowledge:
            await readers.enter_async_context(background(live(known), "reader"))
        for n in range(60):
            await w.receive(w.message(sender=f"k{n % 25}", key=f"m{n}"))
        there = {str(id_): n for id_, n in await stored(w)}
        async with asyncio.timeout(60):
            while any(known != there for known in knowledge):
                await asyncio.sleep(0.02)
    assert len(there) == 25
