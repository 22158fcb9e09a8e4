"""What a request for a new message may say, and what a message looks like in answers.

Source: Twilio, OpenAPI document of the API 2010-04-01 (April 2026): Messages.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from services.sandbox.twilio.wire import FORM, VERSION, TwilioError

KNOWN = {
    "To", "StatusCallback", "ApplicationSid", "MaxPrice", "ProvideFeedback", "Attempt", "ValidityPeriod",
    "ForceDelivery", "ContentRetention", "AddressRetention", "SmartEncoded", "PersistentAction", "TrafficType",
    "ShortenUrls", "ScheduleType", "SendAt", "SendAsMms", "ContentVariables", "RiskCheck", "From", "FallbackFrom",
    "MessagingServiceSid", "Body", "MediaUrl", "ContentSid",
}  # fmt: skip
REPEATED = {"MediaUrl", "PersistentAction"}
TEXT_LIMIT = 1600
WHATSAPP = "whatsapp:"
PHONE = re.compile(r"\+[1-9]\d{4,14}")
USER_ID = re.compile(r"[A-Z]{2}\.[A-Za-z0-9]+")
SERVICE = re.compile(r"MG[0-9a-fA-F]{32}")
GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
GSM_TWO = frozenset("^{}\\[~]|€")


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that the vendor would take."""

    to: str
    sender: str
    body: str
    media: tuple[str, ...]
    callback: str
    service: str

    @property
    def is_whatsapp(self) -> bool:
        return self.to.startswith(WHATSAPP)


def read(content_type: str, content: bytes) -> Wanted:
    """Raises TwilioError."""
    fields = _fields(content_type, content)
    to, sender, service = _one(fields, "To"), _one(fields, "From"), _one(fields, "MessagingServiceSid")
    if not to:
        raise TwilioError(21604, "A 'To' phone number is required.")
    if not sender and not service:
        raise TwilioError(21603, "A 'From' phone number is required.")
    if service and not SERVICE.fullmatch(service):
        raise TwilioError(21705, "The Messaging Service SID is invalid.")
    if sender.startswith(WHATSAPP) != to.startswith(WHATSAPP):
        raise TwilioError(21910, "Twilio could not find a Channel with the specified From address")
    _check_to(to)
    body, media = _one(fields, "Body"), tuple(fields.get("MediaUrl", ()))
    _check_content(body, media, is_whatsapp=to.startswith(WHATSAPP))
    callback = _one(fields, "StatusCallback")
    if callback and not _is_address(callback):
        raise TwilioError(21609, f"The StatusCallback URL {callback} is not a valid URL.")
    return Wanted(to, sender, body, media, callback, service)


def _fields(content_type: str, content: bytes) -> dict[str, list[str]]:
    # What comes in another form holds no parameters to the vendor.
    text = content.decode("utf-8", "replace") if content_type.partition(";")[0].strip() == FORM else ""
    fields = parse_qs(text, keep_blank_values=True)
    for name, values in fields.items():
        if name not in KNOWN:
            raise TwilioError(20001, f"Unknown parameter: {name}")
        if len(values) > 1 and name not in REPEATED:
            raise TwilioError(20001, f"The parameter {name} was given more than once")
    return fields


def _one(fields: Mapping[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _check_to(to: str) -> None:
    number = to.removeprefix(WHATSAPP)
    is_user = to.startswith(WHATSAPP) and USER_ID.fullmatch(number)
    if not PHONE.fullmatch(number) and not is_user:
        raise TwilioError(21211, f"Invalid 'To' Phone Number: {to}")


def _check_content(body: str, media: tuple[str, ...], *, is_whatsapp: bool) -> None:
    if not body and not media:
        raise TwilioError(21619, "A text message body or media urls must be specified.")
    if len(body) > TEXT_LIMIT:
        raise TwilioError(21617, "The concatenated message body exceeds the 1600 character limit.")
    if len(media) > (1 if is_whatsapp else 10):
        raise TwilioError(21623, "Number of media files exceeds allowed limit")
    for url in media:
        if not _is_address(url):
            raise TwilioError(21620, f"Invalid media URL(s): {url}")


def _is_address(url: str) -> bool:
    """With a host as DNS allows them, which has no underscore."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and "_" not in (parts.hostname or "")
    except ValueError:
        return False


@dataclass(slots=True)
class Message:
    """One message as the vendor keeps it; `history` are the statuses that it had, `auto` what the vendor wrote."""

    sid: str
    account_sid: str
    to: str
    sender: str
    body: str
    direction: str
    status: str
    at: datetime
    media: tuple[str, ...] = ()
    service: str = ""
    callback: str = ""
    error_code: int | None = None
    sent_at: datetime | None = None
    history: list[str] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As answers have it."""
        uri = f"/{VERSION}/Accounts/{self.account_sid}/Messages/{self.sid}"
        return {
            "account_sid": self.account_sid,
            "api_version": VERSION,
            "body": self.body,
            "date_created": format_datetime(self.at.replace(microsecond=0)),
            "date_sent": format_datetime(self.sent_at.replace(microsecond=0)) if self.sent_at else None,
            "date_updated": format_datetime(self.at.replace(microsecond=0)),
            "direction": self.direction,
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender,
            "messaging_service_sid": self.service or None,
            "num_media": str(len(self.media)),
            # A service has not chosen its number yet.
            "num_segments": "0" if self.service else str(segments(self.body)),
            "price": None,
            "price_unit": None,
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }


def segments(text: str) -> int:
    """The parts in which a phone network carries a text; one character beyond its own alphabet makes all of it wide."""
    if all(c in GSM or c in GSM_TWO for c in text):
        length, whole, part = sum(2 if c in GSM_TWO else 1 for c in text), 160, 153
    else:
        length, whole, part = len(text.encode("utf-16-le")) // 2, 70, 67
    return 1 if length <= whole else -(-length // part)
