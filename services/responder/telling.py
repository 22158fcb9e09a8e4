"""Tells the router what became of replies: each change once, in the transaction that made it."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import asyncpg

from services.responder import store
from services.responder.domain import receipts
from services.responder.domain.delivery import reply_state
from shared.bus import outbox
from shared.db.transaction import Transaction
from shared.events import Data, Event, ReplyAccepted, ReplyProgressed, ReplyRefused, ReplyUnknown, encode

SOURCE = "responder"
FINAL = ("refused", "withdrawn", "expired")


async def tell(tx: Transaction, reply_ids: Iterable[UUID]) -> None:
    """Compares each reply's state with what was told last and writes the difference into the outbox."""
    ids = sorted(set(reply_ids))
    if not ids:
        return
    deliveries = await store.lock_deliveries(tx, ids)
    parts = await store.parts_of(tx, ids)
    events: list[Event] = []
    rows: list[tuple[UUID, str, str, str]] = []
    for id_, delivery in deliveries.items():
        state, reason, told, data = _news(delivery, parts.get(id_, []), tx)
        rows.append((id_, state, reason, told))
        events += [_event(delivery, d, tx) for d in data]
    await store.tell_deliveries(tx, rows)
    await outbox.add(tx, SOURCE, [encode(event) for event in events])


def _news(delivery: asyncpg.Record, parts: list[asyncpg.Record], tx: Transaction) -> tuple[str, str, str, list[Data]]:
    """The delivery's state, reason, what is told now, and the events that tell it."""
    state = reply_state([part["state"] for part in parts]) if parts else delivery["state"]
    told = delivery["told"]
    ids: dict[str, Any] = {"reply_id": delivery["reply_id"], "conversation_id": delivery["conversation_id"]}
    if state in FINAL:
        worst = next((part for part in parts if part["state"] == state), None)
        reason = (worst["reason"] if worst else delivery["reason"]) or state
        if told == f"refused {reason}":
            return state, reason, told, []
        code = worst["code"] if worst else ""
        return state, reason, f"refused {reason}", [ReplyRefused(**ids, at=tx.now, reason=reason, code=code)]
    if state == "unknown":
        left = [part for part in parts if part["state"] == "unknown" and part["next_at"] is None]
        if not left or told == "unknown":
            return state, "", told, []
        return state, "unknown", "unknown", [ReplyUnknown(**ids, at=tx.now, reason=left[0]["reason"] or "no_proof")]
    if state != "accepted":
        return state, "", told, []
    return _accepted(parts, told, ids, tx)


def _accepted(
    parts: list[asyncpg.Record], told: str, ids: dict[str, Any], tx: Transaction
) -> tuple[str, str, str, list[Data]]:
    data: list[Data] = []
    if told not in (*receipts.RANK, "failed") or told == "":
        external = [part["external_id"] for part in parts if part["external_id"]]
        at = max((part["accepted_at"] for part in parts if part["accepted_at"]), default=tx.now)
        data.append(ReplyAccepted(**ids, at=at, external_ids=external))
        told = "accepted"
    receipt = receipts.of_reply([receipts.join("accepted", part["receipt"]) for part in parts])
    if receipt != told and receipt != "accepted":
        at = max((part["receipt_at"] for part in parts if part["receipt_at"]), default=tx.now)
        code = next((part["code"] for part in parts if part["receipt"] == receipt == "failed"), "")
        data.append(ReplyProgressed(**ids, state=receipt, at=at, code=code))  # type: ignore[arg-type]
        told = receipt
    return "accepted", "", told, data


def _event(delivery: asyncpg.Record, data: Data, tx: Transaction) -> Event:
    return Event(
        data=data,
        key=str(delivery["conversation_id"]),
        source=SOURCE,
        time=tx.now,
        brand_id=delivery["brand_id"],
        inbox_id=delivery["inbox_id"],
        subject=str(delivery["reply_id"]),
        traceparent=delivery["traceparent"],
    )
