"""The board: a table at a terminal, plain lines elsewhere, each hop once."""

import io
from dataclasses import replace

from rich.console import Console

from services.demo.board import Board
from services.demo.story import HOPS, Story
from tests.demo.tellings import NAMES, all_is_well, the_one


def test_plain_lines_tell_every_hop_once_and_hold_no_control_characters() -> None:
    out = io.StringIO()
    stories = all_is_well().stories
    with Board(Console(file=out, width=40)) as board:
        board.note("Agents come to work")
        board.show(stories[:1], NAMES)
        board.show(stories, NAMES)
        board.show(stories, NAMES)
    lines = out.getvalue().splitlines()
    assert all(line.isprintable() for line in lines)
    assert lines[0] == "Agents come to work"
    for story in stories:
        own = [line for line in lines if line.startswith(f"{story.customer.order} ")]
        assert len(own) == len(story.hops(NAMES)) + len(story.reasons) == len(HOPS) + 2
    (answered,) = [line for line in lines if line.startswith(stories[0].customer.order) and "answered" in line]
    assert answered.endswith("+7.00  by giulia")


def test_at_a_terminal_there_is_a_table_with_a_row_a_message() -> None:
    out = io.StringIO()
    with Board(Console(file=out, width=200, force_terminal=True)) as board:
        board.note("Agents come to work")
        board.show(all_is_well().stories, NAMES)
    text = out.getvalue()
    assert "\x1b[" in text
    # The last drawing alone: each is drawn over the one before.
    last = text[text.rindex("Every message, hop by hop") :]
    shown = ("Giorgia", "Daan", "Amélie", "Halina", "step 2 of the plan", "Agents come to work", *HOPS)
    assert [words for words in shown if words not in last] == []


def test_hops_begin_with_the_customers_message_not_with_what_was_before() -> None:
    story = the_one(all_is_well(), channel="twilio_sms")
    before = [{**e, "n": 0, "at": "2026-11-24T12:00:00+00:00"} for e in story.history if e["kind"] == "queued"]
    assert replace(story, history=[*before, *story.history]).hops(NAMES) == story.hops(NAMES)


def test_a_message_that_never_came_has_no_hops_and_is_not_over() -> None:
    story = the_one(all_is_well(), channel="email")
    nothing = Story(customer=story.customer)
    assert (dict(nothing.hops(NAMES)), nothing.is_over, story.is_over) == ({}, False, True)
