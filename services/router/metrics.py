"""What the router counts; no label is anything that a customer or a vendor chose."""

from prometheus_client import Counter, Gauge

STREAMS = Gauge("dragoman_streams", "Open live streams of agents' frontends.")
CALLBACKS_REFUSED = Counter("dragoman_callbacks_refused_total", "Callback requests refused, by rule.", ["rule"])
STREAMS_CUT = Counter("dragoman_streams_cut_total", "Live streams closed because their reader did not read.")
REFUSED = Counter("dragoman_tokens_refused_total", "Requests whose token did not hold, by what was wrong.", ["reason"])
