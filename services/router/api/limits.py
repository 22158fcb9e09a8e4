"""How much a request may send; beyond it nothing is read any more."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# A text of 50 000 characters in JSON with every character escaped has room in it.
BODY_LIMIT = 1_000_000
UPLOAD_LIMIT = 25_000_000
UPLOADS = "/v1/attachments"
# What the form of an upload adds to its file.
FORM_LIMIT = 10_000


class BodyLimit:
    """Raises HTTPException 413 out of `receive`, so that the application answers it as every other problem."""

    def __init__(self, app: ASGIApp, most: int = BODY_LIMIT) -> None:
        self._app = app
        self._most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        announced = Headers(scope=scope).get("content-length", "0")
        most = UPLOAD_LIMIT + FORM_LIMIT if scope["path"] == UPLOADS else self._most
        promised = int(announced) if announced.isdecimal() else 0
        got = 0

        async def limited() -> Message:
            nonlocal got
            _check(promised, most)
            message = await receive()
            got += len(message.get("body", b""))
            _check(got, most)
            return message

        return await self._app(scope, limited, send)


def _check(size: int, most: int) -> None:
    if size > most:
        raise HTTPException(413, "The request is too large")
