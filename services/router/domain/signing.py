"""Signatures of webhooks by Standard Webhooks: https://www.standardwebhooks.com, HMAC-SHA256, `v1`."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from standardwebhooks import Webhook

PREFIX = "whsec_"
LENGTHS = range(24, 65)


def is_secret(text: str) -> bool:
    """Whether it is `whsec_` and the base64 of 24 to 64 bytes."""
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return False
    return text.startswith(PREFIX) and len(key) in LENGTHS


def secret_of(random: bytes) -> str:
    """The secret that these bytes are."""
    return PREFIX + base64.b64encode(random).decode()


def headers(event_id: UUID, at: datetime, body: bytes, secrets: Sequence[str]) -> Mapping[str, str]:
    """The three headers of an attempt; one signature for each secret, so that either may be the receiver's."""
    signed = [Webhook(secret).sign(msg_id=str(event_id), timestamp=at, data=body.decode()) for secret in secrets]
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signed),
    }
