"""What the router counts; no label is anything that a customer or a vendor chose."""

from prometheus_client import Counter, Gauge, Histogram

STREAMS = Gauge("dragoman_streams", "Open live streams of agents' frontends.")
CALLBACKS_REFUSED = Counter("dragoman_callbacks_refused_total", "Callback requests refused, by rule.", ["rule"])
STREAMS_CUT = Counter("dragoman_streams_cut_total", "Live streams closed because their reader did not read.")
REFUSED = Counter("dragoman_tokens_refused_total", "Requests whose token did not hold, by what was wrong.", ["reason"])

# Of the whole cell, so that every router shows the same: take the maximum, not the sum.
CLOCKS = Gauge(
    "dragoman_clocks", "Clocks that run: on time, near their end, or missed.", ["channel", "target", "state"]
)
DEADLINES = Counter("dragoman_deadlines_total", "Deadlines told to be near or missed.", ["channel", "target", "what"])
LATENESS = Histogram(
    "dragoman_clock_lateness_seconds", "Seconds by which an answer was late; 0 for those in time.",
    ["channel", "target"], buckets=(0, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 86400, 259200),
)  # fmt: skip
ALERT_DELAY = Histogram(
    "dragoman_alert_delay_seconds", "Seconds from a deadline's warning or end until its alert was written.",
    buckets=(0.5, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 3600),
)  # fmt: skip
DELIVERIES = Counter("dragoman_webhook_deliveries_total", "Attempts at delivering an alert to a webhook.", ["outcome"])
WEBHOOKS_WAITING = Gauge("dragoman_webhooks_waiting", "Alerts that wait for a webhook; of the whole cell.")
WEBHOOKS_DISABLED = Gauge("dragoman_webhooks_disabled", "Webhooks that are disabled; of the whole cell.")
DEAD = Gauge("dragoman_dead_waiting", "Dead letters that nobody has replayed; of the whole cell.")
OUTBOX_WAITING = Gauge("dragoman_outbox_waiting", "Events of a service that are not published yet.", ["service"])
OUTBOX_AGE = Gauge("dragoman_outbox_age_seconds", "Age of the oldest event that is not published yet.", ["service"])
