"""The webhooks: one small ASGI app without a framework, for every request of it costs a vendor's patience.

Verify over the raw bytes, parse, publish all of a request's events together, answer once they are safe.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from starlette.types import Receive, Scope, Send

from services.ingest import metrics
from services.ingest.outlet import Outlet
from services.ingest.rejected import Rejections
from services.ingest.seal import SOURCE, dead, seal
from services.ingest.time_limits import Limits
from shared.accounts import Account, Directory
from shared.channels.contract import Answer, Channel, Hook, Received
from shared.clock import utc_now
from shared.errors import BadPayload, BadSignature, DragomanError, Unavailable
from shared.events import AccountHealth, Event, Record, encode
from shared.tracing import current, note

log = logging.getLogger(__name__)
T = TypeVar("T")

# Left for the spool when the bus has used up its share of the vendor's patience.
SPOOL_SHARE = 0.5
# A vendor sends at once; whoever drips would hold one of the few places.
BODY_WITHIN = 10.0
# More than this is read aside: it could take long enough to hold up everybody else's requests.
LARGE = 100_000
RETRY_AFTER = (b"retry-after", b"5")
OUR_FAULT = "This failed on our side; try again"
TOO_MANY = "Too many requests at once; try again"
# What a mistake of ours raises.
UNEXPECTED = (
    DragomanError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError,
    AssertionError, msgspec.MsgspecError,
)  # fmt: skip


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
        public_url: str = "",
    ) -> None:
        self._channels: Mapping[str, Channel] = {c.name: c for c in channels if c.receive is not None}
        self._directory = directory
        self._outlet = outlet
        self._stopping = stopping
        self._most = in_flight
        self._most_bytes = bytes_in_flight
        self._public_url = public_url
        self._now = 0
        self._bytes_now = 0
        self._limits = Limits()
        self.rejections = Rejections()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        channel_name, token, page = _path(scope)
        channel = self._channels.get(channel_name)
        label = channel.name if channel else "none"
        self._now += 1
        try:
            answer = self._shown(scope, channel, token) if page else await self._take(scope, receive, channel, token)
        except _Refusal as refusal:
            metrics.hooks(label, refusal.outcome).inc()
            await _send_problem(send, refusal)
        except _Gone:
            metrics.hooks(label, "torn").inc()
        except UNEXPECTED as error:
            # The vendor tries again, and nothing of the request is told to anybody.
            log.error("a webhook of %s failed: %s", label, type(error).__name__, exc_info=error)
            metrics.hooks(label, "failed").inc()
            await _send_problem(send, _Refusal(500, OUR_FAULT, "failed"))
        else:
            metrics.hooks(label, "taken").inc()
            await _send(send, answer.status, answer.body, answer.media_type)
        finally:
            self._now -= 1

    async def _take(self, scope: Scope, receive: Receive, channel: Channel | None, token: str) -> Answer:
        """The channel's answer, once everything of the request is safe. Raises _Refusal and _Gone."""
        channel, account = self._admit(scope, channel, token)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        reserved = self._reserve(scope["method"], headers, channel)
        try:
            body = await self._body(receive, channel.body_limit)
            started = time.perf_counter()
            query = scope["query_string"]
            hook = Hook(
                method=scope["method"],
                path=scope["path"],
                url=_url(self._public_url, scope),
                query=parse_qsl(query.decode("latin-1"), keep_blank_values=True) if query else (),
                headers=headers,
                body=body,
                received_at=utc_now(),
            )
            answer = await self._handle(hook, channel, account)
            metrics.acked(channel.name).observe(time.perf_counter() - started)
            return answer
        finally:
            self._bytes_now -= reserved

    def _admit(self, scope: Scope, channel: Channel | None, token: str) -> tuple[Channel, Account]:
        if self._stopping.is_set():
            raise _Refusal(503, "Going down; try again", "stopping", [RETRY_AFTER])
        if self._now > self._most:
            raise _Refusal(503, TOO_MANY, "overloaded", [RETRY_AFTER])
        account = self._directory().by_hook_token.get(token)
        if channel is None or account is None or account.channel != channel.name:
            raise _Refusal(404, "There is no such webhook address", "unknown")
        if scope["method"] not in ("GET", "POST"):
            raise _Refusal(405, "Only GET and POST", "method", [(b"allow", b"GET, POST")])
        if current() is not None:
            note({"dragoman.channel": channel.name, "dragoman.account.id": account.id})
        return channel, account

    def _shown(self, scope: Scope, channel: Channel | None, token: str) -> Answer:
        """The account's last rejected requests, for whoever knows its address: why a vendor's webhooks do not come."""
        _, account = self._admit(scope, channel, token)
        if scope["method"] != "GET":
            raise _Refusal(405, "Only GET", "method", [(b"allow", b"GET")])
        samples = self.rejections.samples(account.id, utc_now())
        return Answer(body=msgspec.json.encode(samples), media_type="application/json")

    def _reserve(self, method: str, headers: Mapping[str, str], channel: Channel) -> int:
        """Takes the body out of the budget before it is read; one of unknown length counts as the longest."""
        announced = headers.get("content-length", "")
        if announced.isdecimal():
            length = int(announced)
        else:
            length = 0 if method == "GET" and "transfer-encoding" not in headers else channel.body_limit
        if length > channel.body_limit:
            raise _too_large(channel.body_limit)
        if self._bytes_now + length > self._most_bytes:
            raise _Refusal(503, TOO_MANY, "overloaded", [RETRY_AFTER])
        self._bytes_now += length
        return length

    async def _body(self, receive: Receive, limit: int) -> bytes:
        """The whole body. Raises _Gone, and _Refusal where it is too large or too slow."""
        chunks: list[bytes] = []
        size = 0
        try:
            with self._limits(BODY_WITHIN):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size > limit:
                        raise _too_large(limit)
                    chunks.append(chunk)
                    if not message.get("more_body"):
                        return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        except TimeoutError:
            raise _Refusal(408, "The body did not come in time", "slow") from None

    async def _handle(self, hook: Hook, channel: Channel, account: Account) -> Answer:
        within = channel.answer_within.total_seconds() - SPOOL_SHARE
        received = await self._read(hook, channel, account, within)
        for item in received.items:
            metrics.items(channel.name, type(getattr(item, "data", item)).__name__).inc()
        until = time.perf_counter() + within
        items = await self._safe(self._outlet.keep(received.items, account, within / 2))
        sealing = partial(seal, items, account, hook.received_at)
        records = sealing() if len(hook.body) <= LARGE else await asyncio.to_thread(sealing)
        all_clear = self.rejections.authentic(account.id, hook.received_at)
        if all_clear is not None:
            records.append(encode(_alert(all_clear)))
        await self._keep(records, until - time.perf_counter())
        return received.answer

    async def _read(self, hook: Hook, channel: Channel, account: Account, within: float) -> Received:
        assert channel.verify is not None
        assert channel.receive is not None
        try:
            channel.verify(hook, account)
        except BadSignature as error:
            await self._rejected(hook, account, error, within)
            raise _Refusal(401, "The request is not signed by this account's vendor", error.code) from None
        try:
            if len(hook.body) <= LARGE:
                return channel.receive(hook, account)
            return await asyncio.to_thread(channel.receive, hook, account)
        except BadPayload as error:
            refusal = _Refusal(400, "The body does not have this channel's form", error.code)
            letter = dead(account, hook.body, error.code, str(error), hook.received_at)
        except UNEXPECTED as error:
            # Authentic, and our reader breaks on it: the vendor tries again, and a person sees it meanwhile.
            log.error("the reader of %s failed: %s", channel.name, type(error).__name__, exc_info=error)
            refusal = _Refusal(500, OUR_FAULT, "reader_failed")
            text = f"the channel could not read it: {type(error).__name__}"
            letter = dead(account, hook.body, "reader_failed", text, hook.received_at)
        await self._safe(self._outlet.keep_raw(account, hook.body, within / 2))
        await self._keep([encode(letter)], within)
        raise refusal

    async def _keep(self, records: Sequence[Record], within: float) -> None:
        await self._safe(self._outlet.publish(records, within))

    async def _safe(self, keeping: Awaitable[T]) -> T:
        """Raises _Refusal where it cannot be kept: the vendor comes again."""
        try:
            return await keeping
        except Unavailable as error:
            raise _Refusal(503, "It cannot be kept right now; try again", error.code, [RETRY_AFTER]) from error

    async def _rejected(self, hook: Hook, account: Account, error: BadSignature, within: float) -> None:
        alert = self.rejections.note(account.id, hook, error.code)
        if alert is None:
            return
        log.warning("account %s: %s", account.id, alert.reason)
        with suppress(Unavailable):
            await self._outlet.publish([encode(_alert(alert))], within)


class _Gone(Exception):
    """The sender went away before its body was complete: nothing of it counts."""


def _url(public_url: str, scope: Scope) -> str:
    """The address as the vendor called it; what a proxy made of it on the way is not asked for."""
    path, query = scope.get("raw_path") or scope["path"].encode(), scope["query_string"]
    return f"{public_url}{path.decode('latin-1')}{'?' + query.decode('latin-1') if query else ''}"


def _too_large(limit: int) -> _Refusal:
    return _Refusal(413, f"At most {limit} bytes", "too_large")


def _alert(health: AccountHealth) -> Event:
    return Event(data=health, key=str(health.account_id), source=SOURCE, time=health.at)


def _path(scope: Scope) -> tuple[str, str, str]:
    """Channel and token of `/hooks/{channel}/{token}`, and its page `rejected`; empty where it is another path."""
    parts = scope["path"].split("/")
    if len(parts) not in (4, 5) or parts[1] != "hooks" or parts[4:] not in ([], ["rejected"]):
        return "", "", ""
    return parts[2], parts[3], "".join(parts[4:])


async def _send(
    send: Send, status: int, body: bytes, media_type: str, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    fixed = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": [*fixed, *headers]})
    await send({"type": "http.response.body", "body": body})


async def _send_problem(send: Send, refusal: _Refusal) -> None:
    body = msgspec.json.encode({"type": "about:blank", "title": refusal.title, "status": refusal.status})
    await _send(send, refusal.status, body, "application/problem+json", refusal.headers)
