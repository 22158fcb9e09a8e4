"""Text that can be stored, cut and compared, whatever vendors put into it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.channels.text import KEY_LIMIT, clean, key, read_json, split, text_hash, write_json
from shared.errors import BadPayload

PATIENT = settings(deadline=None)
ANY = st.text(st.characters(exclude_categories=[]), max_size=60)


@PATIENT
@given(text=ANY)
def test_a_clean_text_can_be_stored_and_is_clean(text: str) -> None:
    cleaned = clean(text)
    assert "\x00" not in cleaned.encode().decode()
    assert clean(cleaned) == cleaned


@PATIENT
@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_nothing_is_taken_from_a_text_that_can_be_stored(text: str) -> None:
    assert clean(text) == text


@PATIENT
@given(text=st.text(st.sampled_from("ab äöß\n\t漢字😀"), max_size=200), limit=st.integers(1, 40))
def test_pieces_fit_the_limit_and_lose_nothing_but_space(text: str, limit: int) -> None:
    pieces = split(text, limit)
    assert all(0 < len(piece) <= limit for piece in pieces)
    assert "".join("".join(pieces).split()) == "".join(text.split())


def test_a_text_is_cut_at_a_line_or_between_words() -> None:
    assert split("one two three", 8) == ["one two", "three"]
    assert split("first line\nsecond", 12) == ["first line", "second"]
    assert split("exactly", 7) == ["exactly"]
    assert split("  ", 7) == []


def test_a_word_without_end_is_cut_at_the_limit() -> None:
    assert split("a" * 25, 10) == ["a" * 10, "a" * 10, "a" * 5]
    # Not at a space so early that most of a piece would be empty.
    assert split("a " + "b" * 25, 10) == ["a bbbbbbbb", "b" * 10, "b" * 7]


@PATIENT
@given(words=st.lists(st.text(st.characters(categories=["L", "N"]), min_size=1), max_size=8))
def test_a_text_and_its_echo_have_one_hash_whatever_happened_to_its_space(words: list[str]) -> None:
    assert text_hash(" ".join(words)) == text_hash("\n " + " \t".join(words) + "\u00a0\n")


def test_other_words_have_another_hash() -> None:
    assert text_hash("one two") != text_hash("onetwo")


@PATIENT
@given(value=st.recursive(st.none() | st.integers() | ANY, lambda inner: st.lists(inner) | st.dictionaries(ANY, inner)))
def test_an_item_is_kept_as_it_came(value: object) -> None:
    assert read_json(json.dumps(value).encode()) == value
    assert json.loads(write_json(value)) == value


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 10_000, b'"\\ud83d', b"{1:2}"])
def test_what_is_no_json_is_a_bad_payload(body: bytes) -> None:
    with pytest.raises(BadPayload):
        read_json(body)


def test_what_no_parser_can_hold_is_still_written_as_json() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert json.loads(write_json(deep))


def test_a_key_is_readable_until_it_is_too_long_for_an_index() -> None:
    assert key("read", "4455", "17") == "read:4455:17"
    long = key("delivered", "x" * KEY_LIMIT)
    assert long.startswith("delivered:")
    assert len(long) < 100
    assert long != key("delivered", "y" * KEY_LIMIT)
