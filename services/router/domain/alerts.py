"""Alerts for people: whose it is, how late, what to do, and where to look."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal, get_args
from uuid import UUID

import msgspec

from services.router.domain import sentences
from services.router.domain.clocks import Clock
from services.router.domain.conversation import Conversation
from services.router.domain.plan import Configuration
from shared.events import (
    TYPE_NAMES,
    AccountHealth,
    Data,
    DeadlineMissed,
    DeadlineNear,
    Event,
    QueueStalled,
    WebhookDisabled,
)

AlertName = Literal["deadline.near", "deadline.missed", "queue.stalled", "account.health", "webhook.disabled"]
EVENTS: tuple[str, ...] = get_args(AlertName)
ALERTS = (DeadlineNear, DeadlineMissed, QueueStalled, AccountHealth, WebhookDisabled)


def name_of(data: Data) -> str:
    """As webhooks call it, e.g. `deadline.missed`."""
    return TYPE_NAMES[type(data)].removeprefix("dragoman.").removesuffix(".v1")


def of_deadline(
    c: Conversation, clock: Clock, what: str, now: datetime, configuration: Configuration, address: str
) -> DeadlineNear:
    """That a clock nears its end, or is past it; `address` is how the world reaches us."""
    alert = DeadlineNear if what == "near" else DeadlineMissed
    agent = configuration.agents.get(c.agent_id) if c.agent_id else None
    inbox = configuration.inboxes.get(c.inbox_id)
    return alert(
        conversation_id=c.id,
        clock_id=clock.id,
        target=clock.target,
        due_at=clock.due_at,
        at=now,
        agent_id=c.agent_id,
        language=c.language,
        what_to_do=_what_to_do(c, agent.name if agent else "the agent"),
        family=clock.family,
        policy=clock.policy,
        brand=configuration.brand_names.get(c.brand_id, ""),
        inbox=inbox.name if inbox else "",
        channel=c.channel,
        agent=agent.name if agent else "",
        late_seconds=max(0.0, (now - clock.due_at).total_seconds()),
        sentence=sentences.of_deadline(clock, now),
        links=_links(c.id, address),
    )


def _what_to_do(c: Conversation, agent: str) -> str:
    match c.state:
        case "assigned":
            return f"{agent} holds it: answer now, or give it on"
        case "offered":
            return f"it is held out to {agent}: accept it and answer, or decline"
        case "resolved":
            return "its answer is still on the way: look at the reply, and send it again if it was refused"
        case _:
            speaker = f"somebody who speaks {sentences.named(c.language)}" if c.language else "somebody"
            return f"it waits for an agent: {speaker} should take it now"


def _links(conversation_id: UUID, address: str) -> dict[str, str]:
    return {
        "conversation": f"{address}/v1/conversations/{conversation_id}",
        "console": f"{address}/console/#/c/{conversation_id}",
    }


def concerns(brands: Collection[UUID], event: Event, configuration: Configuration) -> bool:
    """Whether an alert is for whoever answers for these brands (none named: for all).

    What tells figures of several brands together is only for those who answer for each of them.
    """
    if not brands:
        return True
    match event.data:
        case AccountHealth(account_id=account_id):
            return any(i.account_id == account_id and i.brand_id in brands for i in configuration.inboxes.values())
        case QueueStalled(pool_id=pool_id):
            pool = configuration.pools.get(pool_id)
            return pool is not None and bool(pool.brands) and pool.brands <= set(brands)
        case WebhookDisabled():
            return False
        case _:
            return event.brand_id in brands


def body(event: Event, brands: Collection[UUID], configuration: Configuration, address: str) -> bytes:
    """What a webhook of these brands is sent: the alert's own fields and what explains them."""
    told = msgspec.to_builtins(event.data) | _explained(event, brands, configuration, address)
    if event.brand_id is not None and event.brand_id in (brands or configuration.brand_names):
        told["brand_id"] = str(event.brand_id)
    return msgspec.json.encode({"type": name_of(event.data), "timestamp": event.time, "data": told})


def _explained(event: Event, brands: Collection[UUID], configuration: Configuration, address: str) -> Mapping[str, Any]:
    match event.data:
        case AccountHealth(account_id=account_id, state=state):
            inboxes = [
                i
                for i in configuration.inboxes.values()
                if i.account_id == account_id and (not brands or i.brand_id in brands)
            ]
            return {
                "inboxes": sorted(i.name for i in inboxes),
                "brands": sorted({configuration.brand_names[i.brand_id] for i in inboxes}),
                "channels": sorted({i.channel for i in inboxes}),
                "what_to_do": ACCOUNTS[state],
                "links": {"console": f"{address}/console/"},
            }
        case QueueStalled(pool_id=pool_id):
            pool = configuration.pools.get(pool_id)
            language = sentences.named(pool.language) if pool and pool.language else "any language"
            return {
                "pool": pool.name if pool else "",
                "language": pool.language if pool else None,
                "what_to_do": f"somebody who answers in {language} has to come, or another pool takes them",
                "links": {"queues": f"{address}/v1/queues", "console": f"{address}/console/"},
            }
        case WebhookDisabled(webhook_id=id_):
            return {
                "what_to_do": "mend its receiver, enable it, and replay what it missed",
                "links": {"webhook": f"{address}/v1/webhooks/{id_}"},
            }
        case _:
            return {}


ACCOUNTS: Mapping[str, str] = {
    "healthy": "nothing: it works again",
    "broken": "renew the account's credentials or permissions with its vendor, and apply them",
    "suspicious": "somebody calls its webhook without a valid signature: check its secret with the vendor",
}
