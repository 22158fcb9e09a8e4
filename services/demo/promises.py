"""What Dragoman promises, checked one by one by what the API, the stand-ins and the receiver of alerts show."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.demo.agents import natives
from services.demo.api import Document
from services.demo.customers import ALMOST_AT_THE_NEXT_STEP, ALMOST_DUE, ANSWERS
from services.demo.story import RECEIPTS, Story
from services.demo.vendors import Taken


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """What became of the webhook that no vendor signed: its status, how many were counted, and whether it is shown."""

    status: int | None
    counted: float
    is_shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Everything that the checks look at; `names` are the handles of whoever works by their ids.

    `requests` are those that the stand-ins got. `alerts` are those of missed deadlines with the ids of their calls,
    None where this Dragoman calls no address of this machine, `missed` how many it counted itself; `dead` is how many
    items could not be handled.
    """

    stories: Sequence[Story]
    names: Mapping[str, str]
    taken: Sequence[Taken]
    requests: Sequence[Document]
    calls: Sequence[Document]
    forged: Forged
    alerts: Sequence[tuple[str, Any]] | None
    missed: float
    dead: int

    def of(self, fate: str) -> Iterator[Story]:
        return (story for story in self.stories if story.customer.fate == fate)

    def taken_of(self, story: Story) -> list[Taken]:
        return [taken for taken in self.taken if story.customer.order in taken.text]


Faults = Iterator[str]


@dataclass(frozen=True, slots=True)
class Promise:
    """What is promised, and what tells the faults that it finds."""

    says: str
    check: Callable[[Evidence], Faults]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise is kept where no fault was found."""

    says: str
    faults: Sequence[str]


def verdicts(evidence: Evidence) -> list[Verdict]:
    return [Verdict(promise.says, list(promise.check(evidence))) for promise in PROMISES]


def _who(story: Story) -> str:
    c = story.customer
    return f"{c.name} ({c.channel}, {c.order})"


def _in_the_history_once(evidence: Evidence) -> Faults:
    for story in evidence.stories:
        entries = [e for e in story.of_kind("message_received") if e["data"]["message_id"] == story.asked[0]["id"]]
        if len(story.asked) != 1 or len(entries) != 1:
            yield f"{_who(story)} is shown {len(story.asked)} times, with {len(entries)} entries"


def _natives(evidence: Evidence) -> Faults:
    for story in evidence.stories:
        c = story.customer
        agents = {evidence.names.get(e["data"]["agent_id"], "somebody else") for e in story.of_kind("assigned")}
        if story.shown is None or story.shown["language"] != c.language:
            yield f"{_who(story)} was not understood as {c.language}"
        elif not agents:
            yield f"{_who(story)} reached nobody"
        elif not agents <= set(natives(c.language)) and not _went_on(story):
            yield f"{_who(story)} went to {', '.join(sorted(agents))} without a reason"


def _went_on(story: Story) -> bool:
    """Whether it went by a later step of the plan, and the decision says so."""
    decision = (story.shown or {}).get("decision") or {}
    agent = decision.get("evidence", {}).get("agent") or {}
    return agent.get("step", 0) > 0 and agent.get("level") == "fluent" and "of the plan" in decision["sentence"]


def _full_pool(evidence: Evidence) -> Faults:
    for story in evidence.stories:
        if story.customer.late != ALMOST_AT_THE_NEXT_STEP:
            continue
        if not any(reason.startswith("Waits for ") for reason in story.reasons):
            yield f"{_who(story)} did not wait, or nobody said why"
        if not story.of_kind("step_reached") or not _went_on(story):
            yield f"{_who(story)} did not go by the next step of the plan"


def _answered_once(evidence: Evidence) -> Faults:
    for story in evidence.of("answered"):
        c, taken = story.customer, evidence.taken_of(story)
        if len(taken) != 1:
            yield f"{_who(story)} got {len(taken)} answers"
        elif taken[0].vendor != c.channel.partition("_")[0]:
            yield f"{_who(story)} was answered by {taken[0].vendor}"
        elif ANSWERS[c.language].format(order=c.order) not in taken[0].text:
            yield f"{_who(story)} was not answered in {c.language}"


def _receipts(evidence: Evidence) -> Faults:
    for story in evidence.of("answered"):
        states, wanted = [m["state"] for m in story.replies], RECEIPTS[story.customer.channel]
        if states != [wanted]:
            yield f"{_who(story)}: {', '.join(states) or 'no answer'}, not {wanted}"


def _outages(evidence: Evidence) -> Faults:
    for story in evidence.stories:
        c, trouble = story.customer, story.customer.trouble
        if trouble is None:
            continue
        met = [
            r for r in evidence.requests
            if (r["vendor"], r["target"]) == (c.channel, c.inbox) and r["verdict"].startswith(trouble.verdict)
        ]  # fmt: skip
        if len(met) != trouble.times:
            yield f"{_who(story)}: the vendor's trouble ({trouble.mode}) was met {len(met)} times, not {trouble.times}"
        if c.fate == "answered" and len(evidence.taken_of(story)) != 1:
            yield f"{_who(story)} got {len(evidence.taken_of(story))} answers"


def _refused(evidence: Evidence) -> Faults:
    for story in evidence.of("refused"):
        replies = [(m["state"], bool(m["reason"])) for m in story.replies]
        if replies != [("refused", True)]:
            yield f"{_who(story)}: {', '.join(state for state, _ in replies) or 'no answer'}, not refused with a reason"
        if not [m for m in story.messages("note") if m["author_id"] in evidence.names]:
            yield f"{_who(story)}: the agent did not learn of it"
        if evidence.taken_of(story):
            yield f"{_who(story)}: the vendor took it all the same"


def _missed(evidence: Evidence) -> Faults:
    if evidence.missed != 1:
        yield f"{evidence.missed:.0f} were counted"
    for story in evidence.stories:
        wanted = 1 if story.customer.late == ALMOST_DUE else 0
        if len(story.missed) != wanted:
            yield f"{_who(story)}: {len(story.missed)} deadlines were told as missed, not {wanted}"
        if evidence.alerts is None:
            continue
        ids = [c["id"] for c in story.conversations]
        told = [id_ for id_, alert in evidence.alerts if alert["data"]["conversation_id"] in ids]
        if len(told) != wanted:
            yield f"{_who(story)}: {len(told)} signed alerts came, not {wanted}"


def _album(evidence: Evidence) -> Faults:
    for story in evidence.stories:
        c = story.customer
        stored = {picture["sha256"] for picture in story.pictures if picture["state"] == "stored"}
        if (len(stored), len(story.pictures)) != (c.pictures, c.pictures):
            yield f"{_who(story)}: {len(stored)} of {c.pictures} pictures are kept, {len(story.pictures)} are shown"


def _call(evidence: Evidence) -> Faults:
    for story in evidence.of("called"):
        outcomes = [entry["data"]["outcome"] for entry in story.of_kind("call_ended")]
        if outcomes != ["talked"]:
            yield f"{_who(story)}: the history has {', '.join(outcomes) or 'no call'}, not talked"
        ends = [call for call in evidence.calls if call["to"] == story.customer.address]
        if [call["status"] for call in ends] != ["completed"]:
            yield f"{_who(story)}: the telephone was rung {len(ends)} times"


def _one_customer(evidence: Evidence) -> Faults:
    called = {story.customer.address for story in evidence.of("called")}
    for address in called:
        stories = [story for story in evidence.stories if story.customer.address == address]
        ids = {story.shown["customer_id"] if story.shown else None for story in stories}
        if len(ids) != 1 or None in ids:
            yield f"{stories[0].customer.name} is {len(ids)} customers over {len(stories)} channels"


def _forged(evidence: Evidence) -> Faults:
    forged = evidence.forged
    if forged.status != 401:
        yield f"it was answered {forged.status}"
    if forged.counted != 1:
        yield f"{forged.counted:.0f} were counted"
    if forged.is_shown:
        yield "its words stand in a conversation"


def _dead(evidence: Evidence) -> Faults:
    if evidence.dead:
        yield f"{evidence.dead} items are dead letters"


PROMISES = (
    Promise("Every message is in its conversation and its history exactly once", _in_the_history_once),
    Promise("Each reached a native speaker, or the plan's next step with the reason", _natives),
    Promise("A full pool: the message waited, and went by the next step, both with a sentence", _full_pool),
    Promise("Each was answered in its language on its channel, and the vendor took one answer", _answered_once),
    Promise("What the vendors say of the answers came back: read, delivered, accepted", _receipts),
    Promise("Vendors that were overloaded, down or silent got each answer exactly once", _outages),
    Promise("The answer that a vendor refused for good was told to its agent, with the reason", _refused),
    Promise("The missed deadline was alerted once, and no other", _missed),
    Promise("The album has its ten pictures, all kept", _album),
    Promise("The call back was made, and its outcome stands in the history", _call),
    Promise("Who wrote and asked to be called is one customer", _one_customer),
    Promise("The forged webhook was refused with 401, counted, and is shown nowhere", _forged),
    Promise("Nothing became a dead letter", _dead),
)
