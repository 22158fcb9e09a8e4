"""One batch of `inbound` in, one transaction: load what decides, decide and fold event by event, save."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from services.router import callbacks, files, identities
from services.router.domain import clocks, language, threads
from services.router.domain.conversation import (
    Change,
    Conversation,
    LanguageSet,
    Message,
    Opened,
    Received,
    Reopened,
    Resolved,
    Unrecognised,
)
from services.router.domain.identity import Customer
from services.router.facts import OF_A_MESSAGE, Case, Facts, marks
from services.router.queueing import enqueue, start_clocks
from services.router.store import callbacks as wishes
from services.router.store import conversations, seen
from services.router.store.configuration import ConfigurationCache
from shared import callbacks as calling
from shared import events
from shared.accounts import Inbox
from shared.callbacks import Number, Rules
from shared.channels.contract import Channel
from shared.db.transaction import Transaction
from shared.errors import BadPayload, DragomanError, InboxMisconfigured, PoisonEvent, Rejected
from shared.events import Data, Event
from shared.ids import new_id

ACTOR = "customer"
BY_A_MACHINE = "written by a machine"
# A vendor's clock may be wrong; what it says of the past week and the next minutes is believed.
OLDEST = timedelta(days=7)
YOUNGEST = timedelta(minutes=10)


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
        await self.take(tx, batch)

    async def take(self, tx: Transaction, batch: Sequence[Event]) -> Facts:
        """The same, for whoever wants to know what became of it."""
        facts = await self._load(tx, batch)
        for position, event in enumerate(batch):
            try:
                decide(event, facts)
            except (DragomanError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
                # Whatever a decision stumbles over is this event's doing: it reads nothing but it and the facts.
                raise PoisonEvent(position, error) from error
        await _save(tx, facts)
        return facts

    async def _load(self, tx: Transaction, batch: Sequence[Event]) -> Facts:
        configuration = await self._configuration.current(tx)
        known = await seen.known(tx, [mark for event in batch for mark in marks(event)])
        fresh = [
            (e, configuration.inboxes[e.inbox_id])
            for e in batch
            if e.inbox_id is not None and e.inbox_id in configuration.inboxes and not known.intersection(marks(e))
        ]
        named = identities.named(fresh)
        recognised = await identities.recognise(tx, named)
        facts = Facts(tx.now, configuration, self._channels, known, recognised, self._detect)
        peers = identities.peers(named, recognised)
        inboxes, people, thread_ids = map(list, list(zip(*peers, strict=True)) or [(), (), ()])
        media = files.of_stored_messages(batch, known)
        told = sorted({data.conversation_id for data in media})
        for conversation in await conversations.lock_of_peers(tx, inboxes, people, thread_ids, told):
            facts.add(Change.of(conversation, tx.now))
        await files.load(tx, facts, media)
        numbers = {(i.brand_id, e.data.sender.value) for e, i in fresh if isinstance(e.data, events.CallbackRequested)}
        if numbers:
            facts.callbacks = await wishes.latest(tx, list(facts.changes))
            for (brand_id, phone), (of_number, of_brand) in (await wishes.asked(tx, numbers)).items():
                facts.asked[brand_id, phone], facts.asked_of[brand_id] = of_number, of_brand
        return facts


async def _save(tx: Transaction, facts: Facts) -> None:
    await files.save(tx, facts)
    await conversations.save(tx, list(facts.changes.values()), facts.configuration)
    await identities.save(tx, facts)
    await wishes.save(tx, facts.callbacks.values())
    await seen.mark(tx, facts.marks)


def decide(event: Event, facts: Facts) -> None:
    """Folds one event into the facts. Raises a DragomanError where it cannot be decided."""
    data = event.data
    decider = DECIDERS.get(type(data))
    if decider is None:
        raise BadPayload(f"{event.type} does not belong on inbound", code="wrong_topic")
    own = marks(event)
    if not own:
        raise BadPayload("the event has nothing that makes it known", code="no_keys")
    if facts.known.intersection(own):
        return
    inbox = facts.configuration.inboxes.get(event.inbox_id) if event.inbox_id else None
    if inbox is None:
        raise InboxMisconfigured(f"inbox {event.inbox_id} is not configured", code="unknown_inbox")
    message_id = decider(_case(event, inbox, facts), facts)
    facts.known.update(own)
    facts.marks += [(mark, inbox.brand_id, message_id) for mark in own]


def _case(event: Event, inbox: Inbox, facts: Facts) -> Case:
    data: Any = event.data
    received_at = min(event.time, facts.now)
    if isinstance(data, OF_A_MESSAGE):
        return Case(event=event, inbox=inbox, customer=None, occurred_at=received_at, received_at=received_at)
    if data.sender is None:
        raise BadPayload(f"not supported yet: {data.what}", code="unrecognised")
    return Case(
        event=event,
        inbox=inbox,
        customer=facts.recognised.customer(inbox.brand_id, inbox.id, data.sender),
        occurred_at=min(max(data.occurred_at, received_at - OLDEST), received_at + YOUNGEST),
        received_at=received_at,
    )


def _unrecognised(case: Case, facts: Facts) -> UUID:
    """Shown in the customer's latest conversation; opens none and starts no clock.

    Raises BadPayload where there is none: a person sees it in `dead`.
    """
    data = case.event.data
    assert isinstance(data, events.Unrecognised)
    candidates = facts.candidates(case.inbox.id, case.person.id, data.thread)
    if not candidates:
        raise BadPayload(f"not supported yet: {data.what}", code="unrecognised")
    latest = max(candidates, key=lambda c: (c.last_inbound_at or c.opened_at, c.id))
    change = facts.changes[latest.id]
    message = Message(
        kind="unrecognised",
        author_kind=ACTOR,
        occurred_at=case.occurred_at,
        received_at=case.received_at,
        reason=data.what,
        raw=data.original or None,
        raw_ref=data.raw_ref,
    )
    change.messages.append(message)
    change.record(Unrecognised(message_id=message.id, what=data.what), ACTOR)
    return message.id


def _message(case: Case, facts: Facts) -> UUID:
    data, inbox, customer, occurred_at = case.event.data, case.inbox, case.person, case.occurred_at
    assert isinstance(data, events.MessageReceived)
    channel = facts.channels[inbox.channel]
    change = _conversation(
        case, data.matter, facts, thread=data.thread, subject=data.subject, reopens=not data.automatic
    )
    before = change.after
    verdict = language.decide(
        data.text,
        facts.configuration.languages,
        known=facts.recognised.people.languages(customer.id),
        conversation=before.language,
        conversation_by=before.language_by,
        locale=data.locale or inbox.locale,
        country=data.country or inbox.country,
        detect=facts.detect,
    )
    message = Message(
        kind="inbound",
        author_kind=data.author,
        text=data.text,
        language=verdict.language,
        attachments=data.attachments,
        occurred_at=occurred_at,
        received_at=case.received_at,
        reason=BY_A_MACHINE if data.automatic else "",
        raw=data.original or None,
        raw_ref=data.raw_ref,
    )
    change.messages.append(message)
    files.fetch(change, message, channel)
    if data.automatic:
        _show(change, message, data)
        return message.id
    late = before.last_inbound_at is not None and occurred_at < before.last_inbound_at
    received = Received(
        message_id=message.id,
        author=data.author,
        occurred_at=occurred_at,
        late=late,
        traceparent=case.event.traceparent,
        customer_id=customer.id,
    )
    change.record(received, data.author)
    if data.reply_context and not late:
        change.after = replace(change.after, reply_context=data.reply_context)
    _speak(change, customer, verdict)
    reopened = not before.is_open and before.unanswered_since is None
    starts = clocks.starts(change.after, occurred_at, late=late)
    if starts or reopened:
        # What was answered before it reached us and is opened again all the same counts from its arrival.
        since = occurred_at if starts else case.received_at
        start_clocks(change, facts.configuration, data.country or inbox.country, since, ACTOR)
    _queue(change, before, facts)
    return message.id


def _show(change: Change, message: Message, data: events.MessageReceived) -> None:
    """What a machine wrote is there to be read: it is waited for by nobody, and answers go to who wrote before."""
    received = Received(message_id=message.id, author=data.author, occurred_at=message.occurred_at, automatic=True)
    change.record(received, data.author)
    if not change.after.reply_context:
        change.after = replace(change.after, reply_context=data.reply_context)
    if change.before is None and not change.after.is_open:
        change.record(Resolved(because=BY_A_MACHINE), "router")


def _callback(case: Case, facts: Facts) -> UUID:
    """A request to be called: the customer's words where they gave some, and the call that they want.

    Raises Rejected for a number that the brand does not call, or does not call again today: a person sees it in `dead`.
    A time that passed on the way means now.
    """
    data, inbox, customer = case.event.data, case.inbox, case.person
    assert isinstance(data, events.CallbackRequested)
    rules = calling.rules_of(inbox)
    number = calling.number(data.sender.value, data.zone, rules, facts.now)
    change = _conversation(case, data.matter, facts)
    is_new = bool(change.entries) and isinstance(change.entries[-1].entry, Opened | Reopened)
    customer.country, customer.changed = customer.country or number.country, True
    verdict = language.Verdict(data.language, "told") if data.language else _spoken(data.text, change, case, facts)
    message = Message(
        kind="inbound",
        author_kind=ACTOR,
        text=data.text,
        language=verdict.language,
        occurred_at=case.occurred_at,
        received_at=case.received_at,
        raw=data.original or None,
    )
    change.messages.append(message)
    received = Received(
        message_id=message.id,
        author=ACTOR,
        occurred_at=case.occurred_at,
        traceparent=case.event.traceparent,
        customer_id=customer.id,
    )
    change.record(received, ACTOR)
    _speak(change, customer, verdict)
    known = facts.callbacks.get(change.after.id)
    if known is None or not known.is_open:
        # Whoever waits for a call already may ask as often as they like: they get no second one.
        _check_limits(inbox.brand_id, number, rules, facts)
    elif is_new:
        known.start_anew()
    wish = callbacks.Wish(number.e164, number.zone, max(data.preferred_at or facts.now, facts.now))
    facts.callbacks[change.after.id] = callbacks.wished(change, known, wish, facts.configuration)
    return message.id


def _check_limits(brand_id: UUID, number: Number, rules: Rules, facts: Facts) -> None:
    """Counts one more callback. Raises Rejected: whoever rings again and again, under whatever number, is stopped."""
    if facts.asked[brand_id, number.e164] >= rules.a_day_per_number or facts.asked_of[brand_id] >= rules.a_day:
        raise Rejected("too many calls were asked for within a day", code="too_many_callbacks")
    facts.asked_of[brand_id] += 1


def _spoken(text: str, change: Change, case: Case, facts: Facts) -> language.Verdict:
    """By the words, the customer's earlier ones, and the number's country; the inbox may serve many countries."""
    return language.decide(
        text,
        facts.configuration.languages,
        known=facts.recognised.people.languages(case.person.id),
        conversation=change.after.language,
        conversation_by=change.after.language_by,
        country=case.person.country,
        detect=facts.detect,
    )


def _conversation(
    case: Case,
    matter: str | None,
    facts: Facts,
    *,
    thread: str | None = None,
    subject: str = "",
    reopens: bool = True,
) -> Change:
    """The change of the conversation that the message belongs to; opened or reopened where needed."""
    inbox, customer, channel = case.inbox, case.person, facts.channels[case.inbox.channel]
    candidates = facts.candidates(inbox.id, customer.id, thread)
    choice = threads.choose(candidates, thread, matter, channel.reopen_within, case.occurred_at)
    if choice.conversation is None:
        opened = Opened(
            inbox_id=inbox.id,
            customer_id=customer.id,
            channel=inbox.channel,
            live=channel.live,
            weight=channel.weight,
            thread=thread,
            matter=matter,
            subject=subject,
            because=choice.because,
        )
        change = Change.opening(new_id(), inbox.brand_id, opened, ACTOR, facts.now)
        change.traceparent = case.event.traceparent
        facts.add(change)
        return change
    change = facts.changes[choice.conversation.id]
    change.traceparent = case.event.traceparent
    if not change.after.is_open and reopens:
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


DECIDERS: Mapping[type[Data], Callable[[Case, Facts], UUID | None]] = {
    events.MessageReceived: _message,
    events.CallbackRequested: _callback,
    events.Unrecognised: _unrecognised,
    events.IdentityChanged: identities.changed,
    events.OptOutChanged: identities.opted,
    events.MediaStored: files.stored,
    events.MediaFailed: files.failed,
}
