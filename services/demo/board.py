"""The live table of every message and its hops; plain lines where nobody sits at a terminal."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from services.demo.story import HOPS, Hop, Story

NOTES_SHOWN = 8
Names = Mapping[str, str]


class Board:
    """What happened so far, again whenever something did."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=5) if console.is_terminal else None
        self._told: set[tuple[str, str, str]] = set()
        self._notes: list[str] = []
        self._stories: Sequence[Story] = ()
        self._names: Names = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def note(self, text: str) -> None:
        """Something that is no hop of a message."""
        self._notes.append(text)
        if self._live is None:
            self._line(text)
        else:
            self._draw(self._live)

    def show(self, stories: Sequence[Story], names: Names) -> None:
        """How the messages stand now."""
        self._stories, self._names = stories, names
        if self._live is not None:
            return self._draw(self._live)
        for story in stories:
            hops = story.hops(names)
            for name, hop in hops.items():
                self._once(story, name, f"{after(name, hops):>8}  {hop.detail}")
            for reason in story.reasons:
                self._once(story, "because", f"{'':>8}  {reason}")
        return None

    def _once(self, story: Story, name: str, text: str) -> None:
        key = (story.customer.order, name, text)
        if key not in self._told:
            self._told.add(key)
            c = story.customer
            self._line(f"{c.order}  {c.name:<8} {c.channel:<15} {c.language}  {name:<9} {text}".rstrip())

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _draw(self, live: Live) -> None:
        below = [*self._notes[-NOTES_SHOWN:], *reasons(self._stories)]
        live.update(Group(table(self._stories, self._names), *(Text(line, style="dim") for line in below)))


def table(stories: Sequence[Story], names: Names) -> Table:
    """A row a message; times are seconds since it was received."""
    drawn = Table(title="Every message, hop by hop", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("customer", "channel", "", "agent", *HOPS):
        drawn.add_column(heading, no_wrap=True)
    for story in stories:
        hops, c = story.hops(names), story.customer
        agent = hops["held out"].detail.rpartition(" ")[2] if "held out" in hops else ""
        cells = [after(name, hops) if name in hops else "" for name in HOPS]
        outcome = hops["outcome"].detail.partition(" ")[0] if "outcome" in hops else ""
        drawn.add_row(
            c.name, c.channel, c.language, agent, *cells[:-1], Text(f"{cells[-1]} {outcome}", style=_style(story))
        )
    return drawn


def reasons(stories: Sequence[Story]) -> Iterator[str]:
    """Why whoever waits does, and why one went by a later step of the plan."""
    for story in stories:
        if story.reasons and (story.of_kind("step_reached") or "held out" not in story.hops({})):
            yield f"{story.customer.name}: {story.reasons[-1]}"


def after(name: str, hops: Mapping[str, Hop]) -> str:
    """Of the first hop its time of day, of the others how long after that they were."""
    at, first = hops[name].at, next(iter(hops.values())).at
    return f"{at.astimezone():%H:%M:%S}" if name == HOPS[0] else f"+{(at - first).total_seconds():.2f}"


def _style(story: Story) -> str:
    if story.customer.fate == "refused" and story.is_over:
        return "yellow"
    return "green" if story.is_over else "dim"
