"""Where ingest's events go: the bus first, the spool when it does not answer in time, a refusal when neither can."""

import asyncio
from collections.abc import Sequence

from services.ingest import metrics
from services.ingest.spool import Spool
from shared.bus.contract import Bus
from shared.errors import Unavailable
from shared.events import Record


class Outlet:
    """What is published here is safe when `publish` returns."""

    def __init__(self, bus: Bus, spool: Spool) -> None:
        self._bus = bus
        self._spool = spool

    async def publish(self, records: Sequence[Record], within: float) -> None:
        """`within` seconds for the bus, then the spool. Raises Unavailable where neither took them.

        While a key has anything in the spool its new events go behind it, or they would overtake.
        """
        if not records:
            return
        if self._spool.holds_any(records):
            await self._spool.append(records)
            return
        try:
            async with asyncio.timeout(within):
                await self._bus.publish(records)
        except (Unavailable, TimeoutError):
            # It may still arrive by the bus: then it comes twice, which has one effect.
            metrics.SPOOLED.inc(len(records))
            await self._spool.append(records)
