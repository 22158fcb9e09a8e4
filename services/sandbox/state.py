"""What the stand-ins know and kept: customers, messages, requests, and the misbehaviour that was asked for."""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

KEPT = 10_000


def real_time() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """`pages` maps a page to its token, `shops` a shop to its name; `hook_url` is where webhooks go."""

    pages: Mapping[str, str] = field(default_factory=dict)
    human_agent_pages: frozenset[str] = frozenset()
    app_id: str = "1000000001"
    app_secret: str = "sandbox-app-secret"  # noqa: S105 - the stand-in's own
    verify_token: str = "sandbox-verify-token"  # noqa: S105
    hook_url: str = ""
    api_key: str = "sandbox-api-key"
    shops: Mapping[str, str] = field(default_factory=dict)
    now: Callable[[], datetime] = real_time


@dataclass(slots=True)
class Misbehaviour:
    """What a vendor does to the next `times` requests (to `target`, a page or shop, or to all)."""

    mode: str
    times: int = 1
    target: str | None = None
    retry_after: int | None = None
    seconds: float = 0.0
    code: int = 2
    subcode: int | None = None


@dataclass(slots=True)
class State:
    """Bounded memory; `reset` forgets everything."""

    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    sent: dict[str, deque[dict[str, Any]]] = field(
        default_factory=lambda: {"messenger": deque(maxlen=KEPT), "mirakl": deque(maxlen=KEPT)}
    )
    webhooks: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT))
    misbehaviours: dict[str, list[Misbehaviour]] = field(default_factory=lambda: {"messenger": [], "mirakl": []})
    # Messenger: the user's last action by (page, psid). Mirakl: threads by id.
    last_action: dict[tuple[str, str], datetime] = field(default_factory=dict)
    threads: dict[str, dict[str, Any]] = field(default_factory=dict)
    count: int = 0

    def next_number(self) -> int:
        self.count += 1
        return self.count

    def misbehave(self, vendor: str, target: str) -> Misbehaviour | None:
        """The misbehaviour that this request meets; each is used up by its number of requests."""
        for wanted in self.misbehaviours[vendor]:
            if wanted.times > 0 and wanted.target in (None, target):
                wanted.times -= 1
                return wanted
        return None
