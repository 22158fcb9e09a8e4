"""What every route works with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from services.router.api.tokens import Tokens
from services.router.dispatch import Dispatcher
from services.router.store.configuration import ConfigurationCache
from services.router.stream import Stream
from shared.channels.contract import Channel
from shared.db.transaction import Database
from shared.guard import Trusted
from shared.links import Links
from shared.objects import Objects
from shared.secrets import Vault
from shared.settings import Settings

# Requests a second that a caller may make for long, and at once.
RATE, BURST = 50.0, 200.0


@dataclass(slots=True)
class Bucket:
    """A caller's tokens; time is seconds that only grow."""

    tokens: float = BURST
    filled_at: float = 0.0

    def take(self, now: float) -> bool:
        """Whether there was one left."""
        self.tokens = min(BURST, self.tokens + max(0.0, now - self.filled_at) * RATE)
        self.filled_at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(frozen=True, slots=True)
class Api:
    """`database` acts in the API's role behind row-level security, `router_database` in the router's."""

    database: Database
    router_database: Database
    cache: ConfigurationCache
    channels: Mapping[str, Channel]
    dispatcher: Dispatcher
    settings: Settings
    tokens: Tokens
    stream: Stream
    objects: Objects
    links: Links
    vault: Vault
    # Receivers of webhooks that may be near; and a hint that one has something due.
    receivers: Trusted = Trusted()
    hint_webhooks: Callable[[], None] = lambda: None
    buckets: dict[str, Bucket] = field(default_factory=dict)


def api_of(request: Request) -> Api:
    api: Api = request.app.state.api
    return api


Context = Annotated[Api, Depends(api_of)]
