"""Where ingest's events go: the bus first, the spool when it does not answer in time, a refusal when neither can."""

import time
from collections.abc import Sequence

from services.ingest import files, metrics
from services.ingest.spool import Spool
from services.ingest.time_limits import Limits
from shared.accounts import Account
from shared.bus.contract import Bus
from shared.channels.contract import BadItem, Item
from shared.errors import Unavailable
from shared.events import Record
from shared.objects import Objects
from shared.tracing import carried

# While the spool's own attempts fail nobody waits for the bus to the last moment: the few places for requests in
# flight would all be taken by waiting.
WHILE_STUCK = 0.5


class Outlet:
    """What is published here is safe when `publish` returns."""

    def __init__(self, bus: Bus, spool: Spool, objects: Objects) -> None:
        self._bus = bus
        self._spool = spool
        self._objects = objects
        self._limits = Limits()

    async def keep(self, items: Sequence[Item | BadItem], account: Account, within: float) -> Sequence[Item | BadItem]:
        """The items as they may be published: what came with them is safe. Raises Unavailable."""
        return await files.keep(self._objects, items, account, within)

    async def keep_raw(self, account: Account, raw: bytes, within: float) -> None:
        """All of what a dead letter has only the beginning of is safe. Raises Unavailable."""
        await files.keep_raw(self._objects, account, raw, within)

    async def publish(self, records: Sequence[Record], within: float) -> None:
        """`within` seconds for the bus, then the spool. Raises Unavailable where neither took them.

        While a key has anything in the spool its new events go behind it, or they would overtake.
        """
        if not records:
            return
        records = carried(records)
        if self._spool.holds_any(records):
            await self._keep(records)
            return
        started = time.perf_counter()
        try:
            with self._limits(min(within, WHILE_STUCK) if self._spool.is_stuck else within):
                await self._bus.publish(records)
        except (Unavailable, TimeoutError):
            # It may still arrive by the bus: then it comes twice, which has one effect.
            await self._keep(records)
        else:
            metrics.PUBLISHED.observe(time.perf_counter() - started)

    async def _keep(self, records: Sequence[Record]) -> None:
        await self._spool.append(records)
        metrics.SPOOLED.inc(len(records))
