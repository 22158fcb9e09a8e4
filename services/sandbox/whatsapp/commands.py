"""What whoever drives the stand-in may ask of WhatsApp's customers."""

from typing import Any, Literal

from msgspec import Struct

from services.sandbox.commands import Aware, File


class WhatsAppMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer writes to a number (its id), by `phone`, by business-scoped `user_id`, or by both.

    `text` makes a text; any other `type` comes with its own `content` as the vendor writes it, or with a `file`, whose
    id the vendor's content then names. `extra` are further fields of the message, such as a referral.
    """

    number: str
    phone: str | None = None
    user_id: str | None = None
    name: str | None = None
    type: str = "text"
    text: str = ""
    content: Any = None
    file: File | None = None
    media_type: str = "application/octet-stream"
    extra: dict[str, Any] = {}
    at: Aware | None = None
    id: str | None = None


class NumberChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer has another phone number from now on, and with it another business-scoped id."""

    number: str
    before: str
    after: str
    user_id_before: str | None = None
    user_id_after: str | None = None


class Preference(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A customer stops offers and announcements, or takes them up again."""

    number: str
    phone: str
    value: Literal["stop", "resume"]
