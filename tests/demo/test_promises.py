"""A promise that was not kept is found out: each check fails for what it is there for, and for nothing else."""

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from services.demo.customers import ALMOST_AT_THE_NEXT_STEP, ALMOST_DUE
from services.demo.promises import PROMISES, Evidence, Forged, verdicts
from services.demo.summary import tell
from services.demo.vendors import Taken
from tests.demo.tellings import a_picture, all_is_well, an_entry, instead, shown_with, the_one, with_message, without

Change = Callable[[Evidence], Evidence]


def lost(e: Evidence) -> Evidence:
    return instead(e, the_one(e, channel="email"), conversations=[], history=[])


def doubled(e: Evidence) -> Evidence:
    story = the_one(e, channel="email")
    twice = [*story.conversations[0]["messages"], {**story.asked[0], "id": "another"}]
    return instead(e, story, conversations=shown_with(story, messages=twice))


def no_entry(e: Evidence) -> Evidence:
    story = the_one(e, channel="email")
    # Another entry about the message keeps what follows it in sight.
    other = an_entry(2, "unrecognised", 0, message_id=story.asked[0]["id"])
    return instead(e, story, history=[other, *without(story, "message_received")])


def wrong_agent(e: Evidence) -> Evidence:
    story = the_one(e, channel="email")
    given = an_entry(6, "assigned", 0.3, agent_id="id-piotr", because="dispatch")
    return instead(e, story, history=[given if entry["kind"] == "assigned" else entry for entry in story.history])


def nobody(e: Evidence) -> Evidence:
    story = the_one(e, channel="mirakl")
    return instead(e, story, history=without(story, "assigned"))


def misunderstood(e: Evidence) -> Evidence:
    story = the_one(e, channel="email")
    return instead(e, story, conversations=shown_with(story, language="da"))


def no_reason(e: Evidence) -> Evidence:
    story = the_one(e, late=ALMOST_AT_THE_NEXT_STEP)
    return instead(e, story, reasons=story.reasons[1:])


def no_step(e: Evidence) -> Evidence:
    story = the_one(e, late=ALMOST_AT_THE_NEXT_STEP)
    return instead(e, story, history=without(story, "step_reached"))


def answered_twice(e: Evidence) -> Evidence:
    return replace(e, taken=[*e.taken, Taken("email", the_one(e, channel="email").replies[0]["text"])])


def never_answered(e: Evidence) -> Evidence:
    order = the_one(e, channel="email").customer.order
    return replace(e, taken=[taken for taken in e.taken if order not in taken.text])


def elsewhere(e: Evidence) -> Evidence:
    order = the_one(e, channel="email").customer.order
    return replace(e, taken=[Taken("mirakl", t.text) if order in t.text else t for t in e.taken])


def in_english(e: Evidence) -> Evidence:
    order = the_one(e, channel="email").customer.order
    return replace(e, taken=[Taken(t.vendor, f"Soon: {order}") if order in t.text else t for t in e.taken])


def never_read(e: Evidence) -> Evidence:
    story = the_one(e, channel="twilio_whatsapp")
    return instead(e, story, conversations=with_message(story, "reply", state="sent"))


def no_outage(e: Evidence) -> Evidence:
    return replace(e, requests=[r for r in e.requests if r["vendor"] != "mirakl"])


def sent_again_after_an_outage(e: Evidence) -> Evidence:
    text = the_one(e, channel="messenger", inbox="100").replies[0]["text"]
    return replace(e, taken=[*e.taken, Taken("messenger", text)])


def not_refused(e: Evidence) -> Evidence:
    story = the_one(e, fate="refused")
    return instead(e, story, conversations=with_message(story, "reply", state="unknown"))


def not_told(e: Evidence) -> Evidence:
    story = the_one(e, fate="refused")
    return instead(e, story, conversations=with_message(story, "note", author_id=None))


def refused_and_taken(e: Evidence) -> Evidence:
    return replace(e, taken=[*e.taken, Taken("whatsapp", the_one(e, fate="refused").replies[0]["text"])])


def no_alert(e: Evidence) -> Evidence:
    return replace(e, alerts=[])


def two_alerts(e: Evidence) -> Evidence:
    assert e.alerts is not None
    return replace(e, alerts=[*e.alerts, ("call-2", e.alerts[0][1])])


def counted_twice(e: Evidence) -> Evidence:
    return replace(e, missed=2)


def not_missed(e: Evidence) -> Evidence:
    story = the_one(e, late=ALMOST_DUE)
    return replace(instead(e, story, history=without(story, "deadline_passed")), alerts=None)


def missed_too(e: Evidence) -> Evidence:
    story = the_one(e, channel="email")
    return instead(e, story, history=[*story.history, an_entry(10, "deadline_passed", 9, what="missed")])


def nine_pictures(e: Evidence) -> Evidence:
    story = next(s for s in e.stories if s.customer.pictures)
    pictures = [*story.pictures[:-1], a_picture("9", "failed")]
    return instead(e, story, conversations=with_message(story, "inbound", attachments=pictures))


def not_called(e: Evidence) -> Evidence:
    story = the_one(e, fate="called")
    return instead(e, story, history=without(story, "call_ended"))


def rung_twice(e: Evidence) -> Evidence:
    return replace(e, calls=[*e.calls, e.calls[-1]])


def two_customers(e: Evidence) -> Evidence:
    story = the_one(e, fate="called")
    return instead(e, story, conversations=shown_with(story, customer_id="another"))


def taken_for_good(e: Evidence) -> Evidence:
    return replace(e, forged=Forged(status=200, counted=1, is_shown=False))


def not_counted(e: Evidence) -> Evidence:
    return replace(e, forged=Forged(status=401, counted=0, is_shown=False))


def shown_all_the_same(e: Evidence) -> Evidence:
    return replace(e, forged=Forged(status=401, counted=1, is_shown=True))


def dead(e: Evidence) -> Evidence:
    return replace(e, dead=2)


HISTORY, NATIVE, FULL, ONCE, TOLD, OUTAGES, REFUSED, MISSED, ALBUM, CALL, CUSTOMER, FORGED, DEAD = range(13)
CASES: list[tuple[Change, set[int]]] = [
    (lost, {HISTORY, NATIVE, TOLD}),
    (doubled, {HISTORY}),
    (no_entry, {HISTORY}),
    (wrong_agent, {NATIVE}),
    (nobody, {NATIVE}),
    (misunderstood, {NATIVE}),
    (no_reason, {FULL}),
    (no_step, {FULL}),
    (answered_twice, {ONCE}),
    (never_answered, {ONCE}),
    (elsewhere, {ONCE}),
    (in_english, {ONCE}),
    (never_read, {TOLD}),
    (no_outage, {OUTAGES}),
    (sent_again_after_an_outage, {ONCE, OUTAGES}),
    (not_refused, {REFUSED}),
    (not_told, {REFUSED}),
    (refused_and_taken, {REFUSED}),
    (no_alert, {MISSED}),
    (two_alerts, {MISSED}),
    (counted_twice, {MISSED}),
    (not_missed, {MISSED}),
    (missed_too, {MISSED}),
    (nine_pictures, {ALBUM}),
    (not_called, {CALL}),
    (rung_twice, {CALL}),
    (two_customers, {CUSTOMER}),
    (taken_for_good, {FORGED}),
    (not_counted, {FORGED}),
    (shown_all_the_same, {FORGED}),
    (dead, {DEAD}),
]


def told(evidence: Evidence) -> tuple[bool, str]:
    out = io.StringIO()
    is_kept = tell(Console(file=out, width=200), evidence, verdicts(evidence))
    return is_kept, out.getvalue()


def test_every_promise_has_a_case_that_breaks_it() -> None:
    assert set().union(*(broken for _, broken in CASES)) == set(range(len(PROMISES)))


def test_where_all_is_well_every_promise_has_a_tick() -> None:
    is_kept, text = told(all_is_well())
    assert is_kept
    assert (text.count("✓"), text.count("✗")) == (len(PROMISES), 0)
    assert f"All {len(PROMISES)} promises kept" in text


@pytest.mark.parametrize(("change", "broken"), CASES, ids=[change.__name__ for change, _ in CASES])
def test_a_broken_promise_has_a_cross_and_what_is_wrong(change: Change, broken: set[int]) -> None:
    evidence = change(all_is_well())
    is_kept, text = told(evidence)
    assert not is_kept
    found = verdicts(evidence)
    assert {n for n, verdict in enumerate(found) if verdict.faults} == broken
    for n in broken:
        assert f"✗ {found[n].says}\n    {found[n].faults[0]}" in text


def test_without_a_receiver_the_history_alone_tells_of_the_missed_deadline() -> None:
    assert told(replace(all_is_well(), alerts=None))[0]
