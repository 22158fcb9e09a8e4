"""The end of the demo: its figures, as the API and the metrics give them, and each promise with a tick or a cross."""

from collections.abc import Iterator, Sequence
from statistics import median

from rich.console import Console
from rich.text import Text

from services.demo.agents import TAKEN, natives
from services.demo.promises import Evidence, Verdict
from services.demo.story import Story


def figures(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """What happened, in numbers."""
    stories = evidence.stories
    shown = [story.shown for story in stories if story.shown]
    waits = [wait for story in stories if (wait := _answered_after(story, evidence)) is not None]
    replies = [m["state"] for story in stories for m in story.replies]
    calls = [entry["data"] for story in stories for entry in story.of_kind("call_ended")]
    pictures = [a for story in stories for a in story.pictures if a["state"] == "stored"]
    yield (
        "messages",
        (
            f"{sum(len(s.messages('inbound')) for s in stories)} of {len(shown)} conversations, on "
            f"{len({s['channel'] for s in shown})} channels, in {len({s['language'] for s in shown})} languages"
        ),
    )
    yield (
        "taken by",
        f"{sum(_is_native(story, evidence) for story in stories)} of {len(stories)} times a native speaker",
    )
    if waits:
        yield "answered after", f"{median(waits):.1f} s (median), {max(waits):.1f} s at most"
    yield "answers", f"{sum(state in TAKEN for state in replies)} taken by their vendors, {_counted(replies)}"
    yield "pictures", f"{len(pictures)} kept, {sum(a['size'] or 0 for a in pictures)} bytes"
    yield "calls", ", ".join(f"{call['outcome']} for {call.get('seconds', 0)} s" for call in calls) or "none"
    yield "deadlines missed", f"{sum(len(story.missed) for story in stories)}"
    yield "webhooks refused", f"{evidence.forged.counted:.0f}"


def tell(console: Console, evidence: Evidence, found: Sequence[Verdict]) -> bool:
    """Prints all of it; whether every promise was kept."""
    console.print()
    for name, value in figures(evidence):
        _line(console, f"{name:<17} {value}")
    console.print()
    for verdict in found:
        mark, style = ("✗", "red") if verdict.faults else ("✓", "green")
        _line(console, f"{mark} {verdict.says}", style)
        for fault in verdict.faults:
            _line(console, f"    {fault}", style)
    broken = sum(bool(verdict.faults) for verdict in found)
    console.print()
    _line(console, f"{broken} of {len(found)} promises broken" if broken else f"All {len(found)} promises kept")
    return not broken


def _line(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)


def _is_native(story: Story, evidence: Evidence) -> bool:
    agents = {evidence.names.get(entry["data"]["agent_id"]) for entry in story.of_kind("assigned")}
    return bool(agents) and agents <= set(natives(story.customer.language))


def _answered_after(story: Story, evidence: Evidence) -> float | None:
    hops = story.hops(evidence.names)
    if "answered" not in hops or "received" not in hops:
        return None
    return (hops["answered"].at - hops["received"].at).total_seconds()


def _counted(states: Sequence[str]) -> str:
    return ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states))) or "none"
