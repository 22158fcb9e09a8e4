"""What a person, a demo or a test may ask of the stand-ins; nothing of it is a vendor's."""

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Vendor = Literal["messenger", "mirakl", "whatsapp", "twilio", "phone"]
Mode = Literal[
    "429", "500", "503", "error", "error_in_200", "hang", "slow", "drop_before", "drop_after_accept", "no_echo",
    "fail_later",
]  # fmt: skip
# What happens to a request before the vendor has looked at it; the other modes need an accepted message.
BEFORE: frozenset[str] = frozenset({"429", "500", "503", "error", "error_in_200", "hang", "slow", "drop_before"})
DROP_AFTER_ACCEPT = frozenset({"drop_after_accept"})
NO_ECHO = frozenset({"no_echo"})
FAIL_LATER = frozenset({"fail_later"})
WITH_A_CODE = frozenset({"error", "error_in_200", "fail_later"})
Aware = Annotated[datetime, Meta(tz=True)]


class WrongCommand(Exception):
    """What was asked for does not fit the configuration; the text says why."""


class MessengerMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer writes to a page; `at` is now and `mid` a fresh one unless given."""

    page: str
    psid: str
    text: str
    name: str | None = None
    at: Aware | None = None
    mid: str | None = None


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a message; in JSON its content is base64."""

    name: str
    content: bytes


class MiraklMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody writes in a thread, a new one unless named; a thread without an order asks about an offer.

    `html` gives the body as browsers post it; from `shop` is an answer in the marketplace's own back office.
    """

    shop: str
    customer: str
    text: str
    thread: str | None = None
    order: str | None = None
    channel: str | None = None
    locale: str = "fr_FR"
    html: bool = False
    sender: Literal["customer", "operator", "shop"] = field(name="from", default="customer")
    files: tuple[File, ...] = ()


class Misbehaviour(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a vendor does wrong, for `times` requests or `seconds`, once if neither is given.

    To one `target` (also called `page` or `shop`) and one `operation` (`send`, `profile`, `M10`-`M13`, `OR11`), or to
    all. `delay` in seconds is how slow `slow` is; `retry_after` goes with `429` and `503`; `error` answers `code`,
    `subcode` and `text`, and the code is the HTTP status at Mirakl. `error_in_200` is Meta's, `fail_later` WhatsApp's;
    there `no_echo` keeps all statuses back.
    """

    vendor: Vendor
    mode: Mode
    target: str | None = None
    page: str | None = None
    shop: str | None = None
    operation: str | None = None
    times: Annotated[int, Meta(ge=1)] | None = None
    seconds: Annotated[float, Meta(gt=0)] | None = None
    delay: Annotated[float, Meta(ge=0, le=60)] = 2.0
    retry_after: int | None = None
    code: int | None = None
    subcode: int | None = None
    text: str = "As it was asked for"

    def meets(self, vendor: str, target: str, operation: str) -> bool:
        wanted = self.target or self.page or self.shop
        return self.vendor == vendor and wanted in (None, target) and self.operation in (None, operation)
