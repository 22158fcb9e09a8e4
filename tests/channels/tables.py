"""The payload tables: one captured exchange with a vendor each, and what the channel makes of it.

`inbound/*.json` holds the vendor's `request` (a channel with webhooks) or `calls` (a polled one), and `items`;
`outbound/*.json` a `reply`, its `parts`, our `request`, the `vendor_answer`, and an `external_id` or an `error`.
A body is text where every byte matters, else the JSON itself, or the fields of a form. Each table names its `source`.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import HTTP
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import httpx
import msgspec

from shared.channels.contract import BadItem, Hook, Item, Part
from shared.events import Attachment, SendReply

FOLDER = Path(__file__).parent
RECEIVED_AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
# No window is over before then.
FAR_AHEAD = datetime(2999, 1, 1, tzinfo=UTC)
REFERENCE = "0b54a9e2-7c55-5d5e-9a52-3c1de4a1b9aa"
HOOK_URL = "https://hooks.example.com/hooks/channel/a-token-of-ours"
# The headers of ours that vendors look at.
HEADERS = ("authorization", "content-type")


@dataclass(frozen=True)
class Table:
    channel: str
    name: str
    data: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.channel}-{self.name}"


def tables(direction: str, channel: str = "*") -> list[Table]:
    """The tables of one direction, `inbound` or `outbound`."""
    paths = sorted(FOLDER.glob(f"{channel}/{direction}/*.json"))
    return [Table(path.parts[-3], path.stem, json.loads(path.read_text("utf-8"))) for path in paths]


def sample_of(channel: str) -> ModuleType:
    """Account, inbox, signature and a reply of a channel, as its `sample.py` gives them."""
    return import_module(f"tests.channels.{channel}.sample")


def a_hook(
    body: object, method: str = "POST", query: Mapping[str, str] | None = None, url: str = "", **headers: str
) -> Hook:
    return Hook(
        method=method,
        path="/hooks",
        url=url,
        query=list((query or {}).items()),
        headers={"content-type": "application/json", **headers},
        body=bytes_of(body),
        received_at=RECEIVED_AT,
    )


def encoded(channel: str, body: object) -> bytes:
    """A body of a table as its vendor sends it: text as it is, else a form where its `sample.py` says so, else JSON."""
    encode = getattr(sample_of(channel), "encode", bytes_of)
    return bytes_of(body) if isinstance(body, str) else encode(body)


def bytes_of(body: object) -> bytes:
    """Text as it is, anything else as JSON."""
    if isinstance(body, bytes):
        return body
    return body.encode("utf-8", "surrogatepass") if isinstance(body, str) else json.dumps(body).encode()


def a_reply(
    channel: str, reply_context: object, text: str = "", attachments: Sequence[Mapping[str, Any]] = (), **fields: Any
) -> SendReply:
    return SendReply(
        reply_id=UUID(int=4),
        conversation_id=UUID(int=5),
        inbox_id=UUID(int=2),
        number=1,
        channel=channel,
        reply_context=bytes_of(reply_context),
        text=text,
        attachments=[Attachment(**attachment) for attachment in attachments],
        expires_at=FAR_AHEAD,
        **fields,
    )


class StoredFiles:
    """Whatever a reply names is stored, and to be had at an address with its hash."""

    def link(self, attachment: Attachment) -> str:
        return f"https://files.example.com/{attachment.sha256}"

    async def read(self, attachment: Attachment) -> bytes:
        return attachment.sha256.encode()


@dataclass
class Vendor:
    """Gives its answers one after the other and keeps what it was asked."""

    answers: Sequence[Mapping[str, Any]]
    requests: list[dict[str, Any]] = field(default_factory=list)

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[len(self.requests) % len(self.answers)]
        self.requests.append(shown_request(request))
        return httpx.Response(answer["status"], headers=answer.get("headers"), content=bytes_of(answer["body"]))


def shown_request(request: httpx.Request) -> dict[str, Any]:
    headers = {name: request.headers[name] for name in HEADERS if name in request.headers}
    shown: dict[str, Any] = {"method": request.method, "url": str(request.url), "headers": headers}
    kind = headers.get("content-type", "")
    if kind.startswith("multipart/"):
        # The boundary is another one each time.
        headers["content-type"] = kind.partition(";")[0]
        shown["body"] = [_shown_section(s) for s in _sections(kind, request.content)]
    elif kind.startswith("application/x-www-form-urlencoded"):
        fields = parse_qs(request.content.decode(), keep_blank_values=True, strict_parsing=True)
        shown["body"] = {name: values[0] if len(values) == 1 else values for name, values in fields.items()}
    elif request.content:
        shown["body"] = json.loads(request.content)
    return shown


def _sections(kind: str, content: bytes) -> list[Any]:
    whole = message_from_bytes(f"content-type: {kind}\r\n\r\n".encode() + content, policy=HTTP)
    return list(whole.get_payload())


def _shown_section(section: Any) -> dict[str, Any]:
    kind, content = section.get_content_type(), section.get_payload(decode=True)
    return {
        "name": section.get_param("name", header="content-disposition"),
        "filename": section.get_filename(),
        "content-type": kind,
        "body": json.loads(content) if kind == "application/json" else content.decode(),
    }


def shown_item(item: Item | BadItem) -> dict[str, Any]:
    """As tables write it: without its raw bytes, and the context as the JSON that it is."""
    if isinstance(item, BadItem):
        return {"bad": item.code, "address": item.address}
    data = msgspec.to_builtins(item.data)
    data.pop("raw", None)
    if "reply_context" in data:
        data["reply_context"] = json.loads(base64.b64decode(data["reply_context"]))
    return {"event": type(item.data).__name__, "address": item.address, "lane": item.lane, **data}


def shown_part(part: Part) -> dict[str, Any]:
    return msgspec.to_builtins(part)
