"""What every channel keeps, whatever its vendor: checked over the registry, with what each `sample.py` gives."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.accounts import Account
from shared.channels.contract import BadItem, Channel, Hook, Item, Page, Permission, Placed, Try
from shared.channels.http import client
from shared.channels.registry import CHANNELS, channel
from shared.errors import (
    AccountBroken,
    BadPayload,
    BadSignature,
    DragomanError,
    InboxMisconfigured,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
)
from tests.channels.tables import (
    FAR_AHEAD,
    HOOK_URL,
    REFERENCE,
    Vendor,
    a_hook,
    a_reply,
    encoded,
    sample_of,
    shown_item,
    shown_part,
    tables,
)

EVERY = pytest.mark.parametrize("it", CHANNELS, ids=lambda it: it.name)
HOOKED = pytest.mark.parametrize("it", [c for c in CHANNELS if c.receive is not None], ids=lambda it: it.name)
# Wires that are no HTTP have suites of their own, against real servers.
OVER_HTTP = [c for c in CHANNELS if c.connect is client]
POLLED = pytest.mark.parametrize("it", [c for c in OVER_HTTP if c.poll is not None], ids=lambda it: it.name)
CALLED = pytest.mark.parametrize("it", OVER_HTTP, ids=lambda it: it.name)
# Those that carry texts; a telephone line carries calls.
WRITES = pytest.mark.parametrize("it", [c for c in CHANNELS if c.text_limit], ids=lambda it: it.name)
CALLS = pytest.mark.parametrize("it", [c for c in CHANNELS if c.calls is not None], ids=lambda it: it.name)

NOW = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
# PostgreSQL refuses index entries of 2 704 bytes; an id of ours is far below.
LONGEST_KEY = 1000
MOST_PAGES = 3
STATUSES = range(200, 600)
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
# Lone surrogates and NUL are legal in escaped JSON.
NASTY = st.sampled_from(["\x00", "\ud83d", "", "x" * 5000, 10**40, -1, 1e308, "1e3", {"id": {}}, [[]]])
VALUES = st.recursive(
    SCALARS | NASTY,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield from _places(below, (*path, key))


def _changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    """A copy with something else at the place; what is left out altogether is `...`."""
    if not path:
        return None if new is ... else new
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1 and new is ...:
        del copy[path[0]]
        return copy
    copy[path[0]] = _changed(copy[path[0]], path[1:], new)
    return copy


def _mutated(it: Channel, data: st.DataObject, value: Any) -> bytes:
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(_places(value))))
        value = _changed(value, place, data.draw(VALUES | st.just(...)))
    return encoded(it.name, value)


def _captured(it: Channel) -> list[Any]:
    """The bodies of its good requests, or the answers to its good polls."""
    cases = [table.data for table in tables("inbound", it.name) if "error" not in table.data]
    found = [case["request"]["body"] for case in cases if "request" in case]
    found += [call["answer"]["body"] for case in cases for call in case.get("calls", ())]
    return [body for body in found if not isinstance(body, str)]


def _fit_for_the_bus(items: Any) -> None:
    for item in items:
        if isinstance(item, BadItem):
            assert item.code
            json.dumps([item.address, item.error, item.code]).encode()
            continue
        assert isinstance(item, Item)
        # What the consumer on the other side of the bus reads is what was meant.
        assert msgspec.json.decode(msgspec.json.encode(item.data), type=type(item.data)) == item.data
        stored = [item.address, item.lane, *item.data.keys]
        assert item.data.keys
        assert all(len(key.encode()) <= LONGEST_KEY for key in item.data.keys)
        assert all("\x00" not in text for text in stored)
        assert b"\\u0000" not in msgspec.json.encode(msgspec.structs.replace(item.data, **_without_raw(item.data)))


def _without_raw(data: Any) -> dict[str, bytes]:
    return {"raw": b""} if "raw" in data.__struct_fields__ else {}


# the registry


def test_names_are_unique_and_found() -> None:
    assert [channel(it.name) for it in CHANNELS] == list(CHANNELS)
    assert len({it.name for it in CHANNELS}) == len(CHANNELS)


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(InboxMisconfigured, match=CHANNELS[0].name):
        channel("pigeon")


@EVERY
def test_a_channel_either_is_called_or_polls(it: Channel) -> None:
    assert (it.receive is None) == (it.verify is None)
    assert (it.receive is None) != (it.poll is None)


# webhooks


def _a_signed_request(it: Channel) -> Hook:
    return sample_of(it.name).sign(a_hook(encoded(it.name, _captured(it)[0])))


@HOOKED
def test_a_signed_request_is_taken(it: Channel) -> None:
    it.verify(_a_signed_request(it), sample_of(it.name).ACCOUNT)


@HOOKED
def test_an_unsigned_request_is_refused(it: Channel) -> None:
    with pytest.raises(BadSignature):
        it.verify(replace(_a_signed_request(it), headers={}), sample_of(it.name).ACCOUNT)


@HOOKED
def test_a_request_is_refused_by_an_account_with_other_secrets(it: Channel) -> None:
    account = sample_of(it.name).ACCOUNT
    for secrets in ({}, {name: ["another"] for name in account.secrets}):
        with pytest.raises(BadSignature):
            it.verify(_a_signed_request(it), replace(account, secrets=secrets))


@HOOKED
@EXAMPLES
@given(data=st.data())
def test_an_altered_request_is_refused(it: Channel, data: st.DataObject) -> None:
    signed = _a_signed_request(it)
    place = data.draw(st.integers(0, len(signed.body) - 1))
    altered = bytearray(signed.body)
    altered[place] ^= data.draw(st.integers(1, 255))
    # Some vendors sign what a form says, not how it is written: %2b and %2B are the same.
    says_the_same = getattr(sample_of(it.name), "says_the_same", lambda _a, _b: False)
    for body in (bytes(altered), signed.body[:place], signed.body + b" "):
        if not says_the_same(body, signed.body):
            with pytest.raises(BadSignature):
                it.verify(replace(signed, body=body), sample_of(it.name).ACCOUNT)


@HOOKED
@EXAMPLES
@given(value=st.text(st.characters(max_codepoint=255), max_size=100))
def test_whatever_stands_in_the_headers_is_a_bad_signature(it: Channel, value: str) -> None:
    signed = _a_signed_request(it)
    with pytest.raises(BadSignature):
        it.verify(replace(signed, headers=dict.fromkeys(signed.headers, value)), sample_of(it.name).ACCOUNT)


@HOOKED
@EXAMPLES
@given(body=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_as_a_bad_payload(it: Channel, body: bytes) -> None:
    _receive(it, body)


@HOOKED
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b"null", b"[" * 200_000, b'{"a":' * 50_000, b"9" * 10_000, '{"a":"ä"}'.encode("latin-1")],
    ids=["empty", "torn", "charset", "null", "deep_lists", "deep_objects", "long_number", "latin_1"],
)
def test_an_unreadable_body_is_a_bad_payload(it: Channel, body: bytes) -> None:
    with pytest.raises(BadPayload):
        it.receive(a_hook(body), sample_of(it.name).ACCOUNT)


@HOOKED
@EXAMPLES
@given(data=st.data())
def test_a_captured_body_with_changes_is_read_or_refused_as_a_bad_payload(it: Channel, data: st.DataObject) -> None:
    _receive(it, _mutated(it, data, data.draw(st.sampled_from(_captured(it)))))


def _receive(it: Channel, body: bytes) -> None:
    sample = sample_of(it.name)
    hook = sample.sign(a_hook(body))
    it.verify(hook, sample.ACCOUNT)
    try:
        received = it.receive(hook, sample.ACCOUNT)
    except BadPayload:
        return
    _fit_for_the_bus(received.items)


@HOOKED
def test_the_same_body_gives_the_same_items_whenever_it_comes(it: Channel) -> None:
    for body in _captured(it):
        # Instants that stand in no body.
        hook = replace(a_hook(encoded(it.name, body)), received_at=NOW + timedelta(microseconds=123_457))
        later = replace(hook, received_at=hook.received_at + timedelta(days=5))
        first, second = (it.receive(one, sample_of(it.name).ACCOUNT) for one in (hook, later))
        assert first.answer == second.answer
        assert _without_arrival(first.items, hook) == _without_arrival(second.items, later)


def _without_arrival(items: Any, hook: Hook) -> list[str]:
    """The items without the instant of their arrival, which holds where a vendor gives none."""
    arrived = msgspec.to_builtins(hook.received_at)
    return [repr((shown_item(item), _raw(item))).replace(arrived, "then") for item in items]


def _raw(item: Any) -> bytes:
    return item.raw if isinstance(item, BadItem) else getattr(item.data, "raw", b"")


@HOOKED
def test_different_facts_are_known_by_different_keys(it: Channel) -> None:
    for body in _captured(it):
        hook = a_hook(encoded(it.name, body))
        items = [i for i in it.receive(hook, sample_of(it.name).ACCOUNT).items if isinstance(i, Item)]
        known = [(item.address, item.data.keys[0]) for item in items]
        assert len(set(known)) == len(known)


# polls


async def _pages(it: Channel, vendor: Vendor, cursor: str = "") -> list[Page]:
    sample = sample_of(it.name)
    pages: list[Page] = []
    async with vendor.client() as http:
        async for page in it.poll(http, sample.ACCOUNT, sample.INBOX, cursor):
            pages.append(page)
            if len(pages) == MOST_PAGES:
                break
    return pages


@POLLED
@EXAMPLES
@given(data=st.data())
async def test_a_changed_answer_to_a_poll_is_read_or_an_error_of_ours(it: Channel, data: st.DataObject) -> None:
    bodies = [
        _mutated(it, data, body) for body in data.draw(st.lists(st.sampled_from(_captured(it)), min_size=1, max_size=3))
    ]
    try:
        pages = await _pages(it, Vendor([{"status": 200, "body": body} for body in bodies]))
    except DragomanError:
        return
    for page in pages:
        _fit_for_the_bus(page.items)


@POLLED
async def test_every_status_of_a_poll_is_an_error_of_ours(it: Channel) -> None:
    for status in STATUSES:
        with pytest.raises(DragomanError) as caught:
            await _pages(it, Vendor([{"status": status, "body": "<html>"}]))
        # A poll changes nothing, so nothing is in doubt.
        assert not isinstance(caught.value, OutcomeUnknown), status


@POLLED
async def test_the_same_answers_give_the_same_items(it: Channel) -> None:
    for table in tables("inbound", it.name):
        if "error" in table.data:
            continue
        answers = [call["answer"] for call in table.data["calls"]]
        first, second = [await _pages(it, Vendor(answers), table.data["cursor"]) for _ in range(2)]
        assert first == second


@POLLED
async def test_nothing_before_the_last_page_moves_the_cursor(it: Channel) -> None:
    for table in tables("inbound", it.name):
        if "error" not in table.data:
            pages = await _pages(it, Vendor([call["answer"] for call in table.data["calls"]]), table.data["cursor"])
            assert [page.cursor for page in pages[:-1]] == [None] * (len(pages) - 1)


# replies


def _written(it: Channel, text: str) -> list[str]:
    return [part.text for part in it.render(a_reply(it.name, sample_of(it.name).REPLY_CONTEXT, text))]


@WRITES
def test_a_text_at_the_limit_is_one_part_and_above_it_two(it: Channel) -> None:
    assert _written(it, "ä" * it.text_limit) == ["ä" * it.text_limit]
    assert [len(part) for part in _written(it, "ä" * (it.text_limit + 1))] == [it.text_limit, 1]


@WRITES
def test_a_long_text_is_cut_between_words_and_loses_none(it: Channel) -> None:
    words = [f"word{n}" for n in range(it.text_limit // 3)]
    parts = _written(it, " ".join(words))
    assert len(parts) > 1
    assert all(len(part) <= it.text_limit for part in parts)
    assert " ".join(parts).split() == words


@EVERY
@EXAMPLES
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=3, max_size=300))
def test_any_text_is_rendered_the_same_each_time_or_refused(it: Channel, text: str) -> None:
    reply = a_reply(it.name, sample_of(it.name).REPLY_CONTEXT, text)
    try:
        parts = it.render(reply)
    except Rejected:
        return
    assert parts == it.render(reply)
    assert parts
    assert b"\\u0000" not in msgspec.json.encode([shown_part(part) for part in parts])


@EVERY
@EXAMPLES
@given(context=st.binary(max_size=60) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_a_context_of_somebody_else_is_refused(it: Channel, context: bytes) -> None:
    reply = a_reply(it.name, context, "Hello there")
    with pytest.raises(Rejected):
        it.render(reply)
    assert isinstance(it.may_write(reply, sample_of(it.name).INBOX, NOW), Permission)


@WRITES
def test_the_sample_reply_may_be_written_and_a_person_can_read_why(it: Channel) -> None:
    sample = sample_of(it.name)
    permission = it.may_write(a_reply(it.name, sample.REPLY_CONTEXT, "Hello"), sample.INBOX, NOW)
    assert permission.allowed
    assert permission.until is None or permission.until > NOW


async def _send(it: Channel, answer: dict[str, Any]) -> str:
    async with Vendor([answer]).client() as http:
        return await _leave(it, http, sample_of(it.name).ACCOUNT)


async def _leave(it: Channel, http: Any, account: Account) -> str:
    """A reply, or where there are none a call."""
    sample = sample_of(it.name)
    if it.calls is not None:
        return await it.calls.place(http, sample.COMMAND, account, sample.INBOX, HOOK_URL)
    part = it.render(a_reply(it.name, sample.REPLY_CONTEXT, "A private word of the customer"))[0]
    attempt = Try(part=part, reference=REFERENCE, started_at=FAR_AHEAD - timedelta(days=1))
    return await it.send(http, attempt, account, sample.INBOX)


@CALLED
async def test_what_the_vendor_takes_has_its_id(it: Channel) -> None:
    status, body, external_id = sample_of(it.name).ACCEPTED
    assert await _send(it, {"status": status, "body": body}) == external_id


VERDICTS = (Rejected, AccountBroken, OutcomeUnknown, Throttled, Unavailable)
BODIES = ["", "<html>no</html>", "{", "[]", "null", '{"error": 7}', '{"error": {"code": [1]}}', "[" * 100_000]


@CALLED
@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
async def test_every_status_has_a_verdict(it: Channel, body: str) -> None:
    for status in STATUSES:
        with pytest.raises(VERDICTS) as caught:
            await _send(it, {"status": status, "body": body})
        # Only a vendor that says so did not take it.
        in_doubt = status >= 500 or status < 400
        assert not in_doubt or isinstance(caught.value, OutcomeUnknown), status


@CALLED
async def test_a_vendor_that_asks_to_wait_is_not_asked_before(it: Channel) -> None:
    for status in (429, 503):
        with pytest.raises(Throttled) as caught:
            await _send(it, {"status": status, "headers": {"retry-after": "90"}, "body": ""})
        assert caught.value.retry_after == timedelta(seconds=90)


@CALLED
@pytest.mark.parametrize("status", [200, 201, 400, 401, 403, 404, 429, 500, 503])
async def test_no_error_tells_a_secret_or_what_somebody_wrote(it: Channel, status: int) -> None:
    secrets = [value for values in sample_of(it.name).ACCOUNT.secrets.values() for value in values]
    private = [*secrets, "private word"]
    told = json.dumps({"message": " ".join(private)})
    for body in (told, json.dumps({"error": {"code": 100, "message": told}}), " ".join(private)):
        with pytest.raises(DragomanError) as caught:
            await _send(it, {"status": status, "body": body})
        words = f"{caught.value!s} {caught.value!r} {caught.value.code} {caught.value.__cause__!r}"
        assert not [word for word in private if word in words]


@EVERY
async def test_an_account_without_its_secrets_is_misconfigured(it: Channel) -> None:
    async with it.connect(plain_httpx=True) as vendor:
        with pytest.raises(InboxMisconfigured):
            await _leave(it, vendor, replace(sample_of(it.name).ACCOUNT, secrets={}))


@CALLS
async def test_a_line_carries_no_texts_and_a_person_can_read_why(it: Channel) -> None:
    sample = sample_of(it.name)
    permission = it.may_write(a_reply(it.name, sample.REPLY_CONTEXT, "Hello"), sample.INBOX, NOW)
    assert not permission.allowed
    assert permission.sentence
    with pytest.raises(Rejected) as caught:
        it.render(a_reply(it.name, sample.REPLY_CONTEXT, "Hello"))
    assert caught.value.code == permission.reason


@CALLS
async def test_every_status_of_asking_about_a_call_is_an_error_of_ours(it: Channel) -> None:
    assert it.calls is not None
    sample = sample_of(it.name)
    for external_id in (None, sample.ACCEPTED[2]):
        placed = Placed(command=sample.COMMAND, started_at=NOW, external_id=external_id)
        for status in (s for s in STATUSES if s != 200):
            async with Vendor([{"status": status, "body": "<html>"}]).client() as http:
                with pytest.raises(DragomanError) as caught:
                    await it.calls.follow(http, placed, sample.ACCOUNT, sample.INBOX)
            # Asking changes nothing, so nothing is in doubt.
            assert not isinstance(caught.value, OutcomeUnknown), status


# what is shown of a capture is what goes on the bus


@HOOKED
def test_an_item_keeps_its_own_bytes(it: Channel) -> None:
    for body in _captured(it):
        hook = a_hook(encoded(it.name, body))
        for item in it.receive(hook, sample_of(it.name).ACCOUNT).items:
            raw = _raw(item)
            # A form holds one item and is its bytes.
            assert not raw or raw == hook.body or json.loads(raw) is not None, shown_item(item)
