"""The live table of every message and its hops; plain lines where nobody sits at a terminal."""

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

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
                self._once(story, name, f"{after(name, hops):>9}  {hop.detail}")
            for reason in story.reasons:
                self._once(story, "because", f"{'':>9}  {reason}")
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
        notes = [Text(note, style="dim") for note in self._notes[-NOTES_SHOWN:]]
        live.update(Group(table(self._stories, self._names), *notes))


def table(stories: Sequence[Story], names: Names) -> Table:
    """A row a message; times are seconds since it was received."""
    drawn = Table(title="Every message, hop by hop", title_justify="left")
    for heading in ("customer", "channel", "", *HOPS):
        drawn.add_column(heading, no_wrap=True)
    drawn.add_column("why there", ratio=1)
    for story in stories:
        hops, c = story.hops(names), story.customer
        cells = [after(name, hops) if name in hops else "" for name in HOPS]
        outcome = hops["outcome"].detail if "outcome" in hops else ""
        shown = Text(f"{cells[-1]} {outcome}".strip(), style=_style(story))
        drawn.add_row(c.name, c.channel, c.language, *cells[:-1], shown, Text("".join(story.reasons[-1:]), style="dim"))
    return drawn


def after(name: str, hops: Mapping[str, Hop]) -> str:
    """Of the first hop its time of day, of the others how long after that they were."""
    at, first = hops[name].at, next(iter(hops.values())).at
    return f"{at.astimezone():%H:%M:%S}" if name == HOPS[0] else f"+{(at - first).total_seconds():.2f} s"


def _style(story: Story) -> str:
    if story.customer.fate == "refused" and story.is_over:
        return "yellow"
    return "green" if story.is_over else "dim"
