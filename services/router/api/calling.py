"""Calling the agent who took a conversation of a line that calls."""

from uuid import UUID

from services.router import callbacks
from services.router.api.auth import Caller
from services.router.api.context import Api
from services.router.api.problems import Problem
from services.router.domain.callbacks import next_open
from services.router.domain.conversation import Change
from services.router.domain.plan import Configuration
from services.router.store import callbacks as wishes
from services.router.store import screens
from shared.accounts import Inbox
from shared.callbacks import rules_of
from shared.db.transaction import Transaction


def calls(context: Api, inbox: Inbox) -> bool:
    """Whether the inbox is a telephone line."""
    channel = context.channels.get(inbox.channel)
    return channel is not None and channel.calls is not None


async def begin(tx: Transaction, context: Api, configuration: Configuration, change: Change, who: Caller) -> bool:
    """Calls whoever just took a conversation of a line that calls; False where this is none.

    Raises Problem 409 where the agent has no telephone or is called already, or outside the customer's hours.
    """
    c = change.after
    inbox = configuration.inboxes.get(c.inbox_id)
    if inbox is None or not calls(context, inbox):
        return False
    callback = (await wishes.latest(tx, [c.id])).get(c.id)
    if callback is None:
        return False
    phone = telephone_of(configuration, who.agent)
    if callback.state == "calling":
        raise Problem(409, "called_already", "A call is under way")
    if next_open(tx.now, callback.zone, rules_of(inbox)) > tx.now:
        raise Problem(409, "outside_hours", "It is too early or too late where the customer is")
    name = (await screens.customer_names(tx, [c.customer_id])).get(c.customer_id, "")
    callbacks.place(change, callback, configuration.agents[who.agent], phone, name, configuration, who.actor)
    await wishes.save(tx, [callback])
    return True


def telephone_of(configuration: Configuration, agent_id: UUID) -> str:
    """Raises Problem 409 for an agent without one."""
    agent = configuration.agents.get(agent_id)
    if agent is None or agent.phone is None:
        raise Problem(409, "no_telephone", "You have no telephone to be called on")
    return agent.phone
