"""The wire form of events: what was once published must be readable by every later build."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.errors import BadPayload, UnknownEvent
from shared.events import TOPICS, TYPE_NAMES, Record, decode, encode
from shared.topics import Topic

# Never edited: a field that is added later is optional and stands in no example of before.
EXAMPLES = sorted((Path(__file__).parent.parent / "events" / "v1").glob("*.json"))


def read(path: Path) -> tuple[Record, dict[str, Any]]:
    example = json.loads(path.read_text("utf-8"))
    value = json.dumps(example["data"], ensure_ascii=False).encode()
    return Record(example["topic"], example["key"], example["headers"], value), example["data"]


each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)


@pytest.fixture
def received() -> Record:
    return read(next(path for path in EXAMPLES if path.stem == "message.received"))[0]


@each_example
def test_a_frozen_example_is_read_and_written_as_it_stands(path: Path) -> None:
    record, data = read(path)
    written = encode(decode(record))
    assert replace(written, value=b"") == replace(record, value=b"")
    assert json.loads(written.value) == data


@each_example
def test_a_field_that_this_build_does_not_know_is_ignored(path: Path) -> None:
    record, data = read(path)
    newer = json.dumps({**data, "added_later": {"by": ["a newer build"]}}).encode()
    assert decode(replace(record, value=newer)) == decode(record)


@each_example
def test_a_header_that_this_build_does_not_know_is_ignored(path: Path) -> None:
    record, _ = read(path)
    assert decode(replace(record, headers={**record.headers, "ce_later": "x"})) == decode(record)


def test_every_type_has_a_frozen_example_and_the_topic_that_it_names() -> None:
    found = {record.headers["ce_type"]: record.topic for record, _ in map(read, EXAMPLES)}
    assert found == {name: TOPICS[cls] for cls, name in TYPE_NAMES.items()}
    assert set(TOPICS.values()) == set(Topic)


def test_a_type_of_ours_that_is_not_known_stops_the_reader(received: Record) -> None:
    with pytest.raises(UnknownEvent, match=r"dragoman\.message\.sung\.v1"):
        decode(replace(received, headers={**received.headers, "ce_type": "dragoman.message.sung.v1"}))


@pytest.mark.parametrize("headers", [{}, {"ce_type": ""}, {"ce_type": "com.example.order"}], ids=str)
def test_a_record_of_somebody_else_is_bad_and_stops_nobody(received: Record, headers: dict[str, str]) -> None:
    with pytest.raises(BadPayload):
        decode(replace(received, headers=headers))


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"channel": "messenger"}', b'{"channel": 1, "text": "Meine Karte"}'],
    ids=repr,
)
def test_data_that_breaks_the_form_is_bad_and_is_not_quoted(received: Record, value: bytes) -> None:
    with pytest.raises(BadPayload) as raised:
        decode(replace(received, value=value))
    assert "Karte" not in str(raised.value)
    assert raised.value.code == "unreadable_event"


@pytest.mark.parametrize(
    "wrong",
    [{"ce_id": None}, {"ce_source": None}, {"ce_time": None}, {"ce_id": "Meine Karte"}, {"ce_time": "Meine Karte"},
     {"ce_brandid": "Meine Karte"}],
    ids=str,
)  # fmt: skip
def test_an_envelope_that_breaks_the_form_is_bad(received: Record, wrong: dict[str, str | None]) -> None:
    headers = {name: value for name, value in {**received.headers, **wrong}.items() if value is not None}
    with pytest.raises(BadPayload) as raised:
        decode(replace(received, headers=headers))
    assert "Karte" not in str(raised.value)


def test_what_is_empty_takes_no_room_on_the_wire(received: Record) -> None:
    event = replace(decode(received), subject="", traceparent="", brand_id=None, inbox_id=None)
    assert encode(event).headers.keys() == {
        "ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time", "content-type",
    }  # fmt: skip
    assert decode(encode(event)) == event
