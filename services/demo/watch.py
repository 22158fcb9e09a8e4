"""The supervisor's program: told by the live stream, it looks at what changed, and shows it on the board."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services.demo.api import Api, Document
from services.demo.board import Board
from services.demo.customers import Customer
from services.demo.story import Story, told

SUPERVISOR = "sam"


class Watch:
    """What became of each customer's message so far."""

    def __init__(self, api: Api, customers: Sequence[Customer], names: Mapping[str, str], board: Board) -> None:
        self._api = api
        self._customers = customers
        self._names = names
        self._board = board
        self._seen: dict[str, tuple[Document, Sequence[Document]]] = {}
        self._reasons: dict[str, list[str]] = {}
        self._changed: set[str] = set()
        self._woken = asyncio.Event()
        self.begun = asyncio.Event()

    @property
    def stories(self) -> list[Story]:
        found = told(self._customers, list(self._seen.values()))
        return [replace(s, reasons=self._reasons.get(s.shown["id"], ())) if s.shown else s for s in found]

    def finds(self, text: str) -> bool:
        """Whether any conversation that changed meanwhile has these words."""
        return any(m["text"] == text for shown, _ in self._seen.values() for m in shown["messages"])

    async def listen(self) -> None:
        """Until cancelled."""
        async for change in self._api.changes(SUPERVISOR, mine=False):
            self.begun.set()
            # `begin` and `resync` name none: whatever is known may be older than it was.
            self._changed |= {change["conversation_id"]} if "conversation_id" in change else self._seen.keys()
            self._woken.set()

    async def look(self) -> None:
        """Until cancelled."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            changed, self._changed = self._changed, set()
            for id_ in sorted(changed):
                await self._look_at(id_)
            self._board.show(self.stories, self._names)

    async def _look_at(self, id_: str) -> None:
        path = f"/v1/conversations/{id_}"
        shown = await self._api.get(path, SUPERVISOR)
        history = (await self._api.get(f"{path}/history", SUPERVISOR))["items"]
        self._seen[id_] = (shown, history)
        reasons = self._reasons.setdefault(id_, [])
        sentence = (shown["decision"] or {}).get("sentence", "")
        if sentence and sentence not in reasons:
            reasons.append(sentence)
