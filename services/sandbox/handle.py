"""The stand-ins in the hand of whoever drives them: a test in the same process, or `/control` over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send

from services.sandbox.commands import (
    WITH_A_CODE,
    MessengerMessage,
    MiraklMessage,
    Misbehaviour,
    Vendor,
    WrongCommand,
)
from services.sandbox.graph import Graph
from services.sandbox.mirakl import Mirakl
from services.sandbox.registry import STAND_INS
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig, State
from services.sandbox.webhooks import Item, last_status
from shared.trust import trust

# How long who asks waits for a webhook's end; its further attempts go on.
PATIENCE = 15.0
# Ways to fail that a vendor does not have.
ONLY_ELSEWHERE = {("error_in_200", "mirakl"), ("fail_later", "mirakl"), ("fail_later", "messenger")}


@dataclass(frozen=True, slots=True)
class Webhook:
    """What became of a webhook so far: the ids of its messages, and the last status, None where nobody answered."""

    mids: tuple[str, ...]
    status: int | None


class Sandbox:
    """The stand-ins and what they may be asked to do; itself the ASGI app of them all."""

    def __init__(self, config: SandboxConfig, connections: Mapping[str, Sequence[Connection]] | None = None) -> None:
        self.config = config
        self.state = State()
        self.graph = Graph(config, self.state)
        self.mirakl = Mirakl(config, self.state)
        known = connections or {}
        self.stand_ins = [
            build([connection for name in channels for connection in known.get(name, ())], self.state)
            for channels, build in STAND_INS.items()
            if any(known.get(name) for name in channels)
        ]
        self.app: ASGIApp
        self._http: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Sends webhooks until left; those that wait are dropped then, as a vendor's would only come later."""
        timeout = self.config.webhook_timeout.total_seconds()
        async with httpx.AsyncClient(timeout=timeout, trust_env=False, verify=trust()) as http:
            self._http = http
            task = asyncio.create_task(self.graph.webhooks(http), name="sandbox webhooks")
            try:
                async with AsyncExitStack() as stack:
                    for stand_in in self.stand_ins:
                        await stack.enter_async_context(stand_in.running(http))
                    yield
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # Messenger

    async def messenger_writes(self, *messages: MessengerMessage) -> Webhook:
        """Customers write, all in one webhook. Raises WrongCommand for an unknown page."""
        items = self._items(messages)
        for message in messages:
            self.graph.heard(message)
        delivery, record = self.graph.begin(self._client, self.graph.entries(items))
        await asyncio.wait({delivery}, timeout=PATIENCE)
        return Webhook(_mids(items), last_status(record))

    async def messenger_forges(self, *messages: MessengerMessage) -> Webhook:
        """The same with a signature that is not the app's; nobody wrote anything."""
        items = self._items(messages)
        status = await self.graph.forge(self._client, self.graph.entries(items))
        return Webhook(_mids(items), status)

    async def messenger_verifies(self, token: str | None = None) -> tuple[int | None, bool]:
        """The subscription's handshake: its status, and whether the challenge came back as it must."""
        return await self.graph.verify(self._client, self.config.verify_token if token is None else token)

    # Mirakl

    def mirakl_writes(self, message: MiraklMessage) -> dict[str, Any]:
        """`thread_id` and `message_id`; the marketplace tells nobody, it is polled. Raises WrongCommand."""
        return self.mirakl.marketplace.write(message)

    # both

    def sent(self, vendor: Vendor) -> list[dict[str, Any]]:
        """What the vendor accepted from us, in order."""
        return list(self.state.sent.get(vendor, ()))

    def requests(self) -> list[dict[str, Any]]:
        """Every request with its verdict, in order."""
        return list(self.state.requests)

    def webhooks(self) -> list[dict[str, Any]]:
        """Every webhook with the status of each attempt, in order."""
        return list(self.state.webhooks)

    def misbehave(self, wanted: Misbehaviour) -> None:
        """Raises WrongCommand where an error is wanted that the vendor could not answer."""
        if wanted.mode in WITH_A_CODE and wanted.code is None:
            raise WrongCommand("an error needs its code")
        if (wanted.mode, wanted.vendor) in ONLY_ELSEWHERE:
            raise WrongCommand(f"{wanted.vendor} has nothing like {wanted.mode}")
        if wanted.mode == "error" and wanted.vendor == "mirakl" and not 400 <= (wanted.code or 0) <= 599:
            raise WrongCommand("the code of a Mirakl error is its HTTP status")
        self.state.misbehave(wanted, self.config.now())

    def behave(self) -> None:
        """Ends all misbehaviour."""
        self.state.misbehaviours.clear()

    def reset(self) -> None:
        """Forgets everything: customers, threads, records, misbehaviour."""
        self.graph.forget()
        for stand_in in self.stand_ins:
            stand_in.forget()
        self.state.clear()

    def _items(self, messages: Sequence[MessengerMessage]) -> list[tuple[str, Item]]:
        for message in messages:
            if message.page not in self.config.pages:
                raise WrongCommand(f"there is no page {message.page}")
        return [(message.page, self.graph.item(message)) for message in messages]

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("the sandbox does not run")
        return self._http


def _mids(items: Sequence[tuple[str, Item]]) -> tuple[str, ...]:
    return tuple(item["message"]["mid"] for _, item in items)
