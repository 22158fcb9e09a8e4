"""`/control/twilio`: customers who write, what becomes of our messages, statuses once more."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.sandbox.commands import WrongCommand
from services.sandbox.twilio.commands import CustomerMessage, Fate, Replay

if TYPE_CHECKING:
    from services.sandbox.twilio.stand_in import Twilio

T = TypeVar("T")


def routes(twilio: "Twilio") -> list[Route]:
    """A command that cannot be read or does not fit gets a 400 that says why."""

    async def messages(request: Request) -> Response:
        """One message or several, each a webhook of its own; 502 where one was not answered 200."""
        found = [_told(await twilio.customer_writes(m)) for m in await _one_or_more(request, CustomerMessage)]
        return _json(found, 200 if all(f["webhook_status"] == 200 for f in found) else 502)

    async def forged(request: Request) -> Response:
        wanted = await _one_or_more(request, CustomerMessage)
        return _json([_told(await twilio.customer_writes(m, is_forged=True)) for m in wanted])

    async def fates(request: Request) -> Response:
        twilio.known.fates.extend([fate, fate.times] for fate in await _one_or_more(request, Fate))
        return Response(status_code=204)

    async def replay(request: Request) -> Response:
        (wanted,) = await _one_or_more(request, Replay)
        twilio.tells_again(wanted.sid)
        return Response(status_code=204)

    async def sent(_request: Request) -> Response:
        return _json(twilio.sent())

    return [
        Route("/messages", _understood(messages), methods=["POST"]),
        Route("/forged", _understood(forged), methods=["POST"]),
        Route("/fates", _understood(fates), methods=["POST"]),
        Route("/replay", _understood(replay), methods=["POST"]),
        Route("/sent", sent),
    ]


def _told(record: dict[str, Any]) -> dict[str, Any]:
    statuses = record["statuses"]
    return {
        "sid": record["sid"], "webhook_status": statuses[-1] if statuses else None, "texted": record["texted"],
        "error": record["error"],
    }  # fmt: skip


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
