"""Simulated agents: they come to work, take what is held out to them, answer in the customer's language, and go."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.demo.api import Api, Document
from services.demo.customers import ANSWERS, ORDER

# States of a reply that the vendor took.
TAKEN = frozenset({"accepted", "sent", "delivered", "read"})
# After something that came too late.
LOOK_AGAIN = 0.2


@dataclass(frozen=True, slots=True)
class Shift:
    """Who works: the languages that they speak natively, and the seconds that they take for an answer."""

    handle: str
    languages: frozenset[str]
    takes: float = 0.7


# One native speaker for each language, the only Polish one slow and the Dutch one too late; nobody else is there.
SHIFT = (
    Shift("anna", frozenset({"de"})),
    Shift("claire", frozenset({"fr"}), takes=1.5),
    Shift("giulia", frozenset({"it"})),
    Shift("lucia", frozenset({"es"})),
    Shift("sanne", frozenset({"nl"}), takes=7),
    Shift("piotr", frozenset({"pl"}), takes=15),
    Shift("james", frozenset({"en"})),
    Shift("astrid", frozenset({"sv"})),
)
# Of the sample configuration; whoever came by hand goes home, so that the story is the same each time.
OTHERS = (
    "bernd", "luc", "paolo", "mateo", "joris", "ewa", "emily", "nils", "mette", "soren", "kari", "lars", "aino",
    "mikko", "haruka", "kenji", "tessa", "robin", "mara", "jonas",
)  # fmt: skip


class Agent:
    """One agent's program: told by the live stream, it looks and does the next thing in each of its conversations."""

    def __init__(self, shift: Shift, api: Api) -> None:
        self._shift = shift
        self._api = api
        self._told: dict[str, asyncio.Event] = {}

    async def work(self) -> None:
        """Until cancelled."""
        me, handle = await self._api.get("/v1/me", self._shift.handle), self._shift.handle
        await be(self._api, handle, "available")
        async with asyncio.TaskGroup() as tasks:
            async for _ in self._api.changes(handle, mine=True):
                mine = await self._api.get("/v1/conversations?agent=me&limit=100", handle)
                for item in mine["items"]:
                    if item["id"] not in self._told:
                        self._told[item["id"]] = asyncio.Event()
                        tasks.create_task(self._attend(item["id"], me["agent_id"]))
                    self._told[item["id"]].set()

    async def _attend(self, conversation_id: str, me: str) -> None:
        told, path = self._told[conversation_id], f"/v1/conversations/{conversation_id}"
        while True:
            await told.wait()
            told.clear()
            shown = await self._api.get(path, self._shift.handle)
            if shown["agent_id"] == me and not await self._next(path, shown):
                await asyncio.sleep(LOOK_AGAIN)
                told.set()

    async def _next(self, path: str, shown: Document) -> bool:
        """Does what is next; False where it has changed meanwhile."""
        asked = orders(shown, "inbound")
        if shown["state"] == "offered" and asked:
            return await self._do("accept", path, shown, None)
        if shown["state"] == "offered":
            return await self._do("decline", path, shown, {"reason": "not of the demo"})
        if not asked:
            # Assigned to whoever is there, and not ours to answer: it waits for others once we are gone.
            return True
        owed = asked - orders(shown, "reply")
        if shown["channel"] == "phone":
            talked = any(m["kind"] == "call" and m["state"] == "talked" for m in shown["messages"])
            return not talked or await self._do("resolve", path, shown, {"reason": "talked"})
        if owed:
            await asyncio.sleep(self._shift.takes)
            # Meanwhile they may have written more.
            shown = await self._api.get(path, self._shift.handle)
            text = ANSWERS.get(shown["language"], ANSWERS["en"]).format(order=max(owed))
            return await self._do("reply", path, shown, {"text": text})
        return await self._finish(path, shown)

    async def _finish(self, path: str, shown: Document) -> bool:
        """Done once the vendor took the answer; where it refused, a note says so to whoever comes next."""
        replies = [m for m in shown["messages"] if m["kind"] == "reply"]
        states = {m["state"] for m in replies}
        if "refused" in states:
            refused = next(m for m in replies if m["state"] == "refused")
            note = {"text": f"The vendor refused the answer ({refused['reason']}): write by another channel."}
            await self._api.act("note", f"{path}/notes", self._shift.handle, shown, note)
            shown = await self._api.get(path, self._shift.handle)
            return await self._do("resolve", path, shown, {"reason": "the vendor refused"})
        return not replies or not states <= TAKEN or await self._do("resolve", path, shown, {"reason": "answered"})

    async def _do(self, action: str, path: str, shown: Document, body: object) -> bool:
        return await self._api.act(action, f"{path}/{action}", self._shift.handle, shown, body)


async def be(api: Api, handle: str, status: str) -> None:
    """Comes to work, or goes."""
    await api.ask("PUT", "/v1/presence", handle, {"status": status})


async def ids(api: Api) -> Mapping[str, str]:
    """Who works, by their ids in the API."""
    return {(await api.get("/v1/me", shift.handle))["agent_id"]: shift.handle for shift in SHIFT}


def orders(shown: Document, kind: str) -> set[str]:
    """The orders that the messages of a kind name; none where it is no conversation of the demo's."""
    return {order for m in shown["messages"] if m["kind"] == kind for order in ORDER.findall(m["text"])}


def natives(language: str) -> Sequence[str]:
    """Who of the shift speaks it natively."""
    return [shift.handle for shift in SHIFT if language in shift.languages]
