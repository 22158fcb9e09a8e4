"""Traces: which way one message went and how long each step took, told to an OpenTelemetry collector.

Without a collector there are no `Traces`, and whoever would begin a span does not. A span carries only the attributes
that `Attribute` lists: ids and our own words, never a text, a name, an address, a token or a path.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, Literal
from uuid import UUID

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    Span,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.events import Record

log = logging.getLogger(__name__)

Attribute = Literal[
    "http.request.method",
    "http.route",
    "http.response.status_code",
    "messaging.system",
    "messaging.operation.name",
    "messaging.operation.type",
    "messaging.destination.name",
    "messaging.destination.partition.id",
    "messaging.consumer.group.name",
    "messaging.batch.message_count",
    "messaging.message.id",
    "cloudevents.event_type",
    "error.type",
    "dragoman.channel",
    "dragoman.account.id",
    "dragoman.brand.id",
    "dragoman.inbox.id",
    "dragoman.conversation.id",
    "dragoman.reply.id",
    "dragoman.part.id",
    "dragoman.call.id",
    "dragoman.attempt",
]
Attributes = Mapping[Attribute, str | int | UUID | None]

# What is left when the process stops has so long to reach the collector.
FLUSH_WITHIN = 3.0
# A collector that is slower than this is away.
EXPORT_WITHIN = 5.0
HEADER = "traceparent"
_W3C = TraceContextTextMapPropagator()
# Nothing of a library's own context is ours.
_NOWHERE = Context()
_current: ContextVar[Span | None] = ContextVar("dragoman_span", default=None)


class Traces:
    """Begins spans and has them exported by a thread of their own; a collector that is away costs only the spans."""

    def __init__(self, url: str, service: str) -> None:
        # A fifth of a second, which nobody pays who has no collector.
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_WITHIN)
        resource = Resource.create({"service.name": service, "service.namespace": "dragoman"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("dragoman")

    def begin(self, name: str, kind: SpanKind, parent: str, attributes: Attributes, *, linked: bool = False) -> Span:
        """A span to be ended by the caller; `parent` is a `traceparent`, of another trace where there is none."""
        before = _context(parent)
        context = get_current_span(before).get_span_context()
        links = [Link(context)] if linked and context.is_valid else []
        return self._tracer.start_span(name, before, kind, _told(attributes), links)

    @contextmanager
    def span(self, name: str, kind: SpanKind, parent: str, attributes: Attributes) -> Iterator[Span]:
        """A span round what is done meanwhile, and the current one of it."""
        span = self.begin(name, kind, parent, attributes)
        token = _current.set(span)
        try:
            yield span
        except BaseException as error:
            failed(span, error)
            raise
        finally:
            _current.reset(token)
            span.end()

    async def close(self) -> None:
        """Exports what is left, within a bound."""
        # Both of them daemons, so that a collector which never answers holds no process.
        last = threading.Thread(target=self._provider.shutdown, name="last traces", daemon=True)
        last.start()
        await asyncio.to_thread(last.join, FLUSH_WITHIN)
        if last.is_alive():
            log.warning("the collector did not take the last traces within %s s", FLUSH_WITHIN)


def calling(
    traces: Traces | None, name: str, parent: str, attributes: Attributes
) -> AbstractContextManager[Span | None]:
    """A span round a call of a vendor, where there are traces."""
    return nullcontext() if traces is None else traces.span(name, SpanKind.CLIENT, parent, attributes)


def failed(span: Span, error: BaseException) -> None:
    """Tells the class alone: the text may quote a customer."""
    span.set_attribute("error.type", type(error).__name__)
    span.set_status(Status(StatusCode.ERROR))


def traceparent(span: Span | None) -> str:
    """The span as W3C Trace Context writes it, "" for none."""
    headers: dict[str, str] = {}
    if span is not None:
        _W3C.inject(headers, set_span_in_context(span, _NOWHERE))
    return headers.get(HEADER, "")


def current() -> Span | None:
    """The span of what is being done right now."""
    return _current.get()


def note(attributes: Attributes) -> None:
    """What became known on the way, for the current span."""
    span = _current.get()
    if span is not None:
        span.set_attributes(_told(attributes))


def link(other: str) -> None:
    """Says that the current span has to do with another trace, named by its `traceparent`."""
    span, linked = _current.get(), get_current_span(_context(other)).get_span_context()
    if span is not None and linked.is_valid:
        span.add_link(linked)


def carried(records: Sequence[Record]) -> Sequence[Record]:
    """The records as part of the current trace; those that belong to one already stay in it."""
    span = _current.get()
    if span is None:
        return records
    own = {HEADER: traceparent(span)}
    return [replace(record, headers=own | dict(record.headers)) for record in records]


def _context(parent: str) -> Context:
    """Empty where it is not in the form of W3C Trace Context."""
    return _W3C.extract({HEADER: parent}, _NOWHERE)


def _told(attributes: Attributes) -> dict[str, Any]:
    return {name: str(v) if isinstance(v, UUID) else v for name, v in attributes.items() if v not in (None, "")}
