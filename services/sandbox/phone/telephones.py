"""What the people and machines at the other end do, and the calls as the vendor keeps them."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Number = Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$")]


class Telephone(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a telephone behaves from now on.

    `does` is what happens when it rings; `presses` the keys of whoever answers, when they are asked for some.
    `hangs_up` in a phase: an agent's while they listen (`whisper`), while the customer's rings, or first of the two
    who talk. `rings` and `talks` are seconds; talking takes no real time unless it `lasts`.
    `callbacks`: its status callbacks come once, all twice, or at the end and backwards.
    """

    number: Number
    does: Literal["answer", "busy", "no_answer", "fail", "machine"] = "answer"
    presses: Annotated[str, Meta(pattern="^[0-9#*]{0,5}$")] = "1"
    hangs_up: Literal["", "whisper", "customer_ringing", "talking"] = ""
    rings: Annotated[float, Meta(ge=0, le=60)] = 0.02
    talks: Annotated[int, Meta(ge=0, le=10_000)] = 42
    lasts: Annotated[float, Meta(ge=0, le=60)] = 0.0
    callbacks: Literal["once", "twice", "backwards"] = "once"


class Ring(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody calls one of our lines; `caller` is what their number seems to be."""

    line: Number
    caller: str


@dataclass
class Call:
    """One call of the vendor's."""

    sid: str
    to: str
    from_: str
    begun_at: datetime
    direction: str
    parent: str | None = None
    status: str = "queued"
    answered_by: str | None = None
    seconds: int | None = None
    said: list[dict[str, str]] = field(default_factory=list)
    callbacks: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    sequence: int = 0
    # Set from outside: whoever rings or talks is cut off.
    cut: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_over(self) -> bool:
        return self.status in ("completed", "busy", "no-answer", "failed", "canceled")

    async def takes(self, seconds: float) -> bool:
        """Waits so long; False where it was cut off meanwhile."""
        try:
            async with asyncio.timeout(seconds):
                await self.cut.wait()
        except TimeoutError:
            return True
        return False

    def resource(self, account: str) -> dict[str, Any]:
        """As the API shows it."""
        return {
            "sid": self.sid,
            "account_sid": account,
            "api_version": "2010-04-01",
            "to": self.to,
            "to_formatted": self.to,
            "from": self.from_,
            "from_formatted": self.from_,
            "parent_call_sid": self.parent,
            "status": self.status,
            "direction": self.direction,
            "answered_by": self.answered_by,
            "duration": None if self.seconds is None else str(self.seconds),
            "date_created": format_datetime(self.begun_at, usegmt=True),
            "date_updated": format_datetime(self.begun_at, usegmt=True),
            "start_time": None if self.status == "queued" else format_datetime(self.begun_at, usegmt=True),
            "end_time": format_datetime(self.begun_at, usegmt=True) if self.is_over else None,
            "price": None,
            "price_unit": "USD",
            "uri": f"/2010-04-01/Accounts/{account}/Calls/{self.sid}.json",
        }

    def shown(self) -> dict[str, Any]:
        """For whoever drives the sandbox."""
        return {
            "sid": self.sid, "to": self.to, "from": self.from_, "parent": self.parent, "status": self.status,
            "seconds": self.seconds, "said": self.said, "callbacks": self.callbacks, "errors": self.errors,
        }  # fmt: skip
