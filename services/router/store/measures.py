"""The figures that only the database knows; the same from every router, so take their maximum."""

from services.router import metrics
from shared.db.transaction import Transaction


async def take(tx: Transaction) -> None:
    """Reads them and sets the gauges; what is gone since the last look is 0."""
    clocks = await tx.fetch(
        """
        SELECT c.channel, k.target, count(*)::int AS n,
               CASE WHEN k.due_at <= $1 THEN 'missed' WHEN k.warn_at <= $1 THEN 'near' ELSE 'running' END AS state
        FROM router.clock AS k JOIN router.conversation AS c ON c.id = k.conversation_id
        WHERE k.state = 'running' GROUP BY c.channel, k.target, 4
        """,
        tx.now,
    )
    outboxes = await tx.fetch(
        """
        SELECT source, count(*)::int AS n, extract(epoch FROM $1 - min(created_at))::float AS age
        FROM bus.outbox WHERE published_at IS NULL GROUP BY source
        """,
        tx.now,
    )
    one = await tx.fetchrow(
        """
        SELECT (SELECT count(*)::int FROM router.dead WHERE replayed_at IS NULL) AS dead,
               (SELECT count(*)::int FROM router.webhook_delivery WHERE state = 'waiting') AS waiting,
               (SELECT count(*)::int FROM config.webhook WHERE NOT enabled) AS disabled
        """
    )
    assert one is not None
    for gauge in (metrics.CLOCKS, metrics.OUTBOX_WAITING, metrics.OUTBOX_AGE):
        gauge.clear()
    for row in clocks:
        metrics.CLOCKS.labels(row["channel"], row["target"], row["state"]).set(row["n"])
    for row in outboxes:
        metrics.OUTBOX_WAITING.labels(row["source"]).set(row["n"])
        metrics.OUTBOX_AGE.labels(row["source"]).set(max(0.0, row["age"]))
    metrics.DEAD.set(one["dead"])
    metrics.WEBHOOKS_WAITING.set(one["waiting"])
    metrics.WEBHOOKS_DISABLED.set(one["disabled"])
