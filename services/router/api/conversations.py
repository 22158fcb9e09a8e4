"""Conversations: what an agent sees of them."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response

from services.router.api.auth import Who
from services.router.api.context import Context
from services.router.api.documents import conversations as d
from services.router.api.documents.messages import MessageDocument, TimelineMessage
from services.router.api.pages import Cursor, Limit, next_cursor, read_cursor
from services.router.api.permissions import to_write
from services.router.api.problems import not_found, responses
from services.router.api.requests import Done, answer
from services.router.domain import sentences
from services.router.domain.clocks import Clock
from services.router.domain.plan import Configuration
from services.router.files import Shown
from services.router.store import conversations, screens
from shared.db.transaction import Transaction

api = APIRouter(prefix="/v1", tags=["conversations"])
TIMELINE = 50
CLOCKS = 20


@api.get(
    "/conversations", response_model=d.ConversationPage, responses=responses(400), operation_id="listConversations"
)
async def list_conversations(
    context: Context,
    who: Who,
    state: Annotated[Literal["scheduled", "waiting", "offered", "assigned", "resolved"] | None, Query()] = None,
    agent: Annotated[Literal["me"] | None, Query(description="Only what I hold")] = None,
    language: Annotated[str | None, Query(pattern="^[a-z]{2,3}$")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Response:
    """The most urgent first."""
    after = read_cursor(cursor)

    async def work(tx: Transaction) -> Done:
        configuration = await context.cache.current(tx)
        rows = await screens.conversation_list(
            tx, brands=who.brands, state=state, agent_id=who.agent if agent else None, language=language, after=after,
            limit=limit,
        )  # fmt: skip
        items = [_summary(row, configuration) for row in rows]
        return Done(d.ConversationPage(items=items, next=next_cursor(rows, limit, "sort")))

    return await answer(context, who, work)


@api.get(
    "/conversations/{conversation_id}", response_model=d.ConversationDocument, responses=responses(404),
    operation_id="getConversation",
)  # fmt: skip
async def get_conversation(conversation_id: UUID, context: Context, who: Who) -> Response:
    """All of it: messages with receipts, clock, whether one may write, the decision, the customer's timeline."""

    async def work(tx: Transaction) -> Done:
        row = await screens.conversation(tx, conversation_id)
        if row is None:
            raise not_found()
        configuration = await context.cache.current(tx)
        group = await screens.group_of(tx, row["customer_id"])
        timeline = await screens.timeline(tx, group, None, TIMELINE)
        told_clocks = [_clock(clock, tx.now) for clock in await screens.clocks(tx, conversation_id, CLOCKS)]
        permission = await to_write(context, who, row, configuration, tx)
        shown = Shown(context.links, context.channels, tx.now)
        told = await screens.messages(tx, conversation_id)
        document = d.ConversationDocument(
            **_summary(row, configuration).model_dump(),
            language_by=row["language_by"],
            thread=row["thread"],
            matter=row["matter"],
            messages=[MessageDocument(**shown.message(m, row["brand_id"], row["channel"])) for m in told],
            clock=next((clock for clock in told_clocks if clock.state == "running"), None),
            clocks=told_clocks,
            may_write=d.MayWrite(
                allowed=permission.allowed,
                reason=permission.reason,
                until=permission.until,
                sentence=permission.sentence,
                text_limit=channel.text_limit if (channel := context.channels.get(row["channel"])) else 0,
            ),
            decision=_decision(await screens.decisions(tx, conversation_id), row, configuration),
            timeline=[TimelineMessage(**shown.message(m, row["brand_id"], m["channel"])) for m in timeline],
        )
        return Done(document, version=row["version"])

    # All of one instant, so that the ETag is of what is shown.
    return await answer(context, who, work, isolation="repeatable_read")


@api.get(
    "/conversations/{conversation_id}/history", response_model=d.HistoryDocument, responses=responses(404),
    operation_id="getHistory",
)  # fmt: skip
async def get_history(conversation_id: UUID, context: Context, who: Who) -> Response:
    """Every change, in order."""

    async def work(tx: Transaction) -> Done:
        rows = await conversations.history(tx, conversation_id)
        if not rows:
            raise not_found()
        items = []
        for row in rows:
            data = msgspec.to_builtins(row.entry)
            items.append(d.HistoryEntry(n=row.n, at=row.at, kind=data.pop("kind"), actor=row.actor, data=data))
        return Done(d.HistoryDocument(items=items))

    return await answer(context, who, work)


def _summary(row: dict[str, Any], configuration: Configuration) -> d.ConversationSummary:
    agent, inbox = configuration.agents.get(row["agent_id"]), configuration.inboxes.get(row["inbox_id"])
    named = {
        "agent_name": agent.name if agent else None,
        "brand_name": configuration.brand_names.get(row["brand_id"], ""),
        "inbox_name": inbox.name if inbox else "",
    }
    return d.ConversationSummary(**{**{n: row[n] for n in d.ConversationSummary.model_fields.keys() - named}, **named})


def _clock(clock: Clock, now: datetime) -> d.ClockDocument:
    left = clock.due_at - (clock.ended_at or now)
    return d.ClockDocument(
        target=clock.target,
        started_at=clock.started_at,
        warn_at=clock.warn_at,
        due_at=clock.due_at,
        seconds_left=left.total_seconds(),
        is_missed=left.total_seconds() <= 0,
        state=clock.state,
        ended_at=clock.ended_at,
        family=clock.family,
        policy=clock.policy,
        sentence=sentences.of_clock(clock),
    )


def _decision(
    decisions: dict[str, dict[str, Any]], row: dict[str, Any], configuration: Configuration
) -> d.DecisionDocument | None:
    """The newest of who got it and why it waits; the language's evidence beside it."""
    agent, plan = decisions.get("agent"), decisions.get("plan")
    evidence: dict[str, Any] = {name: value for name, value in decisions.items() if value}
    if agent and (not plan or agent["n"] > plan["n"]) and row["state"] != "waiting":
        return d.DecisionDocument(sentence=sentences.of_agent(agent, configuration.agents), evidence=evidence)
    if plan:
        return d.DecisionDocument(sentence=sentences.of_waiting(plan), evidence=evidence)
    return None
