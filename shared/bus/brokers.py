"""The brokers' side of the bus: topics made, and whether they are as our promises need them."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from shared.bus.kafka import STOP_WITHIN, within
from shared.checks import Check, Finding, Line, answered, answered_in_turn, skipped, warning, well, wrong
from shared.errors import InboxMisconfigured, Unavailable
from shared.settings import Settings
from shared.topics import TOPIC_SETTINGS, Topic

ALREADY_EXISTS = 36
# Fewer, and an acknowledged event does not survive the loss of a disk.
COPIES = 3
MAKE = "run `dragoman topics`"


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Raises InboxMisconfigured where no brokers are named, Unavailable where they do not answer."""
    if not settings.kafka_bootstrap:
        raise InboxMisconfigured("set DRAGOMAN_KAFKA_BOOTSTRAP to the brokers' addresses", code="no_kafka_bootstrap")
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    try:
        await admin.start()
        yield admin
    except KafkaError as error:
        raise Unavailable(f"the brokers do not answer: {type(error).__name__}") from error
    finally:
        await within(admin.close(), STOP_WITHIN)


def _names(settings: Settings) -> list[str]:
    return [settings.kafka_prefix + topic for topic in Topic]


async def create_topics(settings: Settings) -> list[str]:
    """Creates what is missing and says, topic by topic, what is there. Raises Unavailable where a broker refuses."""
    async with _admin(settings) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        copies, names = min(COPIES, brokers), _names(settings)
        answer = await admin.create_topics(
            [NewTopic(name, settings.topic_partitions, copies, topic_configs=TOPIC_SETTINGS) for name in names]
        )
        refused = [f"{e[0]}: {e[2]} (error {e[1]})" for e in answer.topic_errors if e[1] not in (0, ALREADY_EXISTS)]
        if refused:
            raise Unavailable("; ".join(refused), code="topics_refused")
        existing = {e[0] for e in answer.topic_errors if e[1] == ALREADY_EXISTS}
        lines = [f"{name}: {'exists' if name in existing else 'created'}" for name in names]
        for name in sorted(existing):
            lines += [f"{name}: {deviation}" for deviation in await _deviations(admin, name)]
    if copies < COPIES:
        lines.append(f"{brokers} broker(s): an acknowledged event does not survive the loss of a disk")
    return lines


async def _deviations(admin: AIOKafkaAdminClient, name: str) -> list[str]:
    """Settings of an existing topic that are not what we promise by."""
    wanted = dict.fromkeys(TOPIC_SETTINGS)
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted)])
    found = {entry[0]: entry[1] for resource in answer.resources for entry in resource[4]}
    return [
        f"{setting} is {found[setting]}, should be {value}"
        for setting, value in TOPIC_SETTINGS.items()
        if setting in found and found[setting] != value
    ]


async def examine(settings: Settings) -> list[Line]:
    """The brokers, then each topic; where the brokers do not answer, that is all."""
    if not settings.kafka_bootstrap:
        return [Line("kafka", skipped("no brokers are named: the bus is one process"))]
    answer: list[Line] = []

    async def look() -> Finding:
        async with _admin(settings) as admin:
            brokers = len((await admin.describe_cluster())["brokers"])
            found = {topic["topic"]: topic for topic in await admin.describe_topics(_names(settings))}
            checks = [
                Check(f"kafka: {name}", partial(_topic, admin, settings, name, found.get(name), min(COPIES, brokers)))
                for name in _names(settings)
            ]
            answer.extend(await answered_in_turn(checks))
        if brokers < COPIES:
            says = f"{brokers} broker(s): an acknowledged event does not survive the loss of a disk"
            return warning(says, f"use {COPIES} where that matters")
        return well(f"{brokers} brokers")

    return [await answered(Check("kafka", look, within=30.0)), *answer]


async def _topic(
    admin: AIOKafkaAdminClient, settings: Settings, name: str, found: Mapping[str, Any] | None, copies: int
) -> Finding:
    partitions: Sequence[Mapping[str, Any]] = found["partitions"] if found and not found["error_code"] else ()
    if not partitions:
        return wrong("there is no such topic", MAKE)
    if deviations := await _deviations(admin, name):
        return wrong("; ".join(deviations), "change the topic's settings, e.g. with kafka-configs.sh")
    if fewest := [p for p in partitions if len(p["replicas"]) < copies]:
        return wrong(f"{len(fewest)} partitions have fewer than {copies} copies", "reassign them to more brokers")
    needed = min(int(TOPIC_SETTINGS["min.insync.replicas"]), copies)
    if behind := [p for p in partitions if len(p["isr"]) < needed or p["leader"] < 0]:
        return wrong(f"{len(behind)} partitions have fewer than {needed} copies in sync", "bring the brokers back")
    if len(partitions) != settings.topic_partitions:
        says = f"{len(partitions)} partitions, DRAGOMAN_TOPIC_PARTITIONS says {settings.topic_partitions}"
        return warning(says, "set it to what there is; more partitions are added as docs/operating.md says")
    return well(f"{len(partitions)} partitions, {copies} copies")
