"""What every stand-in does with a request around the vendor's own work: fail as asked, refuse, keep a record."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.sandbox.commands import BEFORE, Misbehaviour, Vendor
from services.sandbox.state import SandboxConfig, State

LONGEST_HANG = 60.0
TRANSPORT = "sandbox.transport"
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]

Endpoint = Callable[[Request], Awaitable[Response]]
Work = Callable[[Request, str], Awaitable[Response]]


class Refusal(Exception):
    """A vendor says no, in its own words."""

    status: int
    verdict: str

    def body(self) -> dict[str, Any]:
        raise NotImplementedError


class Vendors(Protocol):
    """What differs between vendors around their work."""

    def target(self, request: Request) -> str:
        """The page or shop that is meant."""

    def check_caller(self, request: Request, target: str) -> None:
        """Raises Refusal where the caller may not call."""

    def failure(self, wanted: Misbehaviour) -> Response | None:
        """The answer for the modes `error`, `429`, `500` and `503`, None for the others. Raises Refusal."""


class Reception:
    """One vendor's: what each of its endpoints goes through."""

    def __init__(self, vendor: Vendor, config: SandboxConfig, state: State, ways: Vendors) -> None:
        self.vendor, self.config, self.state, self.ways = vendor, config, state, ways

    def endpoint(self, operation: str, work: Work) -> Endpoint:
        """Misbehaviour, then the caller, then the work; every request is kept with its verdict."""

        async def received(request: Request) -> Response:
            target = self.ways.target(request)
            try:
                verdict, answer = await self._answer(request, target, operation, work)
            except Refusal as refusal:
                verdict, answer = refusal.verdict, JSONResponse(refusal.body(), refusal.status)
            self._keep(request, target, operation, verdict, answer)
            return answer

        return received

    def take(self, target: str, operation: str, modes: frozenset[str]) -> Misbehaviour | None:
        return self.state.take(self.vendor, target, operation, modes, self.config.now())

    async def _answer(self, request: Request, target: str, operation: str, work: Work) -> tuple[str, Response]:
        wanted = self.take(target, operation, BEFORE)
        early = None if wanted is None else self.ways.failure(wanted) or await _before(wanted)
        if wanted is not None and early is not None:
            return wanted.mode, early
        self.ways.check_caller(request, target)
        answer = await work(request, target)
        return "accepted, then dropped" if isinstance(answer, Dropped) else "accepted", answer

    def _keep(self, request: Request, target: str, operation: str, verdict: str, answer: Response) -> None:
        self.state.requests.append(
            {
                "vendor": self.vendor, "operation": operation, "method": request.method, "path": request.url.path,
                "target": target, "status": None if isinstance(answer, Dropped) else answer.status_code,
                "verdict": verdict, "at": self.config.now().isoformat(),
            }
        )  # fmt: skip


class Dropped(Response):
    """Closes the connection without an answer, after keeping the client waiting for at most so many seconds."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        if self.seconds:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.seconds):
                    await _client_left(receive)
        scope[TRANSPORT].abort()
        # The server says 500 for an app that returns without an answer while it believes the client to be there.
        await _client_left(receive)


def retry_after(wanted: Misbehaviour) -> dict[str, str]:
    return {} if wanted.retry_after is None else {"retry-after": str(wanted.retry_after)}


def reaching_the_transport(app: ASGIApp) -> ASGIApp:
    """Puts the server's transport into the scope, so that a stand-in can close the connection.

    ASGI has no message for it, and raising gives a 500. Under uvicorn (both its HTTP protocols) `send` is a method of
    the request's cycle, which holds the transport; behind a middleware that wraps `send` it is out of reach.
    """

    async def reached(scope: Scope, receive: Receive, send: Send) -> None:
        scope[TRANSPORT] = getattr(getattr(send, "__self__", None), "transport", None)
        await app(scope, receive, send)

    return reached


async def _before(wanted: Misbehaviour) -> Response | None:
    """None where the request goes on."""
    if wanted.mode == "slow":
        await asyncio.sleep(wanted.delay)
        return None
    return Dropped(LONGEST_HANG if wanted.mode == "hang" else 0.0)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
