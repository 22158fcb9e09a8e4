"""`dragoman inspect CHANNEL FILE…`: what a channel makes of a captured request, or of a mail as a file.

It is the same code as that of the hooks and polls.
"""

import base64
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Channel, Hook, Item
from shared.clock import utc_now
from shared.errors import BadPayload, BadSignature
from shared.events import TYPE_NAMES
from shared.ids import derived_id


def inspect(channel: Channel, capture: dict[str, Any], secrets: dict[str, list[str]]) -> dict[str, Any]:
    """Items as they go on the bus, the answer, and what was wrong.

    `capture` has method, path with its query, headers, and body (text as it came, or JSON) or body_base64. Parameters
    may stand in `query` too. Without secrets the signature is not
    checked, and the result says so. Raises BadPayload for a capture that is not one.
    """
    hook = _hook(capture)
    account = Account(id=derived_id("inspect", channel.name), channel=channel.name, secrets=secrets)
    result: dict[str, Any] = {"channel": channel.name, "signature": "not checked", "items": [], "wrong": []}
    if channel.verify is None or channel.receive is None:
        result["wrong"].append("this channel is polled: it has no webhook")
        return result
    try:
        if secrets:
            channel.verify(hook, account)
            result["signature"] = "good"
        received = channel.receive(hook, account)
    except BadSignature as error:
        result["signature"] = f"bad: {error}"
        return result
    except BadPayload as error:
        result["wrong"].append(f"{error.code}: {error}")
        return result
    _show(received.items, result)
    answer = received.answer
    result["answer"] = {
        "status": answer.status,
        "type": answer.media_type,
        "body": answer.body.decode("utf-8", "replace"),
    }
    return result


def inspect_file(channel: Channel, raw: bytes, settings: dict[str, Any]) -> dict[str, Any]:
    """Items of one file (a whole mail) as they go on the bus, with the sizes of what it carries.

    `settings` are those of the inbox that it came to; its `address` may be among them. Raises BadPayload for a channel
    whose items are no files.
    """
    if channel.read is None:
        raise BadPayload("this channel's items are no files: give a captured request", code="not_a_capture")
    account = Account(id=derived_id("inspect", channel.name), channel=channel.name)
    inbox = Inbox(
        id=derived_id("inspect", "inbox"),
        brand_id=derived_id("inspect", "brand"),
        account_id=account.id,
        channel=channel.name,
        address=str(settings.get("address", "inbox@inspect.invalid")),
        settings=settings,
    )
    result: dict[str, Any] = {"channel": channel.name, "items": [], "wrong": []}
    _show(channel.read(raw, account, inbox, utc_now()), result)
    return result


def _show(items: Sequence[Item | BadItem], result: dict[str, Any]) -> None:
    for item in items:
        if isinstance(item, BadItem):
            result["wrong"].append(f"{item.code}: {item.error}")
            continue
        data = msgspec.to_builtins(item.data)
        kind = TYPE_NAMES[type(item.data)]
        shown = {"type": kind, "address": item.address, "lane": item.lane, "data": data}
        if item.files:
            shown["files"] = [{"sha256": file.sha256, "size": len(file.content)} for file in item.files]
        result["items"].append(shown)


def _hook(capture: dict[str, Any]) -> Hook:
    try:
        path, _, query = str(capture.get("path", "/")).partition("?")
        given = [(str(k), str(v)) for k, v in dict(capture.get("query", {})).items()]
        return Hook(
            method=str(capture.get("method", "POST")).upper(),
            path=path,
            url=str(capture.get("url", "")),
            query=[*parse_qsl(query, keep_blank_values=True), *given],
            headers={str(k).lower(): str(v) for k, v in dict(capture.get("headers", {})).items()},
            body=_body(capture),
            received_at=utc_now(),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise BadPayload(f"not a captured request: {type(error).__name__}", code="not_a_capture") from None


def _body(capture: dict[str, Any]) -> bytes:
    if "body_base64" in capture:
        return base64.b64decode(capture["body_base64"], validate=True)
    body = capture.get("body", "")
    return body.encode() if isinstance(body, str) else msgspec.json.encode(body)
