"""How the vendor calls: signed forms, tried again as the address asks for, and what it makes of the answer."""

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any
from xml.etree import ElementTree

import httpx

from services.sandbox.state import Log
from services.sandbox.twilio.wire import Target, signature
from shared.ids import new_id

KEPT = 1000
# Before each further attempt.
WAITS = (0.2, 0.5, 1.0, 2.0, 4.0)


class Webhooks:
    """Sends in the background until left; each keeps a record with the statuses of its attempts."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def open(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def close(self) -> None:
        """What waits is dropped: the vendor's would only come later."""
        tasks = list(self._tasks)
        self.forget()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._http = None

    def forget(self) -> None:
        for task in self._tasks:
            task.cancel()

    @property
    def http(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("the sandbox does not run")
        return self._http

    def begin(self, work: Any, name: str) -> "asyncio.Task[Any]":
        """Runs it until it ends or all are forgotten."""
        task: asyncio.Task[Any] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def record(self, kind: str, fields: Mapping[str, str], at: datetime, *, is_forged: bool = False) -> dict[str, Any]:
        record: dict[str, Any] = {
            "vendor": "twilio", "kind": kind, "sid": fields["MessageSid"], "status": fields.get("MessageStatus"),
            "at": at.isoformat(), "is_forged": is_forged, "statuses": [], "texted": [], "error": None,
        }  # fmt: skip
        self._log.append(record)
        return record

    async def post(
        self, address: str, fields: Mapping[str, str], token: str, record: dict[str, Any], *, without_port: bool = False
    ) -> None:
        """One webhook with its attempts; an event keeps its token over them."""
        target = Target.of(address)
        signed_for = target.without_port() if without_port else target.url
        headers = {
            "x-twilio-signature": signature(token, signed_for, fields),
            "i-twilio-idempotency-token": str(new_id()),
            "user-agent": "TwilioProxy/1.1",
            "accept": "*/*",
        }
        waits = deque(WAITS[: target.retries])
        while True:
            status = await self._once(target.url, fields, headers, record)
            if not waits or not target.again(status):
                return
            await asyncio.sleep(waits.popleft())

    async def _once(
        self, url: str, fields: Mapping[str, str], headers: dict[str, str], record: dict[str, Any]
    ) -> int | None:
        status: int | None = None
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            answer = await self.http.post(url, data=dict(fields), headers=headers)
            status = answer.status_code
            if status < 300 and record["kind"] == "message":
                record["texted"], record["error"] = made_of(answer.headers.get("content-type", ""), answer.text)
        record["statuses"].append(status)
        return status


def made_of(content_type: str, text: str) -> tuple[list[str], int | None]:
    """What the vendor texts to the customer because of an answer, and the error that it notes."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain":
        return ([text] if text.strip() else []), None
    if kind not in ("text/xml", "application/xml"):
        return [], None if not text else 12300
    try:
        document = ElementTree.fromstring(text)  # noqa: S314 - our own answers
    except ElementTree.ParseError:
        return [], 12100
    if document.tag != "Response":
        return [], 12100
    return ["".join(message.itertext()) for message in document.iter("Message")], None
