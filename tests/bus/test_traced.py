"""Spans of events: one each, told of once what they did is committed, and never in a customer's words."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from shared.bus.inprocess import InProcessBus
from shared.bus.traced import TracedBus
from shared.db.transaction import Transaction
from shared.errors import BadPayload, PoisonEvent, Unavailable
from shared.events import Event, Record
from shared.tracing import Traces
from tests.bus.effects import Effects, records, text_of
from tests.collector import Collector, collecting

WORDS = "Meine Karte ist 4111"
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def traced(effects: Effects) -> AsyncIterator[tuple[TracedBus, Traces, Collector]]:
    with collecting() as collector:
        traces = Traces(collector.url, "test")
        yield TracedBus(InProcessBus(), traces, "in_process"), traces, collector


def carrying(traceparent: str, *texts: str) -> list[Record]:
    return [replace(record, headers={**record.headers, "traceparent": traceparent}) for record in records(*texts)]


async def test_each_event_of_a_batch_is_a_span_of_its_own_trace(
    effects: Effects, traced: tuple[TracedBus, Traces, Collector]
) -> None:
    bus, traces, collector = traced
    async with bus.consuming(effects.consumer()):
        await bus.publish([*carrying(PARENT, "eins"), *records("zwei")])
    await traces.close()
    (one, two), sent = collector.named("process inbound"), collector.named("send inbound")
    assert [span.parent for span in sent] == ["b7ad6b7169203331", ""]
    assert [span.parent for span in (one, two)] == [span.id for span in sent]
    assert one.trace == "0af7651916cd43dd8448eb211c80319c" != two.trace
    assert one.attributes["messaging.batch.message_count"] == 2


async def test_a_batch_is_told_of_when_it_is_committed_and_poison_at_once(
    effects: Effects, traced: tuple[TracedBus, Traces, Collector]
) -> None:
    bus, traces, collector = traced
    lost = [Unavailable("the database is away")]

    async def handle(tx: Transaction, events: Sequence[Event]) -> None:
        await effects.handle(tx, events)
        if lost:
            raise lost.pop()
        for position, event in enumerate(events):
            if text_of(event) == WORDS:
                raise PoisonEvent(position, BadPayload(WORDS))

    async with bus.consuming(effects.consumer(handle)):
        with pytest.raises(Unavailable):
            await bus.publish(records("eins"))
        await bus.publish(records("eins", WORDS, "drei"))
    await traces.close()
    assert await effects.texts() == ["eins", "drei"]
    told = [(span.failed, span.attributes.get("error.type")) for span in collector.named("process inbound")]
    assert sorted(told, key=str) == [(False, None), (False, None), (True, "PoisonEvent")]
    assert [s.attributes["error.type"] for s in collector.named("send inbound") if s.failed] == ["Unavailable"]
    assert WORDS.encode() not in b"".join(collector.bodies)


@pytest.mark.parametrize("nonsense", ["", "00-0-0-01", "x" * 500, PARENT[:-3] + "-zz"])
async def test_a_header_that_nobody_can_read_begins_a_trace(
    effects: Effects, traced: tuple[TracedBus, Traces, Collector], nonsense: str
) -> None:
    bus, traces, collector = traced
    async with bus.consuming(effects.consumer()):
        await bus.publish(carrying(nonsense, "eins"))
    await traces.close()
    (sent,), (taken,) = collector.named("send inbound"), collector.named("process inbound")
    assert (sent.parent, taken.parent, taken.trace) == ("", sent.id, sent.trace)
    assert await effects.texts() == ["eins"]


async def test_what_belongs_to_no_trace_is_no_span(traced: tuple[TracedBus, Traces, Collector]) -> None:
    bus, traces, collector = traced
    (record,) = records("eins")
    await bus.publish([replace(record, topic="routing")])
    await traces.close()
    assert collector.spans == []
