"""Ways to fail that every stand-in shares."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.sandbox.state import Misbehaviour

LONGEST_HANG = 60.0


class Dropped(Response):
    """Cuts the connection without an answer, where the server lets us reach it; see `app.reaching_the_transport`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        scope["sandbox.transport"].abort()


async def before(wanted: Misbehaviour) -> Response | None:
    """What happens before the vendor looks at the request; None lets it go on."""
    if wanted.mode == "slow":
        await asyncio.sleep(wanted.seconds)
        return None
    if wanted.mode == "hang":
        await asyncio.sleep(min(wanted.seconds or LONGEST_HANG, LONGEST_HANG))
        return Dropped()
    if wanted.mode == "drop_before":
        return Dropped()
    return None
