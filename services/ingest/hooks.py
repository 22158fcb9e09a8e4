"""The webhooks: one small ASGI app without a framework, for every request of it costs a vendor's patience.

Verify over the raw bytes, parse, publish all of a request's events together, answer once they are safe.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from services.ingest import metrics
from services.ingest.outlet import Outlet
from services.ingest.rejected import Rejections
from services.ingest.seal import SOURCE, dead, seal
from shared.accounts import Account, Directory
from shared.channels.contract import Answer, Channel, Hook, Received
from shared.clock import utc_now
from shared.errors import BadPayload, BadSignature, DragomanError, Unavailable
from shared.events import Event, encode

log = logging.getLogger(__name__)

# Left for the spool when the bus has used up its share of the vendor's patience.
SPOOL_SHARE = 0.5
RETRY_AFTER = (b"retry-after", b"5")


class _Refusal(Exception):
    """An answer that is not the channel's: an RFC 9457 problem."""

    def __init__(self, status: int, title: str, outcome: str, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__(title)
        self.status, self.title, self.outcome, self.headers = status, title, outcome, headers


class Hooks:
    """`/hooks/{channel}/{account token}`."""

    def __init__(
        self,
        channels: Sequence[Channel],
        directory: Callable[[], Directory],
        outlet: Outlet,
        *,
        stopping: asyncio.Event,
        in_flight: int,
        bytes_in_flight: int,
    ) -> None:
        self._channels: Mapping[str, Channel] = {c.name: c for c in channels if c.receive is not None}
        self._directory = directory
        self._outlet = outlet
        self._stopping = stopping
        self._most = in_flight
        self._most_bytes = bytes_in_flight
        self._now = 0
        self._bytes_now = 0
        self.rejections = Rejections()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel_name, token = _path(scope)
        channel = self._channels.get(channel_name)
        label = channel.name if channel else "none"
        taken = 0
        self._now += 1
        try:
            account = self._admit(scope, channel, token)
            assert channel is not None
            body, taken, started = await self._body(scope, receive, channel)
            answer = await self._handle(scope, body, channel, account)
            metrics.acked(label).observe(time.perf_counter() - started)
            metrics.hooks(label, "taken").inc()
            await _send(send, answer.status, answer.body, answer.media_type)
        except _Refusal as refusal:
            metrics.hooks(label, refusal.outcome).inc()
            await _send_problem(send, refusal)
        except _Gone:
            metrics.hooks(label, "torn").inc()
        except (DragomanError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            # The vendor tries again, and nothing of the request is told to anybody.
            log.error("a webhook of %s failed: %s", label, type(error).__name__, exc_info=error)
            metrics.hooks(label, "failed").inc()
            await _send_problem(send, _Refusal(500, "This failed on our side; try again", "failed"))
        finally:
            self._now -= 1
            self._bytes_now -= taken

    def _admit(self, scope: Scope, channel: Channel | None, token: str) -> Account:
        if self._stopping.is_set():
            raise _Refusal(503, "Going down; try again", "stopping", [RETRY_AFTER])
        if self._now > self._most or self._bytes_now > self._most_bytes:
            raise _Refusal(503, "Too many requests at once; try again", "overloaded", [RETRY_AFTER])
        account = self._directory().by_hook_token.get(token)
        if channel is None or account is None or account.channel != channel.name:
            raise _Refusal(404, "There is no such webhook address", "unknown")
        if scope["method"] not in ("GET", "POST"):
            raise _Refusal(405, "Only GET and POST", "method", [(b"allow", b"GET, POST")])
        return account

    async def _body(self, scope: Scope, receive: Receive, channel: Channel) -> tuple[bytes, int, float]:
        """The whole body, its size in the budget, and when its last byte came."""
        announced = next((int(v) for k, v in scope["headers"] if k == b"content-length" and v.isdigit()), 0)
        if announced > channel.body_limit:
            raise _Refusal(413, f"At most {channel.body_limit} bytes", "too_large")
        chunks: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self._bytes_now -= size
                raise _Gone
            chunk = message.get("body", b"")
            size += len(chunk)
            self._bytes_now += len(chunk)
            if size > channel.body_limit:
                self._bytes_now -= size
                raise _Refusal(413, f"At most {channel.body_limit} bytes", "too_large")
            chunks.append(chunk)
            if not message.get("more_body"):
                return (chunks[0] if len(chunks) == 1 else b"".join(chunks)), size, time.perf_counter()

    async def _handle(self, scope: Scope, body: bytes, channel: Channel, account: Account) -> Answer:
        hook = Hook(
            method=scope["method"],
            path=scope["path"],
            query=parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]},
            body=body,
            received_at=utc_now(),
        )
        within = channel.answer_within.total_seconds() - SPOOL_SHARE
        received = await self._read(hook, channel, account, within)
        for item in received.items:
            metrics.items(channel.name, type(getattr(item, "data", item)).__name__).inc()
        try:
            await self._outlet.publish(seal(received.items, account, hook.received_at), within)
        except Unavailable as error:
            raise _Refusal(503, "It cannot be kept right now; try again", error.code, [RETRY_AFTER]) from error
        return received.answer

    async def _read(self, hook: Hook, channel: Channel, account: Account, within: float) -> Received:
        assert channel.verify is not None
        assert channel.receive is not None
        try:
            channel.verify(hook, account)
            return channel.receive(hook, account)
        except BadSignature as error:
            await self._rejected(hook, account, error, within)
            raise _Refusal(401, "The request is not signed by this account's vendor", error.code) from None
        except BadPayload as error:
            letter = dead(account, hook.body, error.code, str(error), hook.received_at)
            with suppress(Unavailable):
                # The vendor hears 400 in any case; what it sent is kept where it can be.
                await self._outlet.publish([encode(letter)], within)
            raise _Refusal(400, "The body does not have this channel's form", error.code) from None

    async def _rejected(self, hook: Hook, account: Account, error: BadSignature, within: float) -> None:
        alert = self.rejections.note(account.id, hook, error.code)
        if alert is None:
            return
        log.warning("account %s: %s", account.id, alert.reason)
        event = Event(data=alert, key=str(account.id), source=SOURCE, time=hook.received_at)
        with suppress(Unavailable):
            await self._outlet.publish([encode(event)], within)


class _Gone(Exception):
    """The sender went away before its body was complete: nothing of it counts."""


def _path(scope: Scope) -> tuple[str, str]:
    """Channel and token of `/hooks/{channel}/{token}`, empty where it is another path."""
    parts = scope["path"].split("/")
    return (parts[2], parts[3]) if len(parts) == 4 and parts[1] == "hooks" else ("", "")


async def _send(
    send: Send, status: int, body: bytes, media_type: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    fixed = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _send_problem(send: Send, refusal: _Refusal) -> None:
    body = msgspec.json.encode({"type": "about:blank", "title": refusal.title, "status": refusal.status})
    await _send(send, refusal.status, body, "application/problem+json", refusal.headers)
