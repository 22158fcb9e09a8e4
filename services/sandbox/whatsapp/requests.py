"""What the WhatsApp Cloud API takes and refuses: pure checks of one request, errors worded as the vendor words them.

Source: Meta for Developers, "WhatsApp Cloud API - Messages, Media, Error codes", Graph API v25.0. Of the messages it
knows text and files to one person; templates, interactive messages and groups are refused.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from services.sandbox.graph_api import GraphError, check_keys
from services.sandbox.multipart import FormPart, parts

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
REFERENCE_LIMIT = 512
FIELDS = {"messaging_product", "recipient_type", "to", "recipient", "type", "context", "biz_opaque_callback_data"}
FILE_FIELDS = {
    "image": {"id", "link", "caption"},
    "video": {"id", "link", "caption"},
    "audio": {"id", "link", "voice"},
    "document": {"id", "link", "caption", "filename"},
    "sticker": {"id", "link"},
}
PHONE = re.compile(r"\+?[0-9]{5,20}")
USER_ID = re.compile(r"[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}")
# Most bytes of a file by its media type.
LARGEST = {
    **dict.fromkeys(("image/jpeg", "image/png"), 5 << 20),
    **dict.fromkeys(("image/webp",), 500 << 10),
    **dict.fromkeys(("audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg"), 16 << 20),
    **dict.fromkeys(("video/mp4", "video/3gpp"), 16 << 20),
    **dict.fromkeys(
        (
            "text/plain", "application/pdf", "application/msword", "application/vnd.ms-excel",
            "application/vnd.ms-powerpoint",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        ),
        100 << 20,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message in the documented form; one of `phone` (digits) and `user_id` is there."""

    phone: str
    user_id: str
    type: str
    content: dict[str, Any]
    quoted: str | None
    reference: str | None

    @property
    def peer(self) -> str:
        return self.phone or self.user_id


@dataclass(frozen=True, slots=True)
class Upload:
    """A file in the documented form."""

    name: str
    media_type: str
    content: bytes


def message(content_type: str, body: bytes) -> Wanted:
    """The message that is asked for. Raises GraphError."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        # The body is read as form fields then, among which nothing is found.
        raise _missing("messaging_product")
    try:
        given = json.loads(body)
    except ValueError:
        raise GraphError(100, "Invalid JSON in the request body") from None
    if not isinstance(given, dict) or given.get("messaging_product") != "whatsapp":
        raise _missing("messaging_product")
    kind = given.get("type", "text")
    if kind != "text" and kind not in FILE_FIELDS:
        raise GraphError(131009, "Parameter value is not valid", details=f"type {kind} is none that is taken here")
    check_keys(given, FIELDS | {kind}, "param")
    if given.get("recipient_type", "individual") != "individual":
        raise GraphError(131009, "Parameter value is not valid", details="recipient_type must be individual")
    content = given.get(kind)
    if not isinstance(content, dict):
        raise _missing(kind)
    _check_text(content) if kind == "text" else _check_file(kind, content)
    return Wanted(*_recipient(given), kind, content, _quoted(given), _reference(given))


def _recipient(given: dict[str, Any]) -> tuple[str, str]:
    """Where both are named, the number wins."""
    to, user_id = given.get("to"), given.get("recipient")
    if to is not None:
        if not isinstance(to, str) or not PHONE.fullmatch(to):
            raise GraphError(131009, "Parameter value is not valid", details="to is not a phone number")
        return to.removeprefix("+"), ""
    if user_id is None:
        raise _missing("to")
    if not isinstance(user_id, str) or not USER_ID.fullmatch(user_id):
        raise GraphError(131009, "Parameter value is not valid", details="recipient is not a user id")
    return "", user_id


def _check_text(content: dict[str, Any]) -> None:
    check_keys(content, {"body", "preview_url"}, "param text")
    body = content.get("body")
    if not isinstance(body, str) or not body:
        raise _missing("text['body']")
    if len(body) > TEXT_LIMIT:
        raise GraphError(100, f"Param text['body'] must be at most {TEXT_LIMIT} characters long.")
    if not isinstance(content.get("preview_url", False), bool):
        raise GraphError(100, "Param text['preview_url'] must be a boolean")


def _check_file(kind: str, content: dict[str, Any]) -> None:
    check_keys(content, FILE_FIELDS[kind], f"param {kind}")
    if ("id" in content) == ("link" in content):
        raise GraphError(131009, "Parameter value is not valid", details=f"{kind} needs either an id or a link")
    place = content.get("id") or content.get("link")
    if not isinstance(place, str) or ("link" in content and not place.startswith(("http://", "https://"))):
        raise GraphError(131009, "Parameter value is not valid", details=f"{kind} has no usable id or link")
    if not isinstance(content.get("caption", ""), str) or len(content.get("caption", "")) > CAPTION_LIMIT:
        raise GraphError(100, f"Param {kind}['caption'] must be at most {CAPTION_LIMIT} characters long.")


def _quoted(given: dict[str, Any]) -> str | None:
    context = given.get("context")
    if context is None:
        return None
    if not isinstance(context, dict) or set(context) != {"message_id"} or not isinstance(context["message_id"], str):
        raise GraphError(100, "Param context must have a message_id")
    return str(context["message_id"])


def _reference(given: dict[str, Any]) -> str | None:
    reference = given.get("biz_opaque_callback_data")
    if reference is not None and (not isinstance(reference, str) or len(reference) > REFERENCE_LIMIT):
        raise GraphError(100, f"Param biz_opaque_callback_data must be at most {REFERENCE_LIMIT} characters long.")
    return reference


def upload(content_type: str, body: bytes) -> Upload:
    """The file that is brought. Raises GraphError."""
    found = parts(content_type, body)
    if found is None:
        raise _missing("messaging_product")
    by_name = {part.name: part for part in found}
    check_keys(dict.fromkeys(by_name, True), {"messaging_product", "type", "file"}, "param")
    if by_name.get("messaging_product", FormPart()).content != b"whatsapp":
        raise _missing("messaging_product")
    file = by_name.get("file")
    if file is None or not file.filename:
        raise _missing("file")
    media_type = file.content_type
    if media_type not in LARGEST or by_name.get("type", file).content.decode("utf-8", "replace") != media_type:
        raise GraphError(100, f"Param file must be a file with one of the following types: {', '.join(LARGEST)}.")
    if len(file.content) > LARGEST[media_type]:
        raise GraphError(131053, "Media upload error", details="The file is too large")
    return Upload(file.filename, media_type, file.content)


def _missing(name: str) -> GraphError:
    return GraphError(100, f"The parameter {name} is required.")
