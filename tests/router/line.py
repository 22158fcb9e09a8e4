"""A telephone line for the world: its channel, its inbox, and agents who can be called."""

from collections.abc import Sequence
from typing import Any, NoReturn
from uuid import UUID

from services.router.results import Results
from services.router.timers import call_back
from shared.channels.contract import Calls, Channel, Permission
from shared.errors import Rejected
from shared.events import Address, CallbackRequested, CallEnded, Event, PlaceCall, Record, decode
from shared.ids import new_id
from tests.router.world import World, id_of

BERLIN, LONDON = "+493023125123", "+442079460123"


def _no_text(_reply: object) -> NoReturn:
    raise Rejected("no texts", code="calls_only")


async def _never(*_: object) -> NoReturn:
    raise AssertionError("no test of the router calls a vendor")


def _calls_only(*_: object) -> Permission:
    return Permission(allowed=False, reason="calls_only", sentence="Call them.")


LINE = Channel(
    name="phone", address_kind="phone", live=True, render=_no_text, send=_never, may_write=_calls_only, text_limit=0,
    calls=Calls(place=_never, follow=_never, hang_up=_never),
)  # fmt: skip


async def with_a_line(
    w: World, brand: str = "shop", phones: Sequence[str] = ("anna", "bernd"), **settings: Any
) -> None:
    """The brand has a line, these agents a telephone; a quarter of an hour to call back, five minutes in GB."""
    w.channels = (*(c for c in w.channels if c.name != "phone"), LINE)
    async with w.router.transaction() as tx:
        await tx.execute(
            "INSERT INTO config.account VALUES ($1, 'line', 'phone', 'Line', '{}') ON CONFLICT DO NOTHING",
            id_of("account-line"),
        )
        await tx.execute(
            "INSERT INTO config.inbox (id, brand_id, account_id, handle, channel, address, name, country, settings) "
            "VALUES ($1, $2, $3, $4, 'phone', $4, $4, 'DE', $5)",
            id_of(f"{brand}-line"), id_of(brand), id_of("account-line"), f"{brand}-line",
            {"countries": ["DE", "GB", "CH"]} | settings,
        )  # fmt: skip
        for agent in phones:
            await tx.execute("UPDATE config.agent SET phone = '+493023125000' WHERE handle = $1", agent)
        for country, seconds in ((None, 900), ("GB", 300)):
            await tx.execute(
                "INSERT INTO config.policy (id, handle, channel, country, first_response, warn_before) "
                "VALUES ($1, $2, 'phone', $3, $4, 60) ON CONFLICT DO NOTHING",
                id_of(f"policy-{country}"), f"call-{country}", country, seconds,
            )  # fmt: skip
        await tx.execute("UPDATE config.revision SET n = n + 1")


def a_wish(w: World, phone: str = BERLIN, *, brand: str = "shop", **more: Any) -> Event:
    data = CallbackRequested(
        channel="phone", keys=[str(new_id())], sender=Address(kind="phone", value=phone, name=more.pop("name", "")),
        occurred_at=w.clock.at, **more,
    )  # fmt: skip
    return Event(
        data=data, key="line", source="test", time=w.clock.at, brand_id=id_of(brand), inbox_id=id_of(f"{brand}-line")
    )


async def hang_up(w: World, outcome: str, *, times: int = 2, **more: Any) -> None:
    """The call that is under way ends like this; the responder tells it `times` times."""
    row = (await w.fetch("SELECT call_id, conversation_id FROM router.callback WHERE state = 'calling'"))[0]
    told = {"call_id": row["call_id"], "conversation_id": row["conversation_id"], "at": w.clock.at, **more}
    data = CallEnded(outcome=outcome, **told)  # type: ignore[arg-type]
    event = Event(data=data, key="k", source="responder", time=w.clock.at, brand_id=id_of("shop"))
    async with w.router.transaction() as tx:
        await Results(w.cache, w.channels)(tx, [event] * times)


async def come_due(w: World) -> int:
    async with w.router.transaction() as tx:
        return await call_back(tx, await w.cache.current(tx))


async def commands(w: World, kind: type = PlaceCall) -> list[Any]:
    """The commands in the outbox, in order."""
    rows = await w.fetch("SELECT topic, key, headers, value FROM bus.outbox WHERE topic = 'outbound' ORDER BY id")
    events = [decode(Record(r["topic"], r["key"], r["headers"], bytes(r["value"]))) for r in rows]
    return [event.data for event in events if isinstance(event.data, kind)]


async def the_conversation(w: World) -> UUID:
    found: UUID = await w.value("SELECT conversation_id FROM router.callback ORDER BY created_at DESC LIMIT 1")
    return found
