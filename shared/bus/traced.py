"""A bus whose events belong to traces: a span when one is sent, another when its consumer has committed it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from opentelemetry.trace import Span, SpanKind

from shared.bus.contract import Bus, Consumer, Handler, Observer
from shared.db.transaction import Transaction
from shared.errors import PoisonEvent
from shared.events import Event, Record
from shared.topics import Topic
from shared.tracing import HEADER, Attributes, Traces, failed, traceparent

# What a poll brings has no request of the vendor's that began its trace.
BEGINNING = (Topic.INBOUND, Topic.RECEIPTS)


class TracedBus:
    """Keeps the promises of the bus that it wraps; `system` is what OpenTelemetry calls that one."""

    def __init__(self, bus: Bus, traces: Traces, system: str) -> None:
        self._bus = bus
        self._traces = traces
        self._system = system

    async def publish(self, records: Sequence[Record]) -> None:
        sent = [(record, self._send(record)) for record in records]
        try:
            await self._bus.publish([_within(record, span) for record, span in sent])
        except BaseException as error:
            for _, span in sent:
                if span is not None:
                    failed(span, error)
            raise
        finally:
            for _, span in sent:
                if span is not None:
                    span.end()

    def _send(self, record: Record) -> Span | None:
        parent = record.headers.get(HEADER, "")
        if not parent and record.topic not in BEGINNING:
            return None
        attributes: Attributes = {
            **self._messaging("send", record.topic),
            "messaging.message.id": record.headers.get("ce_id"),
            "cloudevents.event_type": record.headers.get("ce_type"),
            "dragoman.brand.id": record.headers.get("ce_brandid"),
            "dragoman.inbox.id": record.headers.get("ce_inboxid"),
        }
        return self._traces.begin(f"send {record.topic}", SpanKind.PRODUCER, parent, attributes)

    def consuming(self, consumer: Consumer) -> AbstractAsyncContextManager[None]:
        return self._bus.consuming(replace(consumer, handler=self._handling(consumer)))

    def _handling(self, consumer: Consumer) -> Handler:
        """A span an event, as each belongs to a trace of its own; they are told of once the batch is committed.

        What is rolled back comes again and is told of then; only an event that is called poison is told of at once.
        """

        async def handle(tx: Transaction, batch: Sequence[Event]) -> None:
            spans = [self._process(consumer, event, len(batch)) for event in batch]
            events = [replace(event, traceparent=traceparent(span)) for event, span in zip(batch, spans, strict=True)]
            try:
                await consumer.handler(tx, events)
            except PoisonEvent as poison:
                failed(spans[poison.position], poison)
                spans[poison.position].end()
                raise
            for span in spans:
                tx.after_commit(span.end)

        return handle

    def _process(self, consumer: Consumer, event: Event, size: int) -> Span:
        partition = None if event.partition is None else str(event.partition)
        attributes: Attributes = {
            **self._messaging("process", consumer.topic),
            "messaging.consumer.group.name": consumer.group,
            "messaging.destination.partition.id": partition,
            "messaging.batch.message_count": size,
            "messaging.message.id": event.id,
            "cloudevents.event_type": event.type,
            "dragoman.brand.id": event.brand_id,
            "dragoman.inbox.id": event.inbox_id,
            "dragoman.channel": getattr(event.data, "channel", None),
            "dragoman.conversation.id": getattr(event.data, "conversation_id", None),
            "dragoman.reply.id": getattr(event.data, "reply_id", None),
            "dragoman.call.id": getattr(event.data, "call_id", None),
        }
        return self._traces.begin(
            f"process {consumer.topic}", SpanKind.CONSUMER, event.traceparent, attributes, linked=True
        )

    def _messaging(self, operation: str, topic: str) -> Attributes:
        return {
            "messaging.system": self._system,
            "messaging.operation.name": operation,
            "messaging.operation.type": operation,
            "messaging.destination.name": topic,
        }

    def observe(self, topic: Topic, observer: Observer) -> None:
        self._bus.observe(topic, observer)

    async def start(self) -> None:
        await self._bus.start()

    async def stop(self) -> None:
        await self._bus.stop()

    def troubles(self) -> Sequence[str]:
        return self._bus.troubles()


def _within(record: Record, span: Span | None) -> Record:
    if span is None:
        return record
    return replace(record, headers={**record.headers, HEADER: traceparent(span)})
