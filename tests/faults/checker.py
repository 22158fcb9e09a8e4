"""What must hold whatever was killed: the ledger of the load against the database and the stand-in."""

import asyncio
import re
from collections import Counter, defaultdict
from typing import Any

from tests.e2e.processes import Cell
from tests.faults.load import Ledger

HEAL_WITHIN = 60.0


async def violations(cell: Cell, database: Any, ledger: Ledger) -> list[str]:
    """Every broken promise as a line; empty where all held. Waits until everything is through, for a bounded time."""
    await _quiet(cell, database, ledger)
    found = [f"a consumer went back: {line}" for line in ledger.rewinds]
    async with database.transaction() as tx:
        seen = await tx.fetch("SELECT key, message_id FROM router.seen WHERE kind = 'message'")
        messages = await tx.fetch("SELECT id, count(*) AS n FROM router.message WHERE kind = 'inbound' GROUP BY id")
        order = await tx.fetch(
            "SELECT h.conversation_id, h.n, m.text, i.value AS psid FROM router.history AS h "
            "JOIN router.message AS m ON m.id = (h.data->>'message_id')::uuid "
            "JOIN router.conversation AS c ON c.id = h.conversation_id "
            "JOIN router.identity AS i ON i.customer_id = c.customer_id "
            "WHERE h.kind = 'message_received' ORDER BY h.conversation_id, h.n"
        )
        replies = await tx.fetch("SELECT id, state FROM router.message WHERE kind = 'reply'")
        parts = await tx.fetch(
            "SELECT p.id, p.reply_id, p.state, p.reason, "
            "EXISTS (SELECT FROM responder.attempt AS a WHERE a.part_id = p.id AND a.outcome = 'resent') AS resent "
            "FROM responder.part AS p"
        )
    stored = {row["key"].removeprefix("message:"): row["message_id"] for row in seen}
    existing = {row["id"] for row in messages}
    found += [f"acknowledged and lost: {mid}" for mid in ledger.posted if stored.get(mid) not in existing]
    if len(existing) != len(set(stored.values())):
        found.append(f"{len(existing)} messages for {len(stored)} that came in")
    found += _disorder(order)
    found += _replies(cell, ledger, {str(r["id"]): r["state"] for r in replies}, parts)
    return found


def _disorder(rows: list[Any]) -> list[str]:
    by_sender: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for row in rows:
        number = re.search(r"\((\d+)\)$", row["text"])
        assert number is not None
        by_sender[f"{row['psid']} {row['conversation_id']}"].append((row["text"], row["n"], int(number[1])))
    return [
        f"out of order: {sender}"
        for sender, received in by_sender.items()
        if [k for _, _, k in received] != sorted(k for _, _, k in received)
    ]


def _replies(cell: Cell, ledger: Ledger, states: dict[str, str], parts: list[Any]) -> list[str]:
    found = []
    sent = Counter(m["metadata"] for m in cell.sandbox.state.sent["messenger"])
    of_reply = {str(part["reply_id"]): part for part in parts}
    for reply_id in ledger.replies:
        part = of_reply.get(reply_id)
        if part is None:
            found.append(f"reply accepted and never delivered: {reply_id}")
            continue
        times, state = sent[str(part["id"])], states.get(reply_id)
        told = part["resent"] or state == "unknown" or part["state"] == "unknown"
        if times > 1 and not told:
            found.append(f"reply reached the vendor {times} times: {reply_id}")
        if times == 0 and state not in ("unknown", "refused"):
            found.append(f"reply never reached the vendor and is {state}: {reply_id}")
    return found


async def _quiet(cell: Cell, database: Any, ledger: Ledger) -> None:
    """Until all that was posted is there, every reply has an end, and nothing waits in outboxes; at most a minute."""
    until = asyncio.get_running_loop().time() + HEAL_WITHIN
    while asyncio.get_running_loop().time() < until:
        async with database.transaction() as tx:
            came = await tx.fetchval("SELECT count(*) FROM router.seen WHERE kind = 'message'")
            waiting = await tx.fetchval("SELECT count(*) FROM bus.outbox WHERE published_at IS NULL")
            open_parts = await tx.fetchval(
                "SELECT count(*) FROM responder.part WHERE state IN ('waiting', 'sending', 'unknown')"
            )
            parts = await tx.fetchval("SELECT count(*) FROM responder.delivery")
        if came >= len(ledger.posted) and not waiting and not open_parts and parts >= len(ledger.replies):
            return
        await asyncio.sleep(0.25)
