"""The topic `outbound`: replies to send, to withdraw, to try again."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from services.responder import calls, store
from services.responder.files import carried
from services.responder.telling import tell
from shared.accounts import Directory
from shared.channels.contract import Channel, Part
from shared.channels.text import text_hash
from shared.db.transaction import Transaction
from shared.errors import BadPayload, DragomanError, InboxMisconfigured, PoisonEvent, Rejected
from shared.events import Event, PlaceCall, ReplayDelivery, SendReply, WithdrawCall, WithdrawReply
from shared.ids import derived_id
from shared.links import Links

_encode = msgspec.json.Encoder().encode


class Outbound:
    """The handler of the topic; `woken` is called once there is something to send."""

    def __init__(
        self, channels: Sequence[Channel], directory: Callable[[], Directory], woken: Callable[[], None], links: Links
    ) -> None:
        self._channels: Mapping[str, Channel] = {channel.name: channel for channel in channels}
        self._directory = directory
        self._woken = woken
        self._links = links

    async def __call__(self, tx: Transaction, batch: Sequence[Event]) -> None:
        """Raises PoisonEvent for what is not a command of ours."""
        touched: set[UUID] = set()
        for position, event in enumerate(batch):
            if not isinstance(event.data, SendReply | WithdrawReply | ReplayDelivery | PlaceCall | WithdrawCall):
                raise PoisonEvent(position, BadPayload(f"{event.type} does not belong on outbound", code="wrong_topic"))
        # Every SendReply first: a withdrawal always comes after its reply, so nothing is overtaken.
        sends = {e.data.reply_id: (e, e.data) for e in batch if isinstance(e.data, SendReply)}
        touched |= await self._send(tx, list(sends.values()))
        for event in batch:
            if isinstance(event.data, WithdrawReply):
                touched |= await _withdraw(tx, event.data.reply_id)
            if isinstance(event.data, ReplayDelivery):
                touched |= await _replay(tx, event.data.reply_id)
        await tell(tx, touched)
        commands = [(e, e.data) for e in batch if isinstance(e.data, PlaceCall | WithdrawCall)]
        if commands:
            await calls.order(tx, commands, self._directory())
        tx.after_commit(self._woken)

    async def _send(self, tx: Transaction, commands: Sequence[tuple[Event, SendReply]]) -> set[UUID]:
        if not commands:
            return set()
        deliveries, parts = [], []
        for event, command in commands:
            account_id, rendered, refusal = self._render(command, tx.now)
            row: dict[str, Any] = {
                "reply_id": command.reply_id,
                "brand_id": event.brand_id,
                "conversation_id": command.conversation_id,
                "inbox_id": command.inbox_id,
                "account_id": account_id,
                "channel": command.channel,
                "number": command.number,
                "command": _encode(command),
                "state": "refused" if refusal else "waiting",
                "reason": refusal,
                "expires_at": command.expires_at,
                "traceparent": event.traceparent,
            }
            deliveries.append(row)
            parts += [_part(row, position, part) for position, part in enumerate(rendered)]
        new = await store.add_deliveries(tx, deliveries)
        await store.add_parts(tx, [part for part in parts if part["reply_id"] in new])
        return {row["reply_id"] for row in deliveries if row["state"] == "refused" and row["reply_id"] in new}

    def _render(self, command: SendReply, now: datetime) -> tuple[UUID, tuple[Part, ...], str]:
        """Account, parts, and why it is refused at once, if it is."""
        try:
            account = self._directory().account_of(command.inbox_id)
        except InboxMisconfigured as error:
            return UUID(int=0), (), error.code
        channel = self._channels.get(command.channel)
        if channel is None:
            return account.id, (), "no_channel"
        try:
            inbox = self._directory().inboxes[command.inbox_id]
            return account.id, channel.render(carried(command, channel, self._links, inbox, now)), ""
        except Rejected as error:
            return account.id, (), error.code
        except (DragomanError, ValueError, LookupError, TypeError, AttributeError):
            return account.id, (), "cannot_be_rendered"


def _part(delivery: dict[str, Any], position: int, part: Part) -> dict[str, Any]:
    same = ("brand_id", "reply_id", "conversation_id", "inbox_id", "account_id", "number")
    return {
        **{name: delivery[name] for name in same},
        # The same whenever it is rendered again; it is also our reference at the vendor.
        "id": derived_id("part", delivery["reply_id"], position),
        "position": position,
        "kind": part.kind,
        "payload": part.payload,
        "peer": part.peer,
        "text_hash": text_hash(part.text) if part.text else "",
    }


async def _withdraw(tx: Transaction, reply_id: UUID) -> set[UUID]:
    """What has not been tried does not leave; the rest is the vendor's already."""
    await store.lock_deliveries(tx, [reply_id])
    parts = (await store.parts_of(tx, [reply_id])).get(reply_id, [])
    waiting = [part["id"] for part in parts if part["state"] == "waiting"]
    await store.change_parts(tx, waiting, "withdrawn", reason="withdrawn")
    return {reply_id} if waiting else set()


async def _replay(tx: Transaction, reply_id: UUID) -> set[UUID]:
    """From the first part that was not accepted, once more."""
    await store.lock_deliveries(tx, [reply_id])
    parts = (await store.parts_of(tx, [reply_id])).get(reply_id, [])
    again = [part["id"] for part in parts if part["state"] in ("refused", "unknown", "expired", "withdrawn")]
    await store.change_parts(tx, again, "waiting", next_at=tx.now)
    return {reply_id} if again else set()
