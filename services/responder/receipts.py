"""The topic `receipts`: what vendors say of parts, and what the brand's side wrote."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from services.responder import calls, store
from services.responder.domain.receipts import join
from services.responder.telling import SOURCE, tell
from shared.bus import outbox
from shared.channels.text import text_hash
from shared.db.transaction import Transaction
from shared.errors import BadPayload, PoisonEvent
from shared.events import CallProgressed, EchoReceived, Event, ReceiptReceived, ReplyMadeElsewhere, encode

# An echo that fits nothing may belong to a call whose outcome is not written yet.
HOLD = timedelta(minutes=2)
# What was tried longer ago is not looked through for a match.
LOOK_BACK = timedelta(days=2)
# The vendor's clock and ours: a watermark covers what began so little after it.
SKEW = timedelta(seconds=1)
OPEN = ("sending", "unknown")

_echo = msgspec.json.Decoder(EchoReceived)


async def handle(tx: Transaction, batch: Sequence[Event], suppresses: Mapping[str, frozenset[str]]) -> None:
    """The handler of the topic; `suppresses` are the codes by channel after which nothing more goes to a peer.

    Raises PoisonEvent for what does not belong there.
    """
    rows: list[dict[str, Any]] = []
    called: list[CallProgressed] = []
    for position, event in enumerate(batch):
        if isinstance(event.data, CallProgressed):
            calls.reference_of(position, event.data)
            called.append(event.data)
            continue
        if not isinstance(event.data, ReceiptReceived | EchoReceived) or event.inbox_id is None:
            raise PoisonEvent(position, BadPayload(f"{event.type} does not belong on receipts", code="wrong_topic"))
        rows += _rows(event, event.data, tx)
    unique = list({(row["inbox_id"], row["key"]): row for row in rows}.values())
    new = await store.new_receipts(tx, unique)
    fresh = [row for row in unique if (row["inbox_id"], row["key"]) in new]
    touched = await _apply_receipts(tx, [row for row in fresh if row["kind"] == "receipt"], suppresses)
    touched |= await match_echoes(tx, [row for row in fresh if row["kind"] == "echo"])
    await tell(tx, touched)
    if called:
        await calls.progressed(tx, called)


def _rows(event: Event, data: ReceiptReceived | EchoReceived, tx: Transaction) -> list[dict[str, Any]]:
    """An echo is one row; a receipt one per message that it names, and one for its watermark."""
    base: dict[str, Any] = {
        "inbox_id": event.inbox_id,
        "brand_id": event.brand_id,
        "key": data.keys[0],
        "peer": data.peer,
        "external_id": None,
        "watermark": None,
        "held_until": None,
        "data": None,
        "reference": data.reference,
    }
    if isinstance(data, EchoReceived):
        # The vendor says that we sent it ourselves: where nothing fits, our records are younger than the echo (a
        # restored database), and nobody answered elsewhere.
        held_until = None if data.ours else tx.now + HOLD
        encoded = msgspec.json.encode(data)
        return [base | {"kind": "echo", "state": "echo", "at": data.occurred_at, "external_id": data.external_id,
                        "held_until": held_until, "data": encoded}]  # fmt: skip
    base |= {"kind": "receipt", "state": data.state, "at": data.at, "channel": data.channel, "code": data.code}
    rows = [base | {"key": f"{data.keys[0]}#{id_}", "external_id": id_} for id_ in data.external_ids]
    if data.watermark is not None or not rows:
        rows.append(base | {"watermark": data.watermark})
    return rows


async def _apply_receipts(
    tx: Transaction, rows: Sequence[dict[str, Any]], suppresses: Mapping[str, frozenset[str]]
) -> set[UUID]:
    """Moves the parts that the receipts name; what names none yet is kept until its part is known."""
    if not rows:
        return set()
    named = await store.parts_by_external_id(
        tx, [(row["inbox_id"], row["external_id"]) for row in rows if row["external_id"]]
    )
    of_peers = await store.parts_of_peers(
        tx, sorted({(row["inbox_id"], row["peer"]) for row in rows if row["peer"]}), tx.now - LOOK_BACK
    )
    known = {part["id"]: part for part in (*named, *of_peers)}
    # Vendors may report a number in another way than they were given it; our own reference is the same.
    unseen = [(row["inbox_id"], id_) for row in rows if (id_ := _part_id(row["reference"])) and id_ not in known]
    if unseen:
        known |= {part["id"]: part for part in await store.parts_by_id(tx, unseen)}
    state = {id_: part["receipt"] for id_, part in known.items()}
    codes: dict[UUID, str] = {}
    touched: set[UUID] = set()
    suppressed = []
    for row in rows:
        is_final = row["state"] == "failed" and row["code"] in suppresses.get(row["channel"], ())
        for part in known.values():
            if not _concerns(row, part):
                continue
            # A forwarded mail may come back from an address that we never wrote to.
            if is_final and row["peer"] in (None, part["peer"]):
                suppressed.append((part["inbox_id"], part["peer"], part["brand_id"], "bounced", row["code"]))
            joined = join(state[part["id"]], row["state"])
            if row["reference"] == str(part["id"]) and row["external_id"]:
                await store.prove(tx, part["id"], row["external_id"])
                touched.add(part["reply_id"])
            if joined != state[part["id"]]:
                state[part["id"]] = joined
                codes[part["id"]] = row["code"] if joined == "failed" else ""
                touched.add(part["reply_id"])
    moved = [(id_, receipt, codes[id_]) for id_, receipt in state.items() if receipt != known[id_]["receipt"]]
    await store.set_receipts(tx, moved)
    if suppressed:
        await store.suppress(tx, suppressed)
    return touched


def _part_id(reference: str | None) -> UUID | None:
    """None for a reference that is not ours."""
    try:
        return UUID(reference) if reference else None
    except ValueError:
        return None


def _concerns(row: dict[str, Any], part: asyncpg.Record) -> bool:
    if row["inbox_id"] != part["inbox_id"]:
        return False
    if row["reference"] is not None:
        return bool(row["reference"] == str(part["id"]))
    if row["external_id"] is not None:
        return bool(row["external_id"] == part["external_id"])
    return (
        row["watermark"] is not None
        and row["peer"] == part["peer"]
        and part["state"] == "accepted"
        and part["started_at"] is not None
        and part["started_at"] <= row["watermark"] + SKEW
    )


async def match_echoes(tx: Transaction, rows: Sequence[Any]) -> set[UUID]:
    """Echoes that fit an attempt prove it; the replies that this concerns. The others stay held."""
    if not rows:
        return set()
    peers = sorted({(row["inbox_id"], row["peer"]) for row in rows})
    parts = await store.parts_of_peers(tx, peers, tx.now - LOOK_BACK)
    proven: set[UUID] = set()
    touched: set[UUID] = set()
    for row in rows:
        part = _fitting(_echo.decode(row["data"]), row, parts, proven)
        if part is None:
            continue
        proven.add(part["id"])
        if await store.prove(tx, part["id"], row["external_id"]):
            touched.add(part["reply_id"])
        await store.let_go(tx, [(row["inbox_id"], row["key"])], part["id"])
        await catch_up(tx, part, row["external_id"])
    return touched


def _fitting(echo: EchoReceived, row: Any, parts: Sequence[asyncpg.Record], proven: set[UUID]) -> asyncpg.Record | None:
    """The part whose echo this is: by our reference, by the vendor's id, else an open attempt with the same text."""
    near = [p for p in parts if p["inbox_id"] == row["inbox_id"] and p["peer"] == row["peer"]]
    for part in near:
        if echo.reference == str(part["id"]) or part["external_id"] == echo.external_id:
            return part
    if echo.reference is not None:
        return None
    wanted = text_hash(echo.text) if echo.text else ""
    for part in sorted(near, key=lambda p: (p["number"], p["position"])):
        is_open = part["state"] in OPEN and part["id"] not in proven
        if is_open and wanted and part["text_hash"] == wanted and part["started_at"] <= echo.occurred_at + SKEW:
            return part
    return None


async def catch_up(tx: Transaction, part: Any, external_id: str) -> None:
    """Receipts that came before the part was known by its id count now."""
    earlier = [row["state"] for row in await store.receipts_of(tx, [(part["inbox_id"], external_id)])]
    since = part["started_at"]
    watermarks = await store.watermark_of(tx, part["inbox_id"], part["peer"])
    earlier += [row["state"] for row in watermarks if since is not None and since <= row["watermark"] + SKEW]
    receipt = part["receipt"]
    for state in earlier:
        receipt = join(receipt, state)
    if receipt != part["receipt"]:
        await store.set_receipts(tx, [(part["id"], receipt, "")])


async def release_echoes(tx: Transaction, limit: int) -> int:
    """Held echoes that nothing explains any more: the brand answered elsewhere."""
    rows = await store.echoes_held(tx, limit)
    if not rows:
        return 0
    await tell(tx, await match_echoes(tx, rows))
    held = await store.still_held(tx, [(row["inbox_id"], row["key"]) for row in rows])
    left = [row for row in rows if (row["inbox_id"], row["key"]) in held]
    events = []
    for row in left:
        echo = _echo.decode(row["data"])
        data = ReplyMadeElsewhere(
            inbox_id=row["inbox_id"],
            channel=echo.channel,
            keys=[row["key"]],
            peer=echo.peer,
            external_id=echo.external_id,
            occurred_at=echo.occurred_at,
            text=echo.text,
            attachments=echo.attachments,
        )
        events.append(
            Event(data=data, key=f"{row['inbox_id']}:{echo.peer}", source=SOURCE, time=tx.now,
                  brand_id=row["brand_id"], inbox_id=row["inbox_id"])
        )  # fmt: skip
    await outbox.add(tx, SOURCE, [encode(event) for event in events])
    await store.let_go(tx, [(row["inbox_id"], row["key"]) for row in left])
    return len(left)
