"""`/control`: the sandbox's handle over HTTP, in JSON, for demos and for tests in other processes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.commands import MessengerMessage, MiraklMessage, Misbehaviour, WrongCommand
from services.sandbox.handle import Sandbox

T = TypeVar("T")


class Verification(msgspec.Struct, forbid_unknown_fields=True):
    """Which verify token to offer; the app's own unless given."""

    token: str | None = None


def routes(sandbox: Sandbox) -> list[Route]:
    """Small routes below `/control`; a command that cannot be read or does not fit gets a 400 that says why."""
    control = Control(sandbox)
    return [
        Route("/messenger/messages", _understood(control.messenger_messages), methods=["POST"]),
        Route("/messenger/forged", _understood(control.messenger_forged), methods=["POST"]),
        Route("/messenger/verification", _understood(control.messenger_verification), methods=["POST"]),
        Route("/mirakl/messages", _understood(control.mirakl_messages), methods=["POST"]),
        Route("/messenger/sent", control.messenger_sent),
        Route("/mirakl/sent", control.mirakl_sent),
        Route("/requests", control.requests),
        Route("/webhooks", control.webhooks),
        Route("/misbehave", _understood(control.misbehave), methods=["POST", "DELETE"]),
        Route("/reset", control.reset, methods=["POST"]),
    ]


class Control:
    """One method a route; what each does is the handle's."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox

    async def messenger_messages(self, request: Request) -> Response:
        """One message, or a list that goes out as one webhook; 502 where that was not answered 200."""
        webhook = await self.sandbox.messenger_writes(*await _one_or_more(request, MessengerMessage))
        answer = {"webhook_status": webhook.status, "mids": webhook.mids}
        return _json(answer, 200 if webhook.status == 200 else 502)

    async def messenger_forged(self, request: Request) -> Response:
        webhook = await self.sandbox.messenger_forges(*await _one_or_more(request, MessengerMessage))
        return _json({"webhook_status": webhook.status, "mids": webhook.mids})

    async def messenger_verification(self, request: Request) -> Response:
        wanted = msgspec.json.decode(await request.body() or b"{}", type=Verification)
        status, is_verified = await self.sandbox.messenger_verifies(wanted.token)
        return _json({"status": status, "is_verified": is_verified})

    async def mirakl_messages(self, request: Request) -> Response:
        return _json([self.sandbox.mirakl_writes(m) for m in await _one_or_more(request, MiraklMessage)])

    async def messenger_sent(self, _request: Request) -> Response:
        return _json(self.sandbox.sent("messenger"))

    async def mirakl_sent(self, _request: Request) -> Response:
        return _json(self.sandbox.sent("mirakl"))

    async def requests(self, _request: Request) -> Response:
        return _json(self.sandbox.requests())

    async def webhooks(self, _request: Request) -> Response:
        return _json(self.sandbox.webhooks())

    async def misbehave(self, request: Request) -> Response:
        """POST adds one; DELETE ends them all."""
        if request.method == "DELETE":
            self.sandbox.behave()
        else:
            self.sandbox.misbehave(msgspec.json.decode(await request.body(), type=Misbehaviour))
        return Response(status_code=204)

    async def reset(self, _request: Request) -> Response:
        self.sandbox.reset()
        return Response(status_code=204)


def _understood(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await work(request)
        except (msgspec.DecodeError, WrongCommand) as error:
            return _json({"message": str(error)}, 400)

    return endpoint


async def _one_or_more(request: Request, kind: type[T]) -> list[T]:
    body = await request.body()
    if body.lstrip().startswith(b"["):
        return msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]
    return [msgspec.json.decode(body, type=kind)]


def _json(value: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
