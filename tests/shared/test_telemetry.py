"""Logs and metrics: useful to whoever mends, silent about customers and secrets."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Literal

import httpx
import pytest
from opentelemetry.trace import SpanKind
from prometheus_client import Counter

from shared import telemetry
from shared.errors import PoisonEvent, Rejected, Unavailable
from shared.settings import Settings
from shared.tracing import Traces
from tests.collector import collecting

WORDS = "Meine Karte ist 4111"


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Whatever a test configures is as before afterwards."""
    named = [logging.getLogger(), *map(logging.getLogger, (*telemetry.QUIET, *telemetry.OURS))]
    before = [(logger, logger.level, list(logger.handlers)) for logger in named]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


def configure(form: Literal["text", "json"] = "text", level: Literal["DEBUG", "INFO", "WARNING"] = "INFO") -> None:
    telemetry.configure(Settings(log_format=form, log_level=level))


def fails() -> None:
    raise ValueError(WORDS)


def test_a_line_of_text_says_when_where_and_what(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("shared.bus").info("consumer of %s started", "inbound")
    assert capsys.readouterr().err.endswith("INFO    shared.bus: consumer of inbound started\n")


def test_a_line_of_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    logging.getLogger("shared.bus").warning("two\nlines and a %s", '"quote"')
    [line] = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert told.pop("time").endswith("+00:00")
    assert told == {"level": "WARNING", "logger": "shared.bus", "message": 'two\nlines and a "quote"'}


async def test_a_line_of_json_names_the_trace_that_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    configure("json")
    with collecting() as collector:
        traces = Traces(collector.url, "test")
        with traces.span("GET", SpanKind.SERVER, "", {}):
            logging.getLogger("shared.bus").warning("slow")
        logging.getLogger("shared.bus").warning("idle")
        await traces.close()
        [span] = collector.spans
    slow, idle = map(json.loads, capsys.readouterr().err.splitlines())
    assert (slow["trace_id"], slow["span_id"]) == (span.trace, span.id)
    assert idle.keys() == {"time", "level", "logger", "message"}


def test_what_libraries_say_at_debug_is_told_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="DEBUG")
    logging.getLogger("imapclient.imaplib").debug("< b'%s'", WORDS)
    logging.getLogger("some_library").info("joined")
    logging.getLogger("services.ingest").debug("polled")
    told = capsys.readouterr().err
    assert WORDS not in told
    assert "joined" in told
    assert "polled" in told


def test_the_level_of_the_settings_holds(capsys: pytest.CaptureFixture[str]) -> None:
    configure(level="WARNING")
    logging.getLogger("shared.bus").info("nothing to see")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_has_classes_and_frames_and_no_words(
    capsys: pytest.CaptureFixture[str], form: Literal["text", "json"]
) -> None:
    configure(form)
    try:
        try:
            fails()
        except ValueError as error:
            raise PoisonEvent(3, error) from error
    except PoisonEvent:
        logging.getLogger("shared.bus").exception("halted")
    told = capsys.readouterr().err
    assert "in fails" in told
    assert "shared.errors.PoisonEvent: event 3 of the batch: ValueError" in told
    assert WORDS not in told
    assert len(told.splitlines()) == 1 or form == "text"


def test_every_member_of_a_group_is_told_by_its_class(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    group = ExceptionGroup("both", [KeyError(WORDS), Unavailable("the brokers are away")])
    logging.getLogger("services.ingest").error("stopped", exc_info=group)
    told = capsys.readouterr().err
    assert "KeyError" in told
    assert "the brokers are away" in told
    assert WORDS not in told


@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
def test_an_exception_as_an_argument_is_told_by_its_class(capsys: pytest.CaptureFixture[str], level: int) -> None:
    configure()
    logging.getLogger("shared.db").log(level, "refused %s: %s", 7, ValueError(WORDS))
    logging.getLogger("shared.db").log(level, "refused %(why)s", {"why": ValueError(WORDS)})
    told = capsys.readouterr().err
    assert "refused 7: ValueError\n" in told
    assert "refused ValueError\n" in told
    assert WORDS not in told


def test_the_text_of_our_own_errors_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("shared.db").warning("reply: %s", Rejected("the window is closed"))
    assert "the window is closed" in capsys.readouterr().err


async def test_a_task_that_nobody_waited_for_quotes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    task = asyncio.create_task(asyncio.sleep(0))
    await task
    context = {"message": "Task exception was never retrieved", "exception": ValueError(WORDS), "future": WORDS}
    asyncio.get_running_loop().call_exception_handler(context)
    told = capsys.readouterr().err
    assert "asyncio: Task exception was never retrieved\nValueError\n" in told
    assert WORDS not in told


@pytest.mark.parametrize("name", telemetry.QUIET)
def test_addresses_of_requests_are_not_logged(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure(level="DEBUG")
    logging.getLogger(name).info("POST /hooks/messenger/the-token 200")
    assert capsys.readouterr().err == ""


def test_the_record_itself_stays_as_it_was_for_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    record = logging.LogRecord("asyncio", logging.ERROR, "", 0, "first\n%s", (ValueError(WORDS),), None)
    told = telemetry.without_foreign_words(record)
    assert told.getMessage() == "first"
    assert record.getMessage() == f"first\n{WORDS}"


async def test_the_metrics_page_shows_what_was_counted() -> None:
    Counter("dragoman_telemetry_test_total", "Counted in this test.").inc(3)
    transport = httpx.ASGITransport(telemetry.metrics_app())
    async with httpx.AsyncClient(transport=transport, base_url="http://metrics") as http:
        page = await http.get("/metrics")
    assert page.status_code == 200
    assert "dragoman_telemetry_test_total 3.0" in page.text
