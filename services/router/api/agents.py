"""The agent themself: who I am, whether I am there, and who else is."""

from typing import Annotated, Literal

from fastapi import APIRouter, Body, Response
from pydantic import Field

from services.router.api.auth import Actor, Anybody, Who
from services.router.api.context import Context
from services.router.api.documents import agents as d
from services.router.api.problems import responses
from services.router.api.requests import Done, Form, answer
from services.router.store import agents
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1", tags=["me"])


class Status(Form):
    status: Literal["available", "away"] = Field(examples=["available"])


@api.get("/me", response_model=d.Me, responses=responses(), operation_id="getMe")
async def get_me(context: Context, who: Anybody) -> Response:
    """What the token stands for."""

    async def work(tx: Transaction) -> Done:
        agent = (await context.cache.current(tx)).agents.get(who.agent_id) if who.agent_id else None
        document = d.Me(
            actor=who.actor,
            name=agent.name if agent else who.actor,
            role=who.role,
            agent_id=who.agent_id,
            brands=sorted(who.brands),
            is_development=who.is_development,
        )
        return Done(document)

    return await answer(context, who, work)


@api.get("/agents", response_model=d.Colleagues, responses=responses(), operation_id="listAgents")
async def list_agents(context: Context, who: Actor) -> Response:
    """Everybody who serves a brand of mine: who is there, and how much each holds."""

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        shown = [a for a in configuration.agents.values() if configuration.serves(a.id, who.brands)]
        there = set(await agents.available(tx))
        loads = await agents.loads(tx, [agent.id for agent in shown])
        items = [
            d.Colleague(
                agent_id=agent.id,
                name=agent.name,
                languages=sorted(configuration.languages_of(agent.id)),
                status="available" if agent.id in there else "away",
                load=loads[agent.id],
                capacity=agent.capacity,
            )
            for agent in sorted(shown, key=lambda a: (a.name, a.id))
        ]
        return Done(d.Colleagues(items=items))

    return await answer(context, who, work)


@api.get("/presence", response_model=d.PresenceDocument, responses=responses(), operation_id="getPresence")
async def get_presence(context: Context, who: Who) -> Response:
    """Whether I am there, and until when."""

    async def work(tx: Transaction) -> Done:
        found = (await agents.presences(tx, [who.agent])).get(who.agent)
        if found is None or found.until <= tx.now:
            return Done(d.PresenceDocument(status="away", until=None))
        return Done(d.PresenceDocument(status=found.status, until=found.until))

    return await answer(context, who, work)


@api.put("/presence", response_model=d.PresenceDocument, responses=responses(400, 409, 413), operation_id="setPresence")
async def set_presence(context: Context, who: Actor, body: Annotated[Status, Body()]) -> Response:
    """Renews the lease of a minute; `available` gets new work."""

    async def work(tx: Transaction) -> Done:
        presence = await agents.set_presence(tx, who.agent, body.status)
        tx.after_commit(context.dispatcher.hint)
        return Done(d.PresenceDocument(status=presence.status, until=presence.until))

    return await answer(context, who, work)
