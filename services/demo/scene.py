"""The story itself: who comes to work, who writes when, what goes wrong, until everything is answered."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.demo.agents import OTHERS, SHIFT, Agent, be, ids, natives
from services.demo.api import Api, Document
from services.demo.board import Board
from services.demo.customers import ALMOST_AT_THE_NEXT_STEP, ALMOST_DUE, Customer, cast, command, misbehaviour
from services.demo.promises import Evidence, Forged
from services.demo.receiver import OPERATOR, Receiver
from services.demo.vendors import Vendors
from services.demo.watch import SUPERVISOR, Watch
from shared.clock import utc_now
from shared.errors import DragomanError
from shared.ids import derived_id

# Everything is over long before; whatever is not by then is a promise broken.
PATIENCE = 60.0
FULL_WITHIN = 15.0
SETTLES_IN = 1.0
FORGED = {"page": "100", "psid": "nobody", "text": "Please send the money to another account."}
FORGED_COUNTED = {"channel": "messenger", "outcome": "wrong_signature"}
MISSED_COUNTED = {"channel": "messenger", "what": "missed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the metrics and the stand-ins count at an instant: of much of it the demo is only the last."""

    at: datetime
    forged: float
    missed: float
    calls: Set[str]


@dataclass(frozen=True, slots=True)
class Scene:
    """Everybody who takes part; `play` is the whole of it."""

    api: Api
    vendors: Vendors
    board: Board
    receiver: Receiver

    async def play(self) -> Evidence:
        """What there is to see of it in the end. Raises DragomanError where it cannot be played there."""
        try:
            return await self._played(cast())
        except ExceptionGroup as group:
            known, others = group.split(DragomanError)
            if known is None or others is not None:
                raise
            raise _first(known) from None

    async def _played(self, customers: Sequence[Customer]) -> Evidence:
        names = await ids(self.api)
        before = await self._standing()
        watch = Watch(self.api, customers, names, self.board)
        async with self.receiver.told_by(self.api) as is_told, self._at_work(watch):
            if not is_told:
                self.board.note(f"No signed alert comes here: DRAGOMAN_WEBHOOK_HOSTS there lacks {self.receiver.url}")
            status = await self._happens(customers, names)
            await wait(lambda: self._is_over(watch, is_told=is_told), PATIENCE)
            # What comes twice comes now.
            await asyncio.sleep(SETTLES_IN)
        now = await self._standing()
        dead = (await self.api.get("/v1/dead?limit=100", OPERATOR))["items"]
        return Evidence(
            stories=watch.stories,
            names=names,
            taken=await self.vendors.taken(),
            requests=_since(before.at, await self.vendors.shown("requests"), "at"),
            calls=[call for call in await self.vendors.shown("phone/calls") if call["sid"] not in before.calls],
            forged=Forged(status=status, counted=now.forged - before.forged, is_shown=watch.finds(FORGED["text"])),
            alerts=self.receiver.alerts if is_told else None,
            missed=now.missed - before.missed,
            dead=len(_since(before.at, dead, "first_at")),
        )

    async def _standing(self) -> Standing:
        return Standing(
            at=utc_now(),
            forged=await self.api.figure("dragoman_hooks_total", **FORGED_COUNTED),
            missed=await self.api.figure("dragoman_deadlines_total", **MISSED_COUNTED),
            calls={call["sid"] for call in await self.vendors.shown("phone/calls")},
        )

    @asynccontextmanager
    async def _at_work(self, watch: Watch) -> AsyncIterator[None]:
        """The shift is there and the supervisor watches, until left."""
        for handle in OTHERS:
            await be(self.api, handle, "away")
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(work) for work in (watch.listen(), watch.look())]
            await watch.begun.wait()
            running += [tasks.create_task(Agent(shift, self.api).work()) for shift in SHIFT]
            self.board.note(f"{len(SHIFT)} agents come to work: {', '.join(shift.handle for shift in SHIFT)}")
            try:
                yield
            finally:
                for task in running:
                    task.cancel()
                for shift in SHIFT:
                    await be(self.api, shift.handle, "away")
                await self.vendors.behave()

    async def _happens(self, customers: Sequence[Customer], names: Mapping[str, str]) -> int | None:
        """Everybody writes; the status of the forged webhook."""
        for c in customers:
            if c.trouble is not None:
                await self.vendors.tell("misbehave", misbehaviour(c, c.trouble))
                self.board.note(f"{c.channel} {c.trouble.says}, for the answer to {c.name}")
        forged = await self.vendors.tell("messenger/forged", FORGED)
        self.board.note(f"A webhook that nobody signed comes: {forged['webhook_status']}")
        last = [c for c in customers if c.late == ALMOST_AT_THE_NEXT_STEP]
        for c in customers:
            if c not in last:
                await self._writes(c)
        await wait(
            lambda: self._are_full({id_ for id_, handle in names.items() if handle in natives("pl")}), FULL_WITHIN
        )
        for c in last:
            await self._writes(c)
        return int(forged["webhook_status"]) if forged["webhook_status"] else None

    async def _writes(self, customer: Customer) -> None:
        if customer.fate == "called":
            await self._asks_for_a_call(customer)
            return
        path, said = command(customer, utc_now())
        await self.vendors.tell(path, said)
        if customer.late:
            why = "so that its deadline is near" if customer.late == ALMOST_DUE else "while the pool is full"
            self.board.note(f"{customer.name}'s message comes late, {why}")

    async def _asks_for_a_call(self, c: Customer) -> None:
        """As the shop's server would, in a zone where it is day: nobody is called at night."""
        zone = zone_by_day(utc_now())
        wish = {
            "phone": c.address, "name": c.name, "text": c.text, "language": c.language, "matter": c.order, "zone": zone,
            "brand_id": str(derived_id("brand", c.inbox)),
        }  # fmt: skip
        await self.api.ask("POST", "/v1/callback-requests", SUPERVISOR, wish, **{"Idempotency-Key": f"demo-{c.order}"})
        self.board.note(f"{c.name} asks to be called back, in {zone}")

    async def _are_full(self, agents: Set[str]) -> bool:
        there = (await self.api.get("/v1/agents", SUPERVISOR))["items"]
        return all(a["load"] >= a["capacity"] for a in there if a["agent_id"] in agents)

    async def _is_over(self, watch: Watch, *, is_told: bool) -> bool:
        return all(story.is_over for story in watch.stories) and (not is_told or bool(self.receiver.alerts))


def _first(error: BaseException) -> BaseException:
    """One of those that tasks failed with at the same time; it says enough."""
    return _first(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


def _since(at: datetime, items: Sequence[Document], name: str) -> list[Document]:
    return [item for item in items if datetime.fromisoformat(item[name]) >= at]


async def wait(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Until it holds, or so long: the checks of the promises say what never came."""
    until = asyncio.get_running_loop().time() + seconds
    while True:
        if await condition() or asyncio.get_running_loop().time() > until:
            return
        await asyncio.sleep(0.1)


ZONES = ("Europe/Berlin", "America/New_York", "America/Los_Angeles", "Pacific/Auckland", "Asia/Tokyo", "Asia/Dubai")


def zone_by_day(now: datetime) -> str:
    """The first of some zones, customers being anywhere, in which it is between 9 and 19 o'clock."""
    return next(zone for zone in ZONES if 9 <= now.astimezone(ZoneInfo(zone)).hour < 19)
