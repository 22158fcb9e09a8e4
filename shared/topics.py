"""The topics of the bus and what they must be like on a broker."""

from enum import StrEnum


class Topic(StrEnum):
    """A topic; the docstring of design names who writes and who reads it."""

    INBOUND = "inbound"
    RECEIPTS = "receipts"
    OUTBOUND = "outbound"
    RESULTS = "results"
    ROUTING = "routing"
    ALERTS = "alerts"
    DEAD = "dead"
    MEDIA = "media"


# For everybody who wants to know: no consumer of ours has to have read them.
ANNOUNCEMENTS = frozenset({Topic.ROUTING})

# Seven days: longer than the longest outage that we promise to survive. Values are strings on the wire.
TOPIC_SETTINGS = {
    "min.insync.replicas": "2",
    "retention.ms": "604800000",
    "unclean.leader.election.enable": "false",
    "message.timestamp.type": "CreateTime",
}
