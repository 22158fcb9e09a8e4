"""Stories as a Dragoman tells them in which every promise was kept; a test changes one thing of them."""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from services.demo.agents import SHIFT, natives
from services.demo.customers import ALMOST_AT_THE_NEXT_STEP, ALMOST_DUE, ANSWERS, Customer, cast
from services.demo.promises import Evidence, Forged
from services.demo.story import RECEIPTS, Story
from services.demo.vendors import Taken

AT = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
NAMES = {f"id-{shift.handle}": shift.handle for shift in SHIFT}


def after(seconds: float) -> str:
    return (AT + timedelta(seconds=seconds)).isoformat()


def a_message(c: Customer, kind: str, text: str, **more: Any) -> dict[str, Any]:
    told = {"id": f"{c.order}-{kind}", "kind": kind, "text": text, "state": None, "reason": "", "author_id": None}
    return {**told, "attachments": [], "received_at": after(0), **more}


def a_picture(name: str, state: str = "stored") -> dict[str, Any]:
    return {"kind": "image", "sha256": hashlib.sha256(name.encode()).hexdigest(), "state": state, "size": 100}


def an_entry(n: int, kind: str, at: float, **data: Any) -> dict[str, Any]:
    return {"n": n, "kind": kind, "at": after(at), "actor": "router", "data": data}


def a_story(c: Customer) -> Story:
    """As it goes when all is well with this customer."""
    goes_on = c.late == ALMOST_AT_THE_NEXT_STEP
    agent = f"id-{'james' if goes_on else natives(c.language)[0]}"
    level, step = ("fluent", 1) if goes_on else ("native", 0)
    sentence = f"Answers as a {level} speaker{'; step 2 of the plan' if goes_on else ''}."
    pictures = [a_picture(f"{n}") for n in range(c.pictures)]
    messages = [a_message(c, "inbound", c.text, attachments=pictures)]
    entries = [
        an_entry(1, "opened", 0),
        an_entry(2, "message_received", 0, message_id=messages[0]["id"]),
        an_entry(3, "queued", 0.1, because="new"),
        *([an_entry(4, "step_reached", 6)] if goes_on else []),
        an_entry(5, "offered", 6.1 if goes_on else 0.2, agent_id=agent),
        an_entry(6, "assigned", 6.2 if goes_on else 0.3, agent_id=agent, because="accepted"),
    ]
    if c.late == ALMOST_DUE:
        entries.append(an_entry(7, "deadline_passed", 5, what="missed"))
    if c.fate == "called":
        entries.append(an_entry(8, "call_placed", 1, agent_id=agent))
        entries.append(an_entry(9, "call_ended", 2, outcome="talked", seconds=42))
    else:
        is_refused = c.fate == "refused"
        state, reason = ("refused", "undeliverable") if is_refused else (RECEIPTS[c.channel], "")
        answer = ANSWERS[c.language].format(order=c.order)
        messages.append(a_message(c, "reply", answer, state=state, reason=reason, author_id=agent))
        entries.append(an_entry(8, "reply_written", 7, agent_id=agent))
        entries.append(an_entry(9, "reply_moved", 8, state=state))
        if is_refused:
            messages.append(a_message(c, "note", "The vendor refused it.", author_id=agent))
    shown = {
        "id": f"conversation-{c.order}", "customer_id": f"customer-{c.address}", "channel": c.channel,
        "language": c.language, "state": "resolved", "messages": messages,
        "decision": {"sentence": sentence, "evidence": {"agent": {"step": step, "level": level}}},
    }  # fmt: skip
    return Story(customer=c, conversations=[shown], history=entries, reasons=["Waits for a pool (new).", sentence])


def all_is_well() -> Evidence:
    stories = [a_story(c) for c in cast()]
    late = next(s for s in stories if s.customer.late == ALMOST_DUE)
    called = next(s.customer for s in stories if s.customer.fate == "called")
    return Evidence(
        stories=stories,
        names=NAMES,
        taken=[
            Taken(s.customer.channel.partition("_")[0], s.replies[0]["text"])
            for s in stories
            if s.customer.fate == "answered"
        ],
        requests=[
            {"vendor": s.customer.channel, "target": s.customer.inbox, "verdict": s.customer.trouble.verdict}
            for s in stories
            if s.customer.trouble
            for _ in range(s.customer.trouble.times)
        ],
        calls=[{"to": "+493023125001", "status": "completed"}, {"to": called.address, "status": "completed"}],
        forged=Forged(status=401, counted=1, is_shown=False),
        alerts=[("call-1", {"type": "deadline.missed", "data": {"conversation_id": late.conversations[0]["id"]}})],
        missed=1,
        dead=0,
    )


def the_one(evidence: Evidence, **wanted: object) -> Story:
    """The first whose customer is like this."""
    return next(s for s in evidence.stories if all(getattr(s.customer, k) == v for k, v in wanted.items()))


def instead(evidence: Evidence, story: Story, **changes: Any) -> Evidence:
    """The same with this story told otherwise."""
    return replace(evidence, stories=[replace(s, **changes) if s is story else s for s in evidence.stories])


def shown_with(story: Story, **changes: Any) -> list[Mapping[str, Any]]:
    """Its conversation, changed."""
    return [{**story.conversations[0], **changes}]


def with_message(story: Story, kind: str, **changes: Any) -> list[Mapping[str, Any]]:
    """Its conversation with the messages of a kind changed."""
    messages = [{**m, **changes} if m["kind"] == kind else m for m in story.conversations[0]["messages"]]
    return shown_with(story, messages=messages)


def without(story: Story, kind: str) -> list[Mapping[str, Any]]:
    """Its history without the entries of a kind."""
    return [entry for entry in story.history if entry["kind"] != kind]
