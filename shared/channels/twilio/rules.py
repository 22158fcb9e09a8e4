"""What differs between Twilio's written channels, and when each lets us write.

Source: Twilio, "WhatsApp: Customer service window", "Messaging: Opt-out keywords", 2026.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec

from shared.accounts import Inbox
from shared.channels.contract import Draft, Permission
from shared.errors import Rejected

E164 = re.compile(r"\+[1-9]\d{4,14}")
# WhatsApp's day, less what its clock and ours may differ and what a call takes.
WINDOW = timedelta(hours=24) - timedelta(minutes=5)
MMS_BYTES = 5_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One of the written channels. `prefix` stands before its addresses, `window` is None where there is none."""

    channel: str
    prefix: str
    window: timedelta | None
    # What a person without a phone number is known by, and who vouches for it.
    other_kind: str
    other_verified_by: Literal["channel"] | None
    # Whether the vendor itself stops what we send to people who ask for it.
    vendor_blocks: bool
    # Most files of one message, and most bytes of them together.
    files: int
    files_bytes: int


WHATSAPP = Product(
    channel="twilio_whatsapp",
    prefix="whatsapp:",
    window=WINDOW,
    other_kind="whatsapp",
    other_verified_by="channel",
    vendor_blocks=False,
    files=1,
    files_bytes=16_000_000,
)
SMS = Product(
    channel="twilio_sms",
    prefix="",
    window=None,
    # A short code or a name: whoever sends may choose it.
    other_kind="sms",
    other_verified_by=None,
    vendor_blocks=True,
    files=10,
    files_bytes=MMS_BYTES,
)
WHATSAPP_MEDIA = {"image": 5_000_000, "audio": 16_000_000, "video": 16_000_000, "file": 16_000_000}
# Others are refused only after they were accepted (63005, 63021): they leave as links.
WHATSAPP_MEDIA_TYPES = frozenset(
    {
        "image/jpeg", "image/png", "audio/aac", "audio/amr", "audio/mp4", "audio/mpeg", "audio/ogg", "video/3gpp",
        "video/mp4", "application/pdf", "application/msword", "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "text/vcard",
    }
)  # fmt: skip
MMS_MEDIA = dict.fromkeys(("image", "audio", "video", "file"), MMS_BYTES)


def sms_media(inbox: Inbox) -> Mapping[str, int]:
    """Only some countries' numbers send files (`mms: true`); the others write where the file is."""
    return MMS_MEDIA if inbox.settings.get("mms") else {}


class Context(msgspec.Struct, frozen=True):
    """What a reply needs of the message that it answers: its sender, without the channel's prefix, and when it came."""

    to: str
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    v: int = 1

    def encode(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, value: bytes) -> "Context":
        """Raises Rejected for a value that this channel did not make."""
        try:
            found = msgspec.json.decode(value, type=cls)
        except msgspec.DecodeError:
            raise Rejected("the reply does not say whom it answers", code="no_reply_context") from None
        if not found.to:
            raise Rejected("the reply does not say whom it answers", code="no_reply_context")
        return found


def may_write(draft: Draft, _inbox: Inbox, now: datetime, *, product: Product) -> Permission:
    """WhatsApp within a day of their message, SMS at any time; to nobody who never wrote."""
    try:
        context = Context.decode(draft.reply_context)
    except Rejected:
        return Permission(allowed=False, reason="no_reply_context", sentence="Nobody wrote here yet.")
    if product.window is None:
        return Permission(allowed=True)
    until = context.at + product.window
    if now < until:
        sentence = "Free to write for a day after their message."
        return Permission(allowed=True, reason="response", until=until, sentence=sentence)
    return Permission(
        allowed=False,
        reason="window_closed",
        sentence="WhatsApp takes free text only within a day of the customer's last message, and templates are not "
        "supported yet; wait until they write, or use another channel.",
    )
