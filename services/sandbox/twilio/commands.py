"""What a person, a demo or a test may ask of the stand-in; nothing of it is the vendor's."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Status = Literal["undelivered", "failed", "sent", "delivered"]


class File(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of a message; in JSON its content is base64."""

    content: bytes
    media_type: str = "image/jpeg"


class Place(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A location that somebody shares."""

    latitude: str
    longitude: str
    label: str = ""
    address: str = ""


class CustomerMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer writes to one of the numbers, by the channel that it is for; `button` is one that they pressed.

    `from` is a phone number, or the id by which WhatsApp knows who shows none. `fields` go into the form as they are.
    """

    to: str
    sender: str = field(name="from")
    by: Literal["whatsapp", "sms"] = "sms"
    text: str = ""
    name: str | None = None
    button: str | None = None
    place: Place | None = None
    files: tuple[File, ...] = ()
    sid: Annotated[str, Meta(pattern=r"^(SM|MM)[0-9a-f]{32}$")] | None = None
    fields: dict[str, str] = {}


class Fate(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of the next `times` messages (to `to`, or to anybody): they end as `status`, with `code`."""

    status: Status
    code: int | None = None
    to: str | None = None
    times: Annotated[int, Meta(ge=1)] = 1


class Replay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every status of a message comes once more, the oldest last."""

    sid: str
