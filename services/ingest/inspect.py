"""`dragoman inspect CHANNEL FILE…`: what a channel makes of a captured request; the same code as the hooks."""

import base64
from typing import Any

import msgspec

from shared.accounts import Account
from shared.channels.contract import BadItem, Channel, Hook
from shared.clock import utc_now
from shared.errors import BadPayload, BadSignature
from shared.events import TYPE_NAMES
from shared.ids import derived_id


def inspect(channel: Channel, capture: dict[str, Any], secrets: dict[str, list[str]]) -> dict[str, Any]:
    """Items as they go on the bus, the answer, and what was wrong.

    `capture` has method, path, query, headers, and body (text) or body_base64. Without secrets the signature is not
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
    for item in received.items:
        if isinstance(item, BadItem):
            result["wrong"].append(f"{item.code}: {item.error}")
            continue
        data = msgspec.to_builtins(item.data)
        result["items"].append({"type": TYPE_NAMES[type(item.data)], "address": item.address, "lane": item.lane,
                                "data": data})  # fmt: skip
    answer = received.answer
    result["answer"] = {
        "status": answer.status,
        "type": answer.media_type,
        "body": answer.body.decode("utf-8", "replace"),
    }
    return result


def _hook(capture: dict[str, Any]) -> Hook:
    try:
        body = capture.get("body", "")
        raw = base64.b64decode(capture["body_base64"]) if "body_base64" in capture else str(body).encode()
        return Hook(
            method=str(capture.get("method", "POST")),
            path=str(capture.get("path", "/")),
            query=[(str(k), str(v)) for k, v in dict(capture.get("query", {})).items()],
            headers={str(k).lower(): str(v) for k, v in dict(capture.get("headers", {})).items()},
            body=raw,
            received_at=utc_now(),
        )
    except (TypeError, ValueError, AttributeError) as error:
        raise BadPayload(f"not a captured request: {type(error).__name__}", code="not_a_capture") from None
