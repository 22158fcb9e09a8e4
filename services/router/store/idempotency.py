"""The answers to requests that had an effect, so that the same request again has none."""

from typing import Any

from shared.db.transaction import Transaction


async def begin(tx: Transaction, caller: str, key: str, request: bytes) -> dict[str, Any] | None:
    """Makes the key this request's; what it was answered before, where it was. Waits for one that is in flight."""
    fresh = await tx.fetchval(
        "INSERT INTO router.idempotency (actor, key, request, status, headers, body, at) "
        "VALUES ($1, $2, $3, 0, '{}', '', $4) ON CONFLICT (actor, key) DO NOTHING RETURNING 1",
        caller, key, request, tx.now,
    )  # fmt: skip
    if fresh:
        return None
    row = await tx.fetchrow(
        "SELECT request, status, headers, body FROM router.idempotency WHERE actor = $1 AND key = $2", caller, key
    )
    return dict(row) if row else None


async def end(tx: Transaction, caller: str, key: str, status: int, headers: dict[str, str], body: bytes) -> None:
    """Keeps the answer; the timers forget it after a day."""
    await tx.execute(
        "UPDATE router.idempotency SET status = $3, headers = $4, body = $5 WHERE actor = $1 AND key = $2",
        caller, key, status, headers, body,
    )  # fmt: skip
