"""What a caller may do with a conversation now: as its holder, by their room, by the channel's rules."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.router.api.auth import Caller
from services.router.api.context import Api
from services.router.api.problems import Problem
from services.router.api.requests import etag
from services.router.domain.conversation import Conversation
from services.router.domain.plan import Configuration
from services.router.store import agents, opt_outs
from shared.channels.contract import Permission
from shared.db.transaction import Transaction
from shared.events import AuthorKind

OPTED_OUT = Permission(
    allowed=False,
    reason="opted_out",
    sentence="They asked for no more messages from this inbox; wait until they take that back (in texts: START).",
)


@dataclass(frozen=True, slots=True)
class Draft:
    """What the caller might write."""

    reply_context: bytes
    author_kind: AuthorKind


def author_kind(who: Caller) -> AuthorKind:
    """A key without an agent is a program, and vendors let programs write less than people."""
    return "agent" if who.agent_id else "automatic"


async def to_write(
    context: Api, who: Caller, row: Mapping[str, Any], configuration: Configuration, tx: Transaction
) -> Permission:
    """Whether the vendor, and whoever would get it, let the caller write in the conversation of these columns."""
    channel, inbox = context.channels.get(row["channel"]), configuration.inboxes.get(row["inbox_id"])
    if channel is None or inbox is None:
        return Permission(allowed=False, reason="no_channel", sentence="Its inbox is not configured any more.")
    if await opt_outs.opted_out_at(tx, row["id"]) is not None:
        return OPTED_OUT
    return channel.may_write(Draft(row["reply_context"], author_kind(who)), inbox, tx.now)


def offered_to(c: Conversation, who: Caller) -> Conversation:
    """Raises Problem 409 where it is not held out to the caller."""
    if c.state != "offered" or c.agent_id != who.agent:
        raise wrong_state(c, "It is not held out to you (any more)")
    return c


def held_by(c: Conversation, who: Caller) -> Conversation:
    """Raises Problem 409 where nobody holds it, 403 where somebody does whom the caller does not lead."""
    if c.state != "assigned":
        raise wrong_state(c, "Nobody holds it; accept or claim it first")
    if c.agent_id != who.agent_id and not who.leads:
        raise Problem(403, "not_yours", "Somebody else holds it")
    return c


def open_to(c: Conversation, who: Caller) -> Conversation:
    """As `held_by`, and whoever leads may also change what waits or is held out."""
    return c if c.is_open and who.leads else held_by(c, who)


def known_to(c: Conversation, who: Caller) -> Conversation:
    """As `open_to`, and every agent may correct what waits, or what is held out to them."""
    return c if c.is_open and c.agent_id in (None, who.agent_id) else open_to(c, who)


def wrong_state(c: Conversation, title: str) -> Problem:
    return Problem(409, "wrong_state", title, f"Its state is {c.state}", {"ETag": etag(c.version)})


async def give(tx: Transaction, configuration: Configuration, c: Conversation, agent_id: UUID) -> None:
    """Makes sure that the agent has room, under the lock of their presence: two who give to one cannot both find it.

    Raises Problem 409 where the agent does not serve the brand, is not there, or is full.
    """
    agent = configuration.agents.get(agent_id)
    if agent is None or not agent.is_active or c.brand_id not in agent.brands:
        raise Problem(409, "no_such_agent", "No agent of this brand has this id")
    presence, load = (await agents.lock_with_loads(tx, [agent_id])).get(agent_id, (None, 0))
    if presence is None or not presence.is_there(tx.now):
        raise Problem(409, "not_there", "The agent is not there")
    if load + c.weight > agent.capacity:
        raise Problem(409, "no_capacity", "The agent has no room for it")
    await agents.busy(tx, [agent_id])
