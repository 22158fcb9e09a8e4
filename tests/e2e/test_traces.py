"""One customer's message as a trace: from the vendor's webhook to the agents, and from an agent to the vendor."""

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette

from services.traced import answering, api_route, traced
from shared.bus.inprocess import InProcessBus
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.tracing import Attribute
from tests.collector import Collector, Span, collecting
from tests.e2e.processes import cell
from tests.e2e.running import Running, running, until

QUESTION, ANSWER = "Wo bleibt meine Bestellung denn nun?", "Ihr Paket kommt morgen an."


async def exchange(run: Running) -> None:
    """Asked, accepted, answered, read; then a marketplace's customer, whose vendor calls nobody."""
    await run.there("anna")
    await run.control("messenger/messages", {"page": "100", "psid": "4711", "text": QUESTION})

    async def offered() -> Any:
        return (await run.get("/v1/conversations?agent=me", "anna")).json()["items"]

    ((item),) = await until(offered, 30)  # type: ignore[misc]
    path = f"/v1/conversations/{item['id']}"
    assert (await run.post(f"{path}/accept", "anna")).status_code == 200
    assert (await run.post(f"{path}/reply", "anna", {"text": ANSWER})).status_code == 202

    async def read() -> bool:
        messages = (await run.get(path, "anna")).json()["messages"]
        return [m["state"] for m in messages if m["kind"] == "reply"] == ["read"]

    await until(read, 30)
    await run.control("mirakl/messages", {"shop": "2001", "customer": "Marie", "text": "Où est mon colis, merci ?"})

    async def polled() -> bool:
        items = (await run.get("/v1/conversations", "sam")).json()["items"]
        return len(items) == 2

    await until(polled, 30)


def every(spans: Sequence[Span], name: str, **attributes: object) -> list[Span]:
    return [s for s in spans if s.name == name and attributes.items() <= dotted(s).items()]


def one(spans: Sequence[Span], name: str, **attributes: object) -> Span:
    (found,) = every(spans, name, **attributes)
    return found


def dotted(span: Span) -> dict[str, object]:
    return {name.replace(".", "_"): value for name, value in span.attributes.items()}


def check(collector: Collector) -> None:
    """The spans of `exchange` hang together, and say nothing else than what is allowed."""
    spans = collector.spans
    came = one(spans, "process inbound", dragoman_channel="messenger")
    sent = one(spans, "send inbound", messaging_message_id=came.attributes["messaging.message.id"])
    hook = next(span for span in spans if span.id == sent.parent)
    assert (hook.name, hook.kind, hook.parent) == ("POST /hooks/{channel}/{token}", "SERVER", "")
    assert hook.attributes["dragoman.channel"] == "messenger"
    assert hook.attributes["http.response.status_code"] == 200
    assert (sent.kind, came.kind, came.parent) == ("PRODUCER", "CONSUMER", sent.id)
    assert hook.trace == sent.trace == came.trace
    assert came.links == [(sent.trace, sent.id)]

    asked = one(spans, "POST /v1/conversations/{conversation_id}/reply")
    assert (asked.kind, asked.parent, asked.links) == ("SERVER", "", [(came.trace, came.id)])
    assert asked.trace != came.trace
    command = one(spans, "send outbound")
    taken = one(spans, "process outbound")
    called = one(spans, "call messenger")
    assert (command.parent, taken.parent, called.parent) == (asked.id, command.id, taken.id)
    assert (called.kind, called.attributes["dragoman.attempt"]) == ("CLIENT", 1)
    assert called.attributes["dragoman.reply.id"] == taken.attributes["dragoman.reply.id"]
    told = [span for span in spans if span.name == "process results"]
    assert {span.trace for span in (command, taken, called, *told)} == {asked.trace}
    assert told[0].attributes["cloudevents.event_type"] == "dragoman.reply.accepted.v1"

    # A poll may bring a message again, each time in a trace of its own.
    polled = every(spans, "process inbound", dragoman_channel="mirakl")[0]
    brought = every(spans, "send inbound", messaging_message_id=polled.attributes["messaging.message.id"])
    assert {span.parent for span in brought} == {""}
    assert not [span for span in spans if span.failed]
    assert {name for span in spans for name in span.attributes} <= set(get_args(Attribute))
    assert {span.words for span in spans} == {""}


async def test_a_message_and_its_answer_are_two_linked_traces(database_url: str, tmp_path: Path) -> None:
    with collecting() as collector:
        # Not the bus of tests, which delivers everything twice: the second time would be a span as well.
        async with running(database_url, tmp_path, InProcessBus(), traces_url=collector.url) as run:
            await exchange(run)
        check(collector)


@pytest.mark.kafka
async def test_it_is_the_same_over_three_processes_and_kafka(database_url: str, kafka: str, tmp_path: Path) -> None:
    with collecting() as collector:
        async with cell(database_url, kafka, tmp_path, environment={"DRAGOMAN_TRACES_URL": collector.url}) as made:
            await exchange(Running(made.api, made.http, made.sandbox_url))
            for service in (s for several in made.services.values() for s in several):
                # They still talk to the stand-ins in this process.
                await asyncio.to_thread(service.kill, signal.SIGTERM)
        check(collector)
        assert {span.service for span in collector.spans} == {"ingest", "router", "responder"}
        partitions = {s.attributes["messaging.destination.partition.id"] for s in collector.named("process inbound")}
        assert partitions <= {"0", "1", "2", "3"}


async def test_a_collector_that_is_away_or_silent_costs_no_request(database_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken, collecting(answers=False) as silent:
        taken.bind(("127.0.0.1", 0))
        for number, url in enumerate([f"http://127.0.0.1:{taken.getsockname()[1]}/v1/traces", silent.url]):
            async with running(database_url, tmp_path / str(number), traces_url=url) as run:
                began = time.monotonic()
                customer = {"page": "100", "psid": f"c{number}", "text": QUESTION}
                told: Any = await run.control("messenger/messages", customer)
                assert told["webhook_status"] == 200
                assert time.monotonic() - began < 2
                stopped = time.monotonic()
            assert time.monotonic() - stopped < 10


async def test_without_a_collector_nothing_is_set_up(tmp_path: Path) -> None:
    vault = Vault([Fernet.generate_key().decode()])
    parts = Parts(settings=Settings(data_dir=tmp_path), database_url="", bus=InProcessBus(), vault=vault)
    async with traced(parts, "ingest") as same:
        assert same is parts
    assert answering(app := Starlette(), parts.traces, api_route) is app
    code = (
        "import sys, services.alone, services.together\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")
