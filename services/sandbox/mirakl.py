"""A stand-in of a Mirakl marketplace's seller API: threads by polling, strict about our answers.

Source: Mirakl Marketplace Platform, seller OpenAPI: M10, M11, M12, M13, OR11; the default of ten orders a page and the
bounds of `limit` from the vendor's own SDK. The contract declares no error bodies: `message` and `status` were seen.
"""

import base64
import hashlib
import hmac
import json
import operator
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour, commands, multipart
from services.sandbox.behaviour import Reception, Refusal
from services.sandbox.commands import File, Misbehaviour
from services.sandbox.marketplace import Marketplace, Shape, shown, updated
from services.sandbox.state import SandboxConfig, State

IN_A_LIST = 100
IN_A_THREAD = 1000
SHORTEST, LONGEST = 3, 50_000
TOPICS = {"FREE_TEXT": 3, "REASON_CODE": 1}
LONGEST_TOPIC = 200
FILES_OF_AN_ENTITY = 50
LARGEST_BODY = 30_000_000
RECIPIENTS = ("CUSTOMER", "OPERATOR", "SHOP")
ENTITY_TYPES = ("MMP_ORDER", "MMP_OFFER", "MPS_ORDER", "MPS_SERVICE", "SELLER_OPERATOR")
SORTS = {"date,DESC": True, "date,ASC": False}


class Refused(Refusal):
    """An error as the platform words it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.verdict = f"refused {status}: {text}"

    def body(self) -> Shape:
        return {"message": str(self), "status": self.status}


class Mirakl:
    """One marketplace with several shops behind one key."""

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state
        self.marketplace = Marketplace(config, state)
        self._reception = Reception("mirakl", config, state, self)

    def routes(self) -> list[Route]:
        return [
            Route("/api/inbox/threads", self._reception.endpoint("M11", self.threads)),
            Route("/api/inbox/threads/{thread_id}", self._reception.endpoint("M10", self.thread)),
            Route(
                "/api/inbox/threads/{thread_id}/message", self._reception.endpoint("M12", self.answer), methods=["POST"]
            ),
            Route("/api/inbox/threads/{attachment_id}/download", self._reception.endpoint("M13", self.download)),
            Route("/api/orders", self._reception.endpoint("OR11", self.orders)),
            Route("/{path:path}", self._reception.endpoint("unknown", self.unknown), methods=behaviour.METHODS),
        ]

    def target(self, request: Request) -> str:
        return request.query_params.get("shop_id", next(iter(self.config.shops), ""))

    def check_caller(self, request: Request, shop: str) -> None:
        # The bare key: with "Bearer" in front it is another key, which nobody knows.
        if request.headers.get("authorization") != self.config.api_key:
            raise Refused(401, "Unauthorized")
        if not shop.isascii() or not shop.isdigit():
            raise Refused(400, "shop_id must be an integer")
        if shop not in self.config.shops:
            raise Refused(403, "Forbidden")

    def failure(self, wanted: Misbehaviour) -> Response | None:
        if wanted.mode == "error":
            raise Refused(wanted.code or 400, wanted.text)
        if wanted.mode in ("429", "500", "503"):
            return Response("", int(wanted.mode), behaviour.retry_after(wanted))
        return None

    # M11

    async def threads(self, request: Request, shop: str) -> Response:
        """A page of threads. A page token already says everything: all other parameters are ignored then."""
        token = request.query_params.get("page_token")
        wanted = self._opened(token) if token is not None else _list_wanted(request, shop)
        found = self.marketplace.threads(wanted["shop"], lambda thread: _is_wanted(thread, wanted))
        is_descending = SORTS[wanted["sort"]]
        found.sort(key=_place, reverse=is_descending)
        follows, precedes = (operator.lt, operator.gt) if is_descending else (operator.gt, operator.lt)
        page = found[: wanted["limit"]]
        if "after" in wanted:
            page = [t for t in found if follows(_place(t), tuple(wanted["after"]))][: wanted["limit"]]
        if "before" in wanted:
            page = [t for t in found if precedes(_place(t), tuple(wanted["before"]))][-wanted["limit"] :]
        body: Shape = {"data": [shown(t, IN_A_LIST if wanted["messages"] else 0) for t in page]}
        if page and any(follows(_place(t), _place(page[-1])) for t in found):
            body["next_page_token"] = self._token(wanted, "after", page[-1])
        if page and any(precedes(_place(t), _place(page[0])) for t in found):
            body["previous_page_token"] = self._token(wanted, "before", page[0])
        return JSONResponse(body)

    def _token(self, wanted: Shape, side: str, thread: Shape) -> str:
        """Where the page ended and what was asked for, signed: nobody but us can read or make one."""
        rest = {name: value for name, value in wanted.items() if name not in ("after", "before")}
        payload = base64.urlsafe_b64encode(json.dumps(rest | {side: _place(thread)}).encode()).decode()
        return f"{payload}.{self._signature(payload)}"

    def _opened(self, token: str) -> Shape:
        payload, _, signature = token.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(payload).encode()):
            raise Refused(400, "page_token is invalid")
        wanted: Shape = json.loads(base64.urlsafe_b64decode(payload))
        return wanted

    def _signature(self, payload: str) -> str:
        digest = hmac.new(self.config.api_key.encode(), payload.encode(), hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode()

    # M10, M13, OR11

    async def thread(self, request: Request, shop: str) -> Response:
        return JSONResponse(shown(self._thread(request, shop), IN_A_THREAD))

    async def download(self, request: Request, shop: str) -> Response:
        owner, content = self.state.files.get(request.path_params["attachment_id"], (None, b""))
        if owner != shop:
            raise Refused(404, "Attachment not found")
        return Response(content, media_type="application/octet-stream")

    async def orders(self, request: Request, shop: str) -> Response:
        """The orders asked for, oldest first: ten of them unless `max` says more."""
        query = request.query_params
        ids, channels = _listed(request, "order_ids"), _listed(request, "channel_codes")
        found = [
            order for order in self.marketplace.orders(shop)
            if (not ids or order["order_id"] in ids)
            and (not channels or order.get("channel", {}).get("code") in channels)
        ]  # fmt: skip
        first = _number(query.get("offset"), "offset", 0, 0, 10**9)
        page = found[first : first + _number(query.get("max"), "max", 10, 1, 100)]
        return JSONResponse({"orders": page, "total_count": len(found)})

    async def unknown(self, _request: Request, _shop: str) -> Response:
        raise Refused(404, "Not Found")

    # M12

    async def answer(self, request: Request, shop: str) -> Response:
        thread = self._thread(request, shop)
        wanted, files = await _message_input(request)
        to = [_participant(thread, recipient) for recipient in wanted["to"]]
        self._check_room(thread, len(files))
        message = self.marketplace.add(thread, thread["authorized_participants"][0], to, wanted["body"], files)
        if "topic" in wanted:
            thread["topic"] = wanted["topic"]
        self.state.sent["mirakl"].append(
            {
                "id": message["id"], "shop": shop, "thread": thread["id"], "text": wanted["body"], "to": wanted["to"],
                "files": [file.name for file in files], "at": message["date_created"],
            }
        )  # fmt: skip
        if self._reception.take(shop, "M12", commands.DROP_AFTER_ACCEPT) is not None:
            return behaviour.Dropped()
        return JSONResponse({"message_id": message["id"], "thread_id": thread["id"]}, 201)

    def _check_room(self, thread: Shape, files: int) -> None:
        if len(thread["messages"]) >= IN_A_THREAD:
            raise Refused(400, f"a thread has at most {IN_A_THREAD} messages")
        same = self.marketplace.threads(thread["shop"], lambda other: bool(other["entities"] == thread["entities"]))
        present = sum(len(message["attachments"]) for other in same for message in other["messages"])
        if files and present + files > FILES_OF_AN_ENTITY:
            raise Refused(400, f"at most {FILES_OF_AN_ENTITY} attachments over all threads of an entity")

    def _thread(self, request: Request, shop: str) -> Shape:
        thread = self.state.threads.get(request.path_params["thread_id"])
        if thread is None or thread["shop"] != shop:
            raise Refused(404, "Thread not found")
        return thread


def _list_wanted(request: Request, shop: str) -> Shape:
    query = request.query_params
    entity_type, entity_ids = query.get("entity_type"), _listed(request, "entity_id")
    if entity_ids and entity_type is None:
        raise Refused(400, "entity_type must be specified with entity_id")
    if entity_type not in (None, *ENTITY_TYPES):
        raise Refused(400, "entity_type is unknown")
    if query.get("with_messages", "false") not in ("true", "false"):
        raise Refused(400, "with_messages must be a boolean")
    if query.get("sort", "date,DESC") not in SORTS:
        raise Refused(400, "sort is unknown")
    return {
        "shop": shop,
        "limit": _number(query.get("limit"), "limit", 50, 10, 100),
        "since": _instant(query.get("updated_since")),
        "messages": query.get("with_messages") == "true",
        "entity_type": entity_type,
        "entity_ids": entity_ids,
        "channels": _listed(request, "channel_codes"),
        "sort": query.get("sort", "date,DESC"),
    }


def _is_wanted(thread: Shape, wanted: Shape) -> bool:
    entity = thread["entities"][0]
    if wanted["since"] is not None and updated(thread) < datetime.fromisoformat(wanted["since"]):
        return False
    if wanted["entity_type"] not in (None, entity["type"]):
        return False
    if wanted["entity_ids"] and entity["id"] not in wanted["entity_ids"]:
        return False
    return not wanted["channels"] or thread["channel"] in wanted["channels"]


def _place(thread: Shape) -> tuple[str, str]:
    return thread["date_updated"], thread["id"]


def _listed(request: Request, name: str) -> list[str]:
    return [value for given in request.query_params.getlist(name) for value in given.split(",") if value]


def _number(given: str | None, name: str, default: int, least: int, most: int) -> int:
    if given is None:
        return default
    if not given.isascii() or not given.isdigit() or not least <= int(given) <= most:
        raise Refused(400, f"{name} must be between {least} and {most}")
    return int(given)


def _instant(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        at = datetime.fromisoformat(given)
    except ValueError:
        raise Refused(400, "updated_since must be a date-time") from None
    if at.tzinfo is None:
        raise Refused(400, "updated_since must have an offset")
    return at.isoformat()


async def _message_input(request: Request) -> tuple[Shape, list[File]]:
    """The message and its files. Raises Refused where the multipart or the message breaks the contract."""
    if int(request.headers.get("content-length", "0")) > LARGEST_BODY:
        raise Refused(413, "Payload Too Large")
    found = multipart.parts(request.headers.get("content-type", ""), await request.body())
    if found is None:
        raise Refused(415, "Unsupported Media Type")
    if {part.name for part in found} - {"message_input", "files"}:
        raise Refused(400, "unknown part")
    inputs = [part for part in found if part.name == "message_input"]
    if len(inputs) != 1:
        raise Refused(400, "exactly one part message_input is required")
    if inputs[0].content_type != "application/json":
        raise Refused(415, "message_input must have the content type application/json")
    files = [File(name=part.filename, content=part.content) for part in found if part.name == "files"]
    return _read_input(inputs[0].content), files


def _read_input(content: bytes) -> Shape:
    try:
        body = json.loads(content)
    except ValueError:
        raise Refused(400, "message_input is not JSON") from None
    if not isinstance(body, dict) or set(body) - {"body", "to", "topic"}:
        raise Refused(400, "message_input has an unknown field")
    if not isinstance(body.get("body"), str) or not SHORTEST <= len(body["body"]) <= LONGEST:
        raise Refused(400, f"body must have between {SHORTEST} and {LONGEST} characters")
    to = body.get("to")
    if not isinstance(to, list) or not to or not all(isinstance(recipient, dict) for recipient in to):
        raise Refused(400, "to must be a list of recipients")
    if any(set(recipient) - {"type", "id"} or recipient.get("type") not in RECIPIENTS for recipient in to):
        raise Refused(400, "a recipient has a type, one of CUSTOMER, OPERATOR and SHOP, and perhaps an id")
    if "topic" in body:
        _check_topic(body["topic"])
    return body


def _check_topic(topic: Any) -> None:
    if not isinstance(topic, dict) or set(topic) != {"type", "value"} or topic["type"] not in tuple(TOPICS):
        raise Refused(400, "topic must have a known type and a value")
    if not isinstance(topic["value"], str) or not TOPICS[topic["type"]] <= len(topic["value"]) <= LONGEST_TOPIC:
        raise Refused(400, "the topic's value is too short or too long")


def _participant(thread: Shape, recipient: Shape) -> Shape:
    for participant in thread["authorized_participants"]:
        if participant["type"] == recipient["type"] and recipient.get("id") in (None, participant.get("id")):
            return dict(participant)
    raise Refused(400, "a recipient is not in the thread's authorized participants")
