"""What every stand-in that joins the sandbox gives; the sandbox mounts it under its name."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import httpx
from starlette.routing import Route

from services.sandbox.state import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """One account as it was configured: what its owner agreed with the vendor. Inboxes by address."""

    name: str
    channel: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    inboxes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # Where the account's webhooks go, empty for a vendor that sends none.
    hook_url: str = ""


class StandIn(Protocol):
    """One vendor. `routes` speak its wire below `/NAME`, `control` obeys whoever drives it below `/control/NAME`."""

    name: str

    def routes(self) -> Sequence[Route]: ...

    def control(self) -> Sequence[Route]: ...

    def running(self, http: httpx.AsyncClient) -> AbstractAsyncContextManager[None]:
        """Does what the vendor does by itself (webhooks, servers of its own) until left."""
        ...

    def forget(self) -> None:
        """Back to the beginning: no customers, no records."""
        ...


# Of the connections of its channels, and what all stand-ins share (records, misbehaviour).
Build = Callable[[Sequence[Connection], State], StandIn]
