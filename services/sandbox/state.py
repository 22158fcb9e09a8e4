"""What the stand-ins know and kept, in bounded memory: customers, threads, requests, misbehaviour that goes on."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeVar

from services.sandbox.commands import Misbehaviour
from shared.clock import utc_now

KEPT = 10_000

K = TypeVar("K")
V = TypeVar("V")
Log = deque[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`pages` maps a page to its token, `shops` a shop to its name; `hook_url` is where webhooks go."""

    pages: Mapping[str, str] = field(default_factory=dict)
    # Pages whose app was granted the Human Agent feature.
    human_agent_pages: frozenset[str] = frozenset()
    app_id: str = "1000000001"
    app_secret: str = "sandbox-app-secret"  # noqa: S105 - the stand-in's own
    verify_token: str = "sandbox-verify-token"  # noqa: S105
    hook_url: str = ""
    api_key: str = "sandbox-api-key"
    # The first shop is the key's default shop.
    shops: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], datetime] = utc_now
    # After a message was accepted; what comes due together leaves in one webhook.
    echo_after: timedelta = timedelta(0)
    delivered_after: timedelta = timedelta(milliseconds=20)
    read_after: timedelta = timedelta(milliseconds=40)
    gathered_for: timedelta = timedelta(milliseconds=10)
    # Before each further attempt of a webhook that was not answered 200; then it is given up.
    retry_waits: tuple[timedelta, ...] = tuple(timedelta(seconds=s) for s in (0.3, 1, 3, 10, 20, 30))
    webhook_timeout: timedelta = timedelta(seconds=10)


@dataclass(slots=True)
class Standing:
    """A misbehaviour that goes on for `left` more requests, or until an instant."""

    wanted: Misbehaviour
    left: int | None
    until: datetime | None

    def is_over(self, now: datetime) -> bool:
        return self.left == 0 or (self.until is not None and now >= self.until)


@dataclass(slots=True)
class State:
    """Everything that `clear` forgets; each collection keeps its last `KEPT` entries."""

    requests: Log = field(default_factory=lambda: deque(maxlen=KEPT))
    sent: dict[str, Log] = field(
        default_factory=lambda: {name: deque(maxlen=KEPT) for name in ("messenger", "mirakl", "whatsapp")}
    )
    webhooks: Log = field(default_factory=lambda: deque(maxlen=KEPT))
    misbehaviours: deque[Standing] = field(default_factory=lambda: deque(maxlen=KEPT))
    # Messenger, by page and PSID: the user's last action, and the name of who has one.
    last_action: dict[tuple[str, str], datetime] = field(default_factory=dict)
    names: dict[tuple[str, str], str] = field(default_factory=dict)
    # Mirakl: threads and files by id.
    threads: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)

    def misbehave(self, wanted: Misbehaviour, now: datetime) -> None:
        """Once, unless it says how often or for how long."""
        until = now + timedelta(seconds=wanted.seconds) if wanted.seconds is not None else None
        left = 1 if wanted.times is None and until is None else wanted.times
        self.misbehaviours.append(Standing(wanted, left, until))

    def take(
        self, vendor: str, target: str, operation: str, modes: frozenset[str], now: datetime
    ) -> Misbehaviour | None:
        """The oldest misbehaviour in one of `modes` that this request meets, one request less of it from now on."""
        for standing in list(self.misbehaviours):
            if standing.is_over(now):
                self.misbehaviours.remove(standing)
            elif standing.wanted.mode in modes and standing.wanted.meets(vendor, target, operation):
                if standing.left is not None:
                    standing.left -= 1
                return standing.wanted
        return None

    def clear(self) -> None:
        for log in (self.requests, *self.sent.values(), self.webhooks):
            log.clear()
        self.misbehaviours.clear()
        self.last_action.clear()
        self.names.clear()
        self.threads.clear()
        self.files.clear()


def keep(known: dict[K, V], key: K, value: V) -> None:
    """Puts it in, and lets the oldest go where there are too many."""
    known[key] = value
    if len(known) > KEPT:
        del known[next(iter(known))]
