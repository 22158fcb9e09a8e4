"""One batch of `inbound` in, one transaction: load what decides, decide and fold event by event, save."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

from services.router.domain import clocks, language, threads
from services.router.domain.conversation import (
    Change,
    Conversation,
    LanguageSet,
    Message,
    Opened,
    Queued,
    Received,
    Reopened,
    Unrecognised,
)
from services.router.domain.plan import Configuration, by_hand, choose_plan, choose_policy, reached, steps_for
from services.router.store import conversations, customers, seen
from services.router.store.configuration import ConfigurationCache
from services.router.store.customers import Customer
from shared import events
from shared.accounts import Inbox
from shared.channels.contract import Channel
from shared.db.transaction import Transaction
from shared.errors import BadPayload, DragomanError, InboxMisconfigured, PoisonEvent
from shared.events import Event
from shared.ids import new_id

ACTOR = "customer"
# A vendor's clock may be wrong; what it says of the past week and the next minutes is believed.
OLDEST = timedelta(days=7)
YOUNGEST = timedelta(minutes=10)

Wire = events.MessageReceived | events.Unrecognised


@dataclass(slots=True)
class Facts:
    """What decisions look at; what event 1 opens, event 2 of the batch finds here."""

    now: datetime
    configuration: Configuration
    channels: dict[str, Channel]
    known: set[seen.Mark]
    customers: dict[customers.Key, Customer]
    # By inbox and customer, in the order of loading.
    changes: dict[UUID, Change] = field(default_factory=dict)
    of_peer: dict[tuple[UUID, UUID], list[UUID]] = field(default_factory=dict)
    of_thread: dict[tuple[UUID, str], list[UUID]] = field(default_factory=dict)
    marks: list[tuple[seen.Mark, UUID, UUID | None]] = field(default_factory=list)

    def add(self, change: Change) -> None:
        c = change.after
        self.changes[c.id] = change
        self.of_peer.setdefault((c.inbox_id, c.customer_id), []).append(c.id)
        if c.thread is not None:
            self.of_thread.setdefault((c.inbox_id, c.thread), []).append(c.id)

    def candidates(self, inbox_id: UUID, customer_id: UUID, thread: str | None) -> list[Conversation]:
        """The customer's conversations in the inbox, and those of the vendor's thread whoever wrote in it."""
        ids = dict.fromkeys(self.of_peer.get((inbox_id, customer_id), ()))
        if thread is not None:
            ids |= dict.fromkeys(self.of_thread.get((inbox_id, thread), ()))
        return [self.changes[id_].after for id_ in ids]


class Inbound:
    """The handler of the topic `inbound`."""

    def __init__(
        self,
        configuration: ConfigurationCache,
        channels: Sequence[Channel],
        detect: language.Detect = language.py3langid,
    ) -> None:
        self._configuration = configuration
        self._channels = {channel.name: channel for channel in channels}
        self._detect = detect

    async def __call__(self, tx: Transaction, batch: Sequence[Event]) -> None:
        """Raises PoisonEvent for an event that cannot be decided."""
        facts = await self._load(tx, batch)
        for position, event in enumerate(batch):
            try:
                decide(event, facts, self._detect)
            except (DragomanError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
                # Whatever a decision stumbles over is this event's doing: it reads nothing but it and the facts.
                raise PoisonEvent(position, error) from error
        await _save(tx, facts)

    async def _load(self, tx: Transaction, batch: Sequence[Event]) -> Facts:
        configuration = await self._configuration.current(tx)
        known = await seen.known(tx, [mark for event in batch for mark in marks(event)])
        fresh = [
            (e.inbox_id, configuration.inboxes[e.inbox_id].brand_id, data, data.sender)
            for e in batch
            if e.inbox_id is not None
            and e.inbox_id in configuration.inboxes
            and isinstance(data := e.data, events.MessageReceived | events.Unrecognised)
            and data.sender is not None
            and not known.intersection(marks(e))
        ]
        found = await customers.find_or_make(tx, {(brand, a.kind, a.value): a for _, brand, _, a in fresh})
        facts = Facts(tx.now, configuration, self._channels, known, found)
        peers = {(inbox, found[(brand, a.kind, a.value)].id, data.thread) for inbox, brand, data, a in fresh}
        columns = list(zip(*peers, strict=True)) or [(), (), ()]
        for conversation in await conversations.lock_of_peers(tx, *map(list, columns)):
            facts.add(Change.of(conversation, tx.now))
        return facts


async def _save(tx: Transaction, facts: Facts) -> None:
    await conversations.save(tx, list(facts.changes.values()), facts.configuration)
    await customers.save(tx, list({c.id: c for c in facts.customers.values()}.values()))
    await seen.mark(tx, facts.marks)


def _wire(event: Event) -> Wire:
    if isinstance(event.data, events.MessageReceived | events.Unrecognised):
        return event.data
    raise BadPayload(f"{event.type} does not belong on inbound", code="wrong_topic")


def marks(event: Event) -> list[seen.Mark]:
    """How the event is known; it is new only if none of these is."""
    data = event.data
    if event.inbox_id is None or not isinstance(data, events.MessageReceived | events.Unrecognised):
        return []
    return [(event.inbox_id, "message", key) for key in data.keys]


def decide(event: Event, facts: Facts, detect: language.Detect) -> None:
    """Folds one event into the facts. Raises a DragomanError where it cannot be decided."""
    data = _wire(event)
    own = marks(event)
    if not own or not data.keys:
        raise BadPayload("the event has nothing that makes it known", code="no_keys")
    if facts.known.intersection(own):
        return
    inbox = facts.configuration.inboxes.get(event.inbox_id) if event.inbox_id else None
    if inbox is None:
        raise InboxMisconfigured(f"inbox {event.inbox_id} is not configured", code="unknown_inbox")
    if data.sender is None:
        raise BadPayload(f"not supported yet: {data.what if isinstance(data, events.Unrecognised) else ''}",
                         code="unrecognised")  # fmt: skip
    customer = facts.customers[(inbox.brand_id, data.sender.kind, data.sender.value)]
    received_at = min(event.time, facts.now)
    occurred_at = min(max(data.occurred_at, received_at - OLDEST), received_at + YOUNGEST)
    if isinstance(data, events.Unrecognised):
        message_id = _unrecognised(data, inbox, customer, facts, occurred_at, received_at)
    else:
        message_id = _message(data, inbox, customer, facts, occurred_at, received_at, detect)
    facts.known.update(own)
    facts.marks += [(mark, inbox.brand_id, message_id) for mark in own]


def _unrecognised(
    data: events.Unrecognised,
    inbox: Inbox,
    customer: Customer,
    facts: Facts,
    occurred_at: datetime,
    received_at: datetime,
) -> UUID:
    """Shown in the customer's latest conversation; opens none and starts no clock.

    Raises BadPayload where there is none: a person sees it in `dead`.
    """
    candidates = facts.candidates(inbox.id, customer.id, data.thread)
    if not candidates:
        raise BadPayload(f"not supported yet: {data.what}", code="unrecognised")
    latest = max(candidates, key=lambda c: (c.last_inbound_at or c.opened_at, c.id))
    change = facts.changes[latest.id]
    message = Message(
        kind="unrecognised",
        author_kind=ACTOR,
        occurred_at=occurred_at,
        received_at=received_at,
        reason=data.what,
        raw=data.raw or None,
    )
    change.messages.append(message)
    change.record(Unrecognised(message_id=message.id, what=data.what), ACTOR)
    return message.id


def _message(
    data: events.MessageReceived,
    inbox: Inbox,
    customer: Customer,
    facts: Facts,
    occurred_at: datetime,
    received_at: datetime,
    detect: language.Detect,
) -> UUID:
    channel = facts.channels[inbox.channel]
    change = _conversation(data, inbox, customer, facts, channel, occurred_at)
    before = change.after
    if data.sender.name and not customer.name:
        customer.name, customer.changed = data.sender.name, True
    verdict = language.decide(
        data.text,
        facts.configuration.languages,
        known=customer.languages,
        conversation=before.language,
        conversation_by=before.language_by,
        locale=data.locale or inbox.locale,
        country=data.country or inbox.country,
        detect=detect,
    )
    message = Message(
        kind="inbound",
        author_kind=data.author,
        text=data.text,
        language=verdict.language,
        attachments=data.attachments,
        occurred_at=occurred_at,
        received_at=received_at,
        raw=data.raw or None,
    )
    change.messages.append(message)
    late = before.last_inbound_at is not None and occurred_at < before.last_inbound_at
    change.record(Received(message_id=message.id, author=data.author, occurred_at=occurred_at, late=late), data.author)
    if data.reply_context and not late:
        change.after = replace(change.after, reply_context=data.reply_context)
    _speak(change, customer, verdict)
    reopened = not before.is_open and before.unanswered_since is None
    if clocks.starts(change.after, occurred_at) or reopened:
        country = data.country or inbox.country
        policy = choose_policy(facts.configuration, inbox.brand_id, inbox.channel, country)
        # What was answered before it reached us and is opened again all the same counts from its arrival.
        since = occurred_at if clocks.starts(change.after, occurred_at) else received_at
        change.record(clocks.started(new_id(), policy, since), ACTOR)
    _queue(change, before, facts)
    return message.id


def _conversation(
    data: events.MessageReceived,
    inbox: Inbox,
    customer: Customer,
    facts: Facts,
    channel: Channel,
    occurred_at: datetime,
) -> Change:
    """The change of the conversation that the message belongs to; opened or reopened where needed."""
    candidates = facts.candidates(inbox.id, customer.id, data.thread)
    choice = threads.choose(candidates, data.thread, data.matter, channel.reopen_within, occurred_at)
    if choice.conversation is None:
        opened = Opened(
            inbox_id=inbox.id,
            customer_id=customer.id,
            channel=inbox.channel,
            live=channel.live,
            weight=channel.weight,
            thread=data.thread,
            matter=data.matter,
            subject=data.subject,
            because=choice.because,
        )
        change = Change.opening(new_id(), inbox.brand_id, opened, ACTOR, facts.now)
        facts.add(change)
        return change
    change = facts.changes[choice.conversation.id]
    if not change.after.is_open:
        change.record(Reopened(because=choice.because), ACTOR)
    return change


def _speak(change: Change, customer: Customer, verdict: language.Verdict) -> None:
    """Sets the conversation's language and remembers what the customer's own words established."""
    if verdict.by == "words" and verdict.language:
        customer.languages = customer.languages | {verdict.language: customer.languages.get(verdict.language, 0) + 1}
        customer.changed = True
    first = change.before is None and len(change.messages) == 1
    if verdict.language != change.after.language or first:
        change.record(LanguageSet(language=verdict.language, by=verdict.by), "router")
        change.explain("language", language=verdict.language, by=verdict.by, **verdict.evidence)


def _queue(change: Change, before: Conversation, facts: Facts) -> None:
    """Into the queues of its plan: when nobody holds it, or when it waits in those of another language."""
    after = change.after
    if after.state in ("offered", "assigned"):
        return
    if after.state == "waiting" and after.language == before.language:
        return
    because = "new" if change.before is None else "reopened"
    enqueue(change, facts.configuration, because if not before.is_open else "the language is known now", facts.now)


def enqueue(
    change: Change, configuration: Configuration, because: str, now: datetime, *, pool_id: UUID | None = None
) -> None:
    """Records that the conversation waits by the plan of its language; its age and its clock stay.

    With `pool_id` it waits in that pool alone, while that pool serves it: somebody gave it there by hand. Raises
    InboxMisconfigured where no plan fits, not even one without a language.
    """
    c = change.after
    picked = by_hand(configuration, pool_id, c.brand_id, c.channel)
    plan = picked or choose_plan(configuration, c.brand_id, c.language, c.channel)
    if plan is None:
        raise InboxMisconfigured("no plan fits, not even one for every language", code="no_plan")
    steps = steps_for(configuration, plan, c.brand_id, c.channel)
    queued_at = c.queued_at or now
    since = c.unanswered_since or queued_at
    due_at = c.due_at or conversations.order_of(replace(c, queued_at=queued_at), configuration)
    step, next_step_at = reached(steps, since, due_at, now)
    change.record(
        Queued(plan_id=plan.id, step=step, queued_at=queued_at, next_step_at=next_step_at, because=because), "router"
    )
    change.explain(
        "plan",
        plan=plan.handle,
        language=c.language,
        pools=[configuration.pools[s.pool_id].handle for s in steps],
        reached=step,
        because=because,
        by_hand=picked is not None,
    )
