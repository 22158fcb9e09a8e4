"""What Meta's Send API takes and refuses: pure checks of one request, errors worded as the vendor words them.

Source: Meta for Developers, "Send API", "Message tags" and "Error codes" of the Messenger Platform, Graph API v25.0. Of
the Send API it knows text and attachments to a PSID; templates, sender actions and other recipients are refused.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.sandbox.graph_api import GraphError, check_keys

WINDOW = timedelta(hours=24)
HUMAN_AGENT_WINDOW = timedelta(days=7)
TEXT_LIMIT = 2000
METADATA_LIMIT = 1000
QUICK_REPLIES = 13

FIELDS = {"recipient", "message", "messaging_type", "tag", "notification_type", "reply_to"}
MESSAGE_FIELDS = {"text", "attachment", "metadata", "quick_replies"}
ATTACHMENTS = ("image", "audio", "video", "file")
TYPES = ("RESPONSE", "UPDATE", "MESSAGE_TAG")
NOTIFICATIONS = ("REGULAR", "SILENT_PUSH", "NO_PUSH")
# Refused since 27 April 2026.
DEAD_TAGS = ("CONFIRMED_EVENT_UPDATE", "ACCOUNT_UPDATE", "POST_PURCHASE_UPDATE")

OUTSIDE_WINDOW = "This message is sent outside of allowed window."


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message in the documented form."""

    psid: str
    message: dict[str, Any]
    messaging_type: str
    tag: str | None


def read(content_type: str, body: bytes) -> Wanted:
    """The message that is asked for. Raises GraphError 100."""
    if content_type.split(";")[0].strip().lower() != "application/json":
        # The body is read as form fields then, among which nothing is found.
        raise GraphError(100, "The parameter recipient is required")
    try:
        given = json.loads(body)
    except ValueError:
        raise GraphError(100, "Invalid JSON in the request body") from None
    if not isinstance(given, dict):
        raise GraphError(100, "The parameter recipient is required")
    check_keys(given, FIELDS, "param")
    psid = _recipient(given)
    _check_message(given.get("message"))
    _check_options(given)
    return Wanted(psid, given["message"], *_purpose(given))


def check_window(wanted: Wanted, last_action: datetime | None, now: datetime, *, human_agent: bool) -> None:
    """Raises GraphError where the user never wrote, or too long ago for this kind of message."""
    if last_action is None:
        raise GraphError(100, "No matching user found", 2018001)
    if wanted.tag is not None and not human_agent:
        raise GraphError(10, "Application does not have permission for this action")
    if now >= last_action + (WINDOW if wanted.tag is None else HUMAN_AGENT_WINDOW):
        raise GraphError(10, OUTSIDE_WINDOW, 2018278)


def _recipient(given: dict[str, Any]) -> str:
    recipient = given.get("recipient")
    if not isinstance(recipient, dict) or not recipient:
        raise GraphError(100, "The parameter recipient is required")
    check_keys(recipient, {"id"}, "param recipient")
    psid = recipient["id"]
    if not isinstance(psid, str) or not psid:
        raise GraphError(100, "Param recipient[id] must be a string")
    return psid


def _check_message(message: Any) -> None:
    if not isinstance(message, dict) or not message:
        raise GraphError(100, "param message must be non-empty.")
    check_keys(message, MESSAGE_FIELDS, "param message")
    if ("text" in message) == ("attachment" in message):
        raise GraphError(100, "param message must have either text or attachment")
    if "text" in message:
        _check_text("message[text]", message["text"], TEXT_LIMIT)
    else:
        _check_attachment(message["attachment"])
    if "metadata" in message:
        _check_text("message[metadata]", message["metadata"], METADATA_LIMIT)
    replies = message.get("quick_replies", [])
    if not isinstance(replies, list) or len(replies) > QUICK_REPLIES:
        raise GraphError(100, f"Param message[quick_replies] must have at most {QUICK_REPLIES} elements")


def _check_text(name: str, value: Any, limit: int) -> None:
    if not isinstance(value, str) or not value:
        raise GraphError(100, f"Param {name} must be a non-empty UTF-8 encoded string")
    if len(value) > limit:
        raise GraphError(100, f"Length of param {name} must be less than or equal to {limit}")


def _check_attachment(attachment: Any) -> None:
    if not isinstance(attachment, dict) or attachment.get("type") not in ATTACHMENTS:
        raise GraphError(100, f"Param message[attachment][type] must be one of {{{', '.join(ATTACHMENTS)}}}")
    check_keys(attachment, {"type", "payload"}, "param message[attachment]")
    payload = attachment.get("payload")
    if not isinstance(payload, dict):
        raise GraphError(100, "param message[attachment][payload] must be non-empty.")
    check_keys(payload, {"url", "is_reusable"}, "param message[attachment][payload]")
    url = payload.get("url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise GraphError(100, "Param message[attachment][payload][url] should represent a valid URL")


def _check_options(given: dict[str, Any]) -> None:
    if given.get("notification_type", "REGULAR") not in NOTIFICATIONS:
        raise GraphError(100, f"Param notification_type must be one of {{{', '.join(NOTIFICATIONS)}}}")
    quoted = given.get("reply_to", {"mid": ""})
    if not isinstance(quoted, dict) or set(quoted) != {"mid"}:
        raise GraphError(100, "Param reply_to must have a mid")


def _purpose(given: dict[str, Any]) -> tuple[str, str | None]:
    purpose, tag = given.get("messaging_type"), given.get("tag")
    if purpose is None:
        raise GraphError(100, "The parameter messaging_type is required")
    if purpose not in TYPES:
        raise GraphError(100, f"Param messaging_type must be one of {{{', '.join(TYPES)}}}")
    if (purpose == "MESSAGE_TAG") != (tag is not None):
        raise GraphError(100, "A tag goes with messaging_type MESSAGE_TAG, and only with it")
    if tag in DEAD_TAGS:
        raise GraphError(100, f"The tag {tag} is no longer supported")
    if tag not in (None, "HUMAN_AGENT"):
        raise GraphError(100, "Param tag must be one of {HUMAN_AGENT}")
    return purpose, tag
