"""Requests that are not authentic: counted, a few kept without their content, and an alert on their rate."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from shared.channels.contract import Hook
from shared.events import AccountHealth

KEPT = 20
KEEP_FOR = timedelta(hours=24)
# Names of headers are the sender's choice, in number and length.
NAMES_KEPT, NAME_LIMIT = 40, 60
# One forged request is noise; this many in a minute are an attack or a rotated secret.
SUSPICIOUS_PER_MINUTE = 20
MINUTE = timedelta(minutes=1)
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

    _samples: dict[UUID, deque[Sample]] = field(default_factory=dict)
    _recent: dict[UUID, deque[datetime]] = field(default_factory=dict)
    _told: dict[UUID, datetime] = field(default_factory=dict)
    _suspicious: set[UUID] = field(default_factory=set)

    def samples(self, account_id: UUID, now: datetime) -> list[Sample]:
        """The last ones of an account, oldest first, none older than a day."""
        return [sample for sample in self._samples.get(account_id, ()) if now - sample.at <= KEEP_FOR]

    def note(self, account_id: UUID, hook: Hook, reason: str) -> AccountHealth | None:
        """Keeps a sample; the alert where the rate has just become suspicious."""
        now = hook.received_at
        names = tuple(name[:NAME_LIMIT] for name in sorted(hook.headers)[:NAMES_KEPT])
        kept = self._samples.setdefault(account_id, deque(maxlen=KEPT))
        kept.append(Sample(now, hook.method, names, len(hook.body), reason))
        while now - kept[0].at > KEEP_FOR:
            kept.popleft()
        recent = self._recent.setdefault(account_id, deque(maxlen=SUSPICIOUS_PER_MINUTE))
        recent.append(now)
        told = self._told.get(account_id)
        is_burst = len(recent) == SUSPICIOUS_PER_MINUTE and now - recent[0] <= MINUTE
        if not is_burst or (told is not None and now - told < TELL_EVERY):
            return None
        self._told[account_id] = now
        self._suspicious.add(account_id)
        text = (
            f"{SUSPICIOUS_PER_MINUTE} requests in a minute were not signed by the vendor: forged, or its secret changed"
        )
        return AccountHealth(account_id=account_id, state="suspicious", reason=text, at=now)

    def authentic(self, account_id: UUID, now: datetime) -> AccountHealth | None:
        """A request was the vendor's: the all-clear where the account was suspicious and has been quiet for a minute.

        Time alone proves nothing: with a secret that no longer fits, silence may mean that the vendor gave up.
        """
        if account_id not in self._suspicious or now - self._recent[account_id][-1] <= MINUTE:
            return None
        self._suspicious.discard(account_id)
        return AccountHealth(
            account_id=account_id, state="healthy", reason="the vendor's requests are good again", at=now
        )
