"""What every service is given at its start."""

import asyncio
from dataclasses import dataclass, field

from shared.bus.contract import Bus
from shared.clock import Clock, DatabaseClock
from shared.secrets import Vault
from shared.settings import Settings
from shared.tracing import Traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`alone` where all services share this process; `stopping` is set before the server is told to exit.

    Without a collector there are no `traces`.
    """

    settings: Settings
    database_url: str
    bus: Bus
    vault: Vault
    clock: Clock = field(default_factory=DatabaseClock)
    alone: bool = True
    traces: Traces | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
