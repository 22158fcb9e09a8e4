"""How a Meta app calls its owner: signed, again until it is answered 200, together what becomes due together.

Source: Meta for Developers, "Webhooks - Getting started, Validating payloads", Graph API v25.0.
"""

import asyncio
import hashlib
import hmac
import json
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

import httpx

from services.sandbox.state import KEPT, SandboxConfig, State
from shared.ids import new_id

# Up to this many updates come in one webhook.
LARGEST_BATCH = 1000

Item = dict[str, Any]


class Webhooks:
    """One app's webhooks of one product; `webhooks` runs beside the API and sends what became due."""

    # As our records name it, and as the payload does.
    vendor: str
    product: str

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state
        self._timers: deque[asyncio.TimerHandle] = deque(maxlen=KEPT)
        self._due: list[tuple[str, Item]] = []
        self._something_is_due = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()

    def entries(self, items: Sequence[tuple[str, Item]]) -> list[Item]:
        """The product's own form of what happened at each page or number."""
        raise NotImplementedError

    def described(self, entries: Sequence[Item]) -> Item:
        """What a record says of them."""
        raise NotImplementedError

    def signed(self, entries: Sequence[Item], secret: str | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a webhook; slashes and everything beyond ASCII are escaped, as the vendor's are."""
        text = json.dumps({"object": self.product, "entry": list(entries)}, separators=(",", ":"))
        body = text.replace("/", "\\/").encode()
        signature = hmac.new((secret or self.config.app_secret).encode(), body, hashlib.sha256).hexdigest()
        return body, {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}

    async def deliver(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> int | None:
        """One webhook, again until it is answered 200; the last status, None where nobody answered."""
        record = self._record(entries)
        await self._attempts(http, entries, record)
        return last_status(record)

    async def forge(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> int | None:
        """One webhook that is not signed with the app's secret, once; its status."""
        body, headers = self.signed(entries, secret="not the secret")  # noqa: S106
        return await self._post(http, body, headers, self._record(entries, is_forged=True))

    async def verify(self, http: httpx.AsyncClient, token: str) -> tuple[int | None, bool]:
        """The handshake of a subscription: the status, and whether the challenge came back as bare text."""
        challenge = str(new_id().int % 10**10)
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": challenge}
        try:
            answer = await http.get(self.config.hook_url, params=query)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None, False
        return answer.status_code, answer.status_code == 200 and answer.text == challenge

    def begin(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> tuple[asyncio.Task[None], Item]:
        """Delivers in the background, until `webhooks` ends: the task and the webhook's record."""
        record = self._record(entries)
        task = asyncio.create_task(self._attempts(http, entries, record), name="sandbox webhook")
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        return task, record

    def forget(self) -> None:
        """Nothing of what happened so far is told any more."""
        for timer in self._timers:
            timer.cancel()
        for delivery in self._deliveries:
            delivery.cancel()
        self._due.clear()

    async def webhooks(self, http: httpx.AsyncClient) -> None:
        """Sends what became due, together what became due together, until cancelled."""
        try:
            while True:
                await self._something_is_due.wait()
                await asyncio.sleep(self.config.gathered_for.total_seconds())
                batch, self._due = self._due[:LARGEST_BATCH], self._due[LARGEST_BATCH:]
                if not self._due:
                    self._something_is_due.clear()
                if batch:
                    self.begin(http, self.entries(batch))
        finally:
            open_deliveries = list(self._deliveries)
            self.forget()
            await asyncio.gather(*open_deliveries, return_exceptions=True)

    def later(self, after: timedelta, at: str, item: Item) -> None:
        """The item of that page or number leaves once the time is over."""
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(after.total_seconds(), self._is_due, at, item))

    def _is_due(self, at: str, item: Item) -> None:
        self._due.append((at, item))
        self._something_is_due.set()

    async def _attempts(self, http: httpx.AsyncClient, entries: Sequence[Item], record: Item) -> None:
        body, headers = self.signed(entries)
        for wait in (timedelta(0), *self.config.retry_waits):
            await asyncio.sleep(wait.total_seconds())
            if await self._post(http, body, headers, record) == 200:
                return

    async def _post(self, http: httpx.AsyncClient, body: bytes, headers: dict[str, str], record: Item) -> int | None:
        status: int | None = None
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            status = (await http.post(self.config.hook_url, content=body, headers=headers)).status_code
        record["statuses"].append(status)
        return status

    def _record(self, entries: Sequence[Item], *, is_forged: bool = False) -> Item:
        record = {
            "vendor": self.vendor, "at": self.config.now().isoformat(), "is_forged": is_forged,
            **self.described(entries), "statuses": [],
        }  # fmt: skip
        self.state.webhooks.append(record)
        return record


def last_status(record: Item) -> int | None:
    """Of a webhook's attempts; None before the first, and where nobody answered."""
    return record["statuses"][-1] if record["statuses"] else None
