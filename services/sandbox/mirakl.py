"""A stand-in of a Mirakl marketplace's seller API: threads by polling, strict about our answers.

Source: Mirakl Marketplace Platform, seller OpenAPI: M10, M11, M12, M13, OR11.
"""

import base64
import json
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4
from zlib import crc32

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour
from services.sandbox.state import SandboxConfig, State

WITH_MESSAGES = 100
SHORTEST, LONGEST = 3, 50_000
RECIPIENTS = {"CUSTOMER", "OPERATOR", "SHOP"}
ENTITY_TYPES = {"MMP_ORDER", "MMP_OFFER", "MPS_ORDER", "MPS_SERVICE", "SELLER_OPERATOR"}


class Refused(Exception):
    """An error as the platform words it."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status

    def answer(self) -> Response:
        return JSONResponse({"message": str(self), "status": self.status}, self.status)


class Mirakl:
    """One marketplace with several shops behind one key."""

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state

    def routes(self) -> list[Route]:
        return [
            Route("/api/inbox/threads", self._guarded(self.threads)),
            Route("/api/inbox/threads/{thread_id}", self._guarded(self.thread)),
            Route("/api/inbox/threads/{thread_id}/message", self._guarded(self.answer), methods=["POST"]),
            Route("/api/orders", self._guarded(self.orders)),
        ]

    def _guarded(self, work: Any) -> Any:
        """Misbehaviour, the key and the shop before anything else; every request is kept with its verdict."""

        async def endpoint(request: Request) -> Response:
            shop = request.query_params.get("shop_id", next(iter(self.config.shops), ""))
            wanted = self.state.misbehave("mirakl", shop)
            try:
                if wanted is not None and (early := await self._early(wanted)) is not None:
                    return self._keep(request, shop, wanted.mode, early)
                if request.headers.get("authorization") != self.config.api_key:
                    raise Refused(401, "Unauthorized")
                if shop not in self.config.shops:
                    raise Refused(403, "Forbidden")
                answer: Response = await work(request, shop)
            except Refused as error:
                return self._keep(request, shop, f"refused {error.status}: {error}", error.answer())
            if wanted is not None and wanted.mode == "drop_after_accept":
                answer = behaviour.Dropped()
            return self._keep(request, shop, "served", answer)

        return endpoint

    async def _early(self, wanted: Any) -> Response | None:
        if wanted.mode in ("429", "500", "503"):
            headers = {"retry-after": str(wanted.retry_after)} if wanted.retry_after is not None else None
            return Response("", int(wanted.mode), headers=headers)
        return await behaviour.before(wanted)

    def _keep(self, request: Request, shop: str, verdict: str, answer: Response) -> Response:
        self.state.requests.append({"vendor": "mirakl", "path": request.url.path, "target": shop, "verdict": verdict})
        return answer

    # M11, M10, M12, OR11

    async def threads(self, request: Request, shop: str) -> Response:
        query = request.query_params
        if "page_token" in query:
            token = json.loads(base64.urlsafe_b64decode(query["page_token"]))
        else:
            token = {"skip": 0, "limit": _limit(query.get("limit")), "since": query.get("updated_since"),
                     "messages": query.get("with_messages") == "true"}  # fmt: skip
            if "entity_id" in query and "entity_type" not in query:
                raise Refused(400, "entity_type is required with entity_id")
            if query.get("entity_type", "MMP_ORDER") not in ENTITY_TYPES:
                raise Refused(400, "entity_type is unknown")
        since = datetime.fromisoformat(token["since"]) if token["since"] else None
        found = [
            t for t in self.state.threads.values()
            if t["shop"] == shop and (since is None or datetime.fromisoformat(t["date_updated"]) >= since)
        ]  # fmt: skip
        found.sort(key=lambda t: (t["date_updated"], t["id"]), reverse=True)
        end = token["skip"] + token["limit"]
        page = [_shown(t, WITH_MESSAGES if token["messages"] else 0) for t in found[token["skip"] : end]]
        body: dict[str, Any] = {"data": page}
        if end < len(found):
            body["next_page_token"] = base64.urlsafe_b64encode(json.dumps(token | {"skip": end}).encode()).decode()
        return JSONResponse(body)

    async def thread(self, request: Request, shop: str) -> Response:
        return JSONResponse(_shown(self._thread(request, shop), 1000))

    async def answer(self, request: Request, shop: str) -> Response:
        thread = self._thread(request, shop)
        wanted = await self._message_input(request)
        participants = {p["type"]: p for p in thread["authorized_participants"]}
        for recipient in wanted["to"]:
            known = participants.get(recipient.get("type"))
            if known is None or recipient.get("id", known.get("id")) != known.get("id"):
                raise Refused(400, "recipient is not an authorized participant")
        message = self._add(thread, "SHOP_USER", self.config.shops[shop], wanted["body"])
        thread["metadata"]["shop_reply_needed_since"] = None
        self.state.sent["mirakl"].append(
            {"id": message["id"], "shop": shop, "thread": thread["id"], "text": wanted["body"], "to": wanted["to"],
             "at": message["date_created"]}
        )  # fmt: skip
        return JSONResponse({"message_id": message["id"], "thread_id": thread["id"]}, 201)

    async def orders(self, request: Request, _shop: str) -> Response:
        ids = [i for i in request.query_params.get("order_ids", "").split(",") if i]
        known = {t["order"]: t for t in self.state.threads.values() if t.get("order")}
        orders = [
            {"order_id": i, "customer": {"locale": known[i]["locale"]}, "channel": None} for i in ids if i in known
        ]
        return JSONResponse({"orders": orders, "total_count": len(orders)})

    async def _message_input(self, request: Request) -> dict[str, Any]:
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise Refused(415, "Unsupported Media Type")
        async with request.form() as form:
            return await self._read_parts(form)

    async def _read_parts(self, form: FormData) -> dict[str, Any]:
        if set(form) - {"message_input", "files"}:
            raise Refused(400, "unknown part")
        part = form.get("message_input")
        if not isinstance(part, UploadFile) or (part.content_type or "").split(";")[0] != "application/json":
            raise Refused(415, "message_input must be application/json")
        try:
            body = json.loads(await part.read())
        except ValueError:
            raise Refused(400, "message_input is not JSON") from None
        if not isinstance(body, dict) or set(body) - {"body", "to", "topic"}:
            raise Refused(400, "unknown field in message_input")
        if not isinstance(body.get("body"), str) or not SHORTEST <= len(body["body"]) <= LONGEST:
            raise Refused(400, "body size must be between 3 and 50000")
        to = body.get("to")
        if not isinstance(to, list) or not to or not all(isinstance(r, dict) for r in to):
            raise Refused(400, "to must be a list of recipients")
        if any(r.get("type") not in RECIPIENTS for r in to):
            raise Refused(400, "recipient type is unknown")
        return body

    def _thread(self, request: Request, shop: str) -> dict[str, Any]:
        thread = self.state.threads.get(request.path_params["thread_id"])
        if thread is None or thread["shop"] != shop:
            raise Refused(404, "Thread not found")
        return thread

    # what people do on the marketplace

    def customer_writes(
        self, *, shop: str, customer: str, text: str, thread: str | None = None, order: str | None = None,
        locale: str = "fr_FR", sender: str = "CUSTOMER_USER",
    ) -> dict[str, str]:  # fmt: skip
        """A message of the buyer, the operator or (SHOP_USER) of the shop in its back office."""
        id_ = thread or str(uuid4())
        found = self.state.threads.get(id_) or self._open(id_, shop, customer, order, locale)
        message = self._add(found, sender, customer, text)
        if sender != "SHOP_USER":
            needed = found["metadata"]["shop_reply_needed_since"]
            found["metadata"]["shop_reply_needed_since"] = needed or message["date_created"]
        return {"thread_id": id_, "message_id": message["id"]}

    def _open(self, id_: str, shop: str, customer: str, order: str | None, locale: str) -> dict[str, Any]:
        now = self._now()
        thread: dict[str, Any] = {
            "id": id_,
            "shop": shop,
            "order": order,
            "locale": locale,
            "topic": {"type": "FREE_TEXT", "value": "Commande"},
            "entities": [{"type": "MMP_ORDER", "id": order, "label": order}] if order else [],
            "authorized_participants": [
                {"type": "SHOP", "id": shop, "display_name": self.config.shops[shop]},
                {"type": "CUSTOMER", "id": str(UUID(int=crc32(customer.encode()))), "display_name": customer},
                {"type": "OPERATOR", "display_name": "Marketplace"},
            ],
            "date_created": now,
            "date_updated": now,
            "metadata": {"total_count": 0, "last_message_date": now, "shop_reply_needed_since": None},
            "messages": [],
        }
        self.state.threads[id_] = thread
        return thread

    def _add(self, thread: dict[str, Any], sender: str, name: str, text: str) -> dict[str, Any]:
        now = self._now()
        message = {
            "id": str(uuid4()),
            "body": text,
            "date_created": now,
            "from": {"type": sender, "display_name": name},
            "to": [],
            "attachments": [],
        }
        thread["messages"].append(message)
        thread["date_updated"] = now
        thread["metadata"] |= {"total_count": len(thread["messages"]), "last_message_date": now}
        return message

    def _now(self) -> str:
        return self.config.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _limit(given: str | None) -> int:
    limit = int(given) if given and given.isdigit() else 50
    if not 10 <= limit <= 100:
        raise Refused(400, "limit must be between 10 and 100")
    return limit


def _shown(thread: dict[str, Any], messages: int) -> dict[str, Any]:
    """The thread as the API shows it: without what only we know, its last so many messages."""
    hidden = {"shop", "order", "locale", "messages"}
    shown = {name: value for name, value in thread.items() if name not in hidden}
    shown["current_participants"] = thread["authorized_participants"]
    if messages:
        shown["messages"] = thread["messages"][-messages:]
    return shown
