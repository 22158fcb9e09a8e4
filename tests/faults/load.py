"""Customers who write and agents who answer while processes die; keeps a ledger of what was promised."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.e2e.processes import Cell

TEXTS = ("Wo bleibt meine Bestellung?", "Ich warte immer noch auf mein Paket.", "Bitte melden Sie sich bei mir!")
AGENTS = ("anna", "bernd", "sanne", "ewa")


@dataclass
class Ledger:
    """What was acknowledged: messages by id, replies by id; and where consumers stood, looked at all the time."""

    posted: dict[str, str] = field(default_factory=dict)
    replies: dict[str, str] = field(default_factory=dict)
    offsets: dict[tuple[str, str, int], int] = field(default_factory=dict)
    rewinds: list[str] = field(default_factory=list)
    failures: int = 0


class Load:
    """Runs until `stop`; every sender writes in order and begins the next message after the last was acknowledged."""

    def __init__(self, cell: Cell, database: Any, senders: int = 24) -> None:
        self.cell, self.database, self.senders = cell, database, senders
        self.ledger = Ledger()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        self._stopping.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(self.senders):
                group.create_task(self._send(n))
            for agent in AGENTS:
                group.create_task(self._answer(agent))
            group.create_task(self._watch())

    async def _send(self, n: int) -> None:
        psid, hook = f"psid{n}", self.cell.hook_url(n % len(self.cell.services["ingest"]))
        k = 0
        while not self._stopping.is_set():
            mid = f"m-{n}-{k}"
            graph = self.cell.sandbox.graph
            text = f"{TEXTS[k % len(TEXTS)]} ({k})"
            body, headers = graph.signed([graph.entry("100", [graph.customer_writes("100", psid, text, mid=mid)])])
            while not await self._post(hook, body, headers):
                await asyncio.sleep(0.1)
                if self._stopping.is_set():
                    return
            self.ledger.posted[mid] = psid
            k += 1
            await asyncio.sleep(0.4)

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        with suppress(httpx.HTTPError):
            answer = await self.cell.http.post(url, content=body, headers=headers, timeout=10)
            if answer.status_code == 200:
                return True
        self.ledger.failures += 1
        return False

    async def _answer(self, agent: str) -> None:
        """Takes what is offered and answers it; the same Idempotency-Key until there is an answer."""
        k = 0
        while not self._stopping.is_set():
            await self._api(agent, "PUT", "/v1/presence", {"status": "available"})
            shown = await self._api(agent, "GET", "/v1/conversations?agent=me&limit=100")
            for item in shown.json()["items"] if shown is not None and shown.status_code == 200 else ():
                if item["unanswered_since"] is None:
                    continue
                path, key = f"/v1/conversations/{item['id']}", f"{agent}-{k}"
                k += 1
                if item["state"] == "offered":
                    await self._api(agent, "POST", f"{path}/accept", key=f"accept-{key}")
                text = f"Antwort {key}"
                done = await self._api(agent, "POST", f"{path}/reply", {"text": text, "resolve": k % 3 == 0}, key)
                if done is not None and done.status_code == 202:
                    self.ledger.replies[done.json()["message_id"]] = text
            await asyncio.sleep(0.3)

    async def _api(
        self, agent: str, method: str, path: str, body: object = None, key: str = ""
    ) -> httpx.Response | None:
        """Asks one router after the other until one answers; None once the load is over."""
        routers = self.cell.services["router"]
        headers = {"Authorization": f"Bearer dev-{agent}", "If-Match": "*"} | ({"Idempotency-Key": key} if key else {})
        n = 0
        while not self._stopping.is_set():
            n += 1
            with suppress(httpx.HTTPError):
                url = f"{routers[n % len(routers)].url}{path}"
                answer = await self.cell.http.request(method, url, json=body, headers=headers, timeout=10)
                if answer.status_code < 500:
                    return answer
            await asyncio.sleep(0.1)
        return None

    async def _watch(self) -> None:
        """No consumer may rewind."""
        while not self._stopping.is_set():
            async with self.database.transaction() as tx:
                rows = await tx.fetch("SELECT group_id, topic, partition, next_offset FROM bus.consumer_offset")
            for row in rows:
                key = (row["group_id"], row["topic"], row["partition"])
                if row["next_offset"] < self.ledger.offsets.get(key, 0):
                    self.ledger.rewinds.append(f"{key}: {self.ledger.offsets[key]} to {row['next_offset']}")
                self.ledger.offsets[key] = row["next_offset"]
            await asyncio.sleep(0.02)
