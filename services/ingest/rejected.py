"""Requests that are not authentic: counted, a few kept without their content, and an alert on their rate."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from shared.channels.contract import Hook
from shared.events import AccountHealth

KEPT = 20
KEEP_FOR = timedelta(hours=24)
# One forged request is noise; this many in a minute are an attack or a rotated secret.
SUSPICIOUS_PER_MINUTE = 20
TELL_EVERY = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Sample:
    """What may be kept of it: no body, no header values, no token."""

    at: datetime
    method: str
    header_names: tuple[str, ...]
    length: int
    reason: str


@dataclass(slots=True)
class Rejections:
    """Per account, in memory."""

    samples: dict[UUID, deque[Sample]] = field(default_factory=dict)
    _recent: dict[UUID, deque[datetime]] = field(default_factory=dict)
    _told: dict[UUID, datetime] = field(default_factory=dict)

    def note(self, account_id: UUID, hook: Hook, reason: str) -> AccountHealth | None:
        """Keeps a sample; the alert where the rate has just become suspicious."""
        now = hook.received_at
        sample = Sample(now, hook.method, tuple(sorted(hook.headers)), len(hook.body), reason)
        kept = self.samples.setdefault(account_id, deque(maxlen=KEPT))
        kept.append(sample)
        while kept and now - kept[0].at > KEEP_FOR:
            kept.popleft()
        recent = self._recent.setdefault(account_id, deque(maxlen=SUSPICIOUS_PER_MINUTE))
        recent.append(now)
        told = self._told.get(account_id)
        is_burst = len(recent) == SUSPICIOUS_PER_MINUTE and now - recent[0] <= timedelta(minutes=1)
        if not is_burst or (told is not None and now - told < TELL_EVERY):
            return None
        self._told[account_id] = now
        text = (
            f"{SUSPICIOUS_PER_MINUTE} requests in a minute were not signed by the vendor: forged, or its secret changed"
        )
        return AccountHealth(account_id=account_id, state="suspicious", reason=text, at=now)
