"""What ingest counts; labels are channels and outcomes, never anything that a vendor or customer chose."""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

HOOKS = Counter("dragoman_hooks_total", "Webhook requests by what they were answered.", ["channel", "outcome"])
ITEMS = Counter("dragoman_items_total", "Items of webhooks and polls.", ["channel", "kind"])
ACKED = Histogram(
    "dragoman_hook_seconds", "Seconds from a webhook's last byte to its answer.", ["channel"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)  # fmt: skip
PUBLISHED = Histogram("dragoman_publish_seconds", "Seconds until the bus had a request's events safe.",
                      buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5))  # fmt: skip
SPOOLED = Counter("dragoman_spooled_total", "Events that went into the spool instead of the bus.")
SPOOL_WAITING = Gauge("dragoman_spool_waiting", "Events in the spool.")
POLLS = Counter("dragoman_polls_total", "Polls by how they ended.", ["channel", "outcome"])
BROKEN = Gauge("dragoman_polling_broken_accounts", "Accounts that cannot be polled; of this process.")
MEDIA = Counter("dragoman_media_total", "Attempts at fetching a message's file.", ["outcome"])
MEDIA_BYTES = Counter("dragoman_media_bytes_total", "Bytes of the files that were fetched.")


# Looking a child up by its labels costs as much as parsing a small message; the labels are few and fixed.
hooks = cache(HOOKS.labels)
items = cache(ITEMS.labels)
acked = cache(ACKED.labels)
