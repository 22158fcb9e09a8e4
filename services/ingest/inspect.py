"""`dragoman inspect CHANNEL FILE…`: what a channel makes of a captured request; the same code as the hooks."""

import base64
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from shared.accounts import Account
from shared.channels.contract import BadItem, Channel, Hook
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
    for item in received.items:
        if isinstance(item, BadItem):
            result["wrong"].append(f"{item.code}: {item.error}")
            continue
        data = msgspec.to_builtins(item.data)
        kind = TYPE_NAMES[type(item.data)]
        result["items"].append({"type": kind, "address": item.address, "lane": item.lane, "data": data})
    answer = received.answer
    result["answer"] = {
        "status": answer.status,
        "type": answer.media_type,
        "body": answer.body.decode("utf-8", "replace"),
    }
    return result


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
