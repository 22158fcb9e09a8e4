"""Who events are from: their addresses made customers, linked where that is certain, suggested where it is not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from services.router.domain.identity import Customer, Key, Recognised, canonical, key_of, says_who, telling
from services.router.facts import Case, Facts, FromAPerson
from services.router.store import customers, opt_outs, suggestions
from shared.accounts import Inbox
from shared.bus import outbox
from shared.db.transaction import Transaction
from shared.events import (
    Address,
    Data,
    Event,
    IdentityChanged,
    MessageReceived,
    OptOutChanged,
    WithdrawReply,
    encode,
)

ACTOR = "router"


@dataclass(frozen=True, slots=True)
class Named:
    """An event and its addresses: the sender's first, then those that the vendor links to it, and why it does."""

    event: Event
    inbox: Inbox
    addresses: Mapping[Key, Address]
    because: str

    @property
    def sender(self) -> Key:
        return next(iter(self.addresses))

    @property
    def matter(self) -> str | None:
        return getattr(self.event.data, "matter", None)


def named(fresh: Sequence[tuple[Event, Inbox]]) -> list[Named]:
    """Those events that come from somebody."""
    return [_named(event, inbox, _addresses(event.data)) for event, inbox in fresh if _addresses(event.data)]


def _addresses(data: Data) -> list[Address]:
    if not isinstance(data, FromAPerson) or data.sender is None:
        return []
    if isinstance(data, IdentityChanged):
        return [data.sender, data.before]
    return [data.sender, *data.also] if isinstance(data, MessageReceived) else [data.sender]


def _named(event: Event, inbox: Inbox, addresses: Sequence[Address]) -> Named:
    keyed = {key_of(inbox.brand_id, inbox.id, a): a for a in map(canonical, addresses)}
    return Named(event, inbox, keyed, "moved" if isinstance(event.data, IdentityChanged) else "vouched")


async def recognise(tx: Transaction, batch: Sequence[Named]) -> Recognised:
    """The customers of the batch, under lock and linked; a fixed number of statements, saved by `save`."""
    if not batch:
        return Recognised()
    addresses: dict[Key, Address] = {}
    for item in batch:
        for key, address in item.addresses.items():
            if key not in addresses or not addresses[key].name:
                addresses[key] = address
    found = await customers.find_or_make(tx, addresses)
    wanted = suggestions.Wanted()
    for key, customer in found.by_key.items():
        made = customer.id in found.made
        # A verified address meets those who claim it when they come.
        if made or key.scope:
            wanted.addresses.append((key, customer.id))
        if _is_newly_named(customer, addresses[key].name, made) and says_who(customer.name):
            wanted.names.append(customer)
    wanted.matters += [(found.by_key[item.sender], item.matter) for item in batch if item.matter is not None]
    alike = {id_: telling(others) for id_, others in (await suggestions.alike(tx, wanted)).items()}
    is_refused = alike or any(len(item.addresses) > 1 for item in batch)
    refused = await suggestions.refused(tx, found.people.by_id) if is_refused else []
    recognised = Recognised(found.people, found.by_key, alike, refused)
    for item in batch:
        _fold(item, recognised)
    return recognised


def _is_newly_named(customer: Customer, name: str, made: bool) -> bool:
    """Also gives the name to a customer who had none."""
    if name and not customer.name:
        customer.name, customer.changed = name, True
        return True
    return made


def _fold(item: Named, recognised: Recognised) -> None:
    for key in item.addresses:
        if key != item.sender:
            recognised.link(item.sender, key, item.because)
    for key in item.addresses:
        recognised.compare(recognised.by_key[key], item.matter if key == item.sender else None)


def peers(batch: Sequence[Named], recognised: Recognised) -> set[tuple[UUID, UUID, str | None]]:
    """Inbox, customer and thread of the conversations that the batch may belong to, of everybody who is one."""
    people = recognised.people
    return {
        (item.inbox.id, customer.id, getattr(item.event.data, "thread", None))
        for item in batch
        for customer in people.group(recognised.by_key[item.sender].id)
    }


def changed(_case: Case, _facts: Facts) -> None:
    """The addresses were linked when the batch was recognised; nothing else follows."""


def opted(case: Case, facts: Facts) -> None:
    """The newest word of a person about messages from the inbox; of two at the same instant the no."""
    data = case.event.data
    assert isinstance(data, OptOutChanged)
    address = canonical(data.sender)
    word = opt_outs.Word(
        brand_id=case.inbox.brand_id,
        inbox_id=case.inbox.id,
        kind=address.kind,
        value=address.value,
        marketing_only=data.marketing_only,
        opted_out=data.opted_out,
        at=case.occurred_at,
    )
    facts.words[word.place] = max(word, facts.words.get(word.place, word), key=lambda w: (w.at, w.opted_out))


async def save(tx: Transaction, facts: Facts) -> None:
    """One statement per table; what waits to be sent to whoever said no is withdrawn."""
    recognised = facts.recognised
    await customers.save(tx, recognised.people)
    await customers.note_merges(tx, recognised.merges, ACTOR)
    wanted = recognised.suggestions()
    await suggestions.suggest(tx, {roots: recognised.brand_of(roots) for roots in wanted}, wanted)
    await opt_outs.save(tx, list(facts.words.values()))
    waiting = await opt_outs.queued_replies(tx, [word for word in facts.words.values() if word.opted_out])
    orders = [
        Event(
            data=WithdrawReply(reply_id=row["id"], conversation_id=row["conversation_id"]),
            key=str(row["conversation_id"]),
            source=ACTOR,
            time=tx.now,
            brand_id=row["brand_id"],
            inbox_id=row["inbox_id"],
            subject=str(row["conversation_id"]),
        )
        for row in waiting
    ]
    await outbox.add(tx, ACTOR, [encode(order) for order in orders])
