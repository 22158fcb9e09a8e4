"""What the responder counts; no label is anything that a customer or a vendor chose."""

from prometheus_client import Gauge

BROKEN = Gauge("dragoman_responder_broken_accounts", "Accounts whose credentials take no replies; of this process.")
