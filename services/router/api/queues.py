"""Queues: what waits in my pools, or for those who lead in all."""

from fastapi import APIRouter, Response

from services.router.api.auth import Who
from services.router.api.context import Context
from services.router.api.documents import queues as d
from services.router.api.problems import responses
from services.router.api.requests import Done, answer
from services.router.store import agents, screens
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1", tags=["queues"])


@api.get("/queues", response_model=d.QueuesDocument, responses=responses(), operation_id="listQueues")
async def list_queues(context: Context, who: Who) -> Response:
    """How many wait in each pool, since when, and when the first is due; of the caller's brands."""

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        pools = configuration.pools
        shown = [p for p in pools.values() if who.leads or who.agent_id in p.members]
        found = await screens.queues(tx, [pool.id for pool in shown])
        # Who serves none of the caller's brands is none of their affair.
        there = {id_ for id_ in await agents.available(tx) if configuration.serves(id_, who.brands)}
        nothing = {"waiting": 0, "oldest_at": None, "first_due_at": None}
        items = [
            d.QueueDocument(
                **{"pool_id": pool.id, **nothing, **found.get(pool.id, {})},
                name=pool.name,
                language=pool.language,
                agents_present=len(there & pool.members.keys()),
            )
            for pool in sorted(shown, key=lambda p: p.handle)
        ]
        return Done(d.QueuesDocument(items=items))

    return await answer(context, who, work)
