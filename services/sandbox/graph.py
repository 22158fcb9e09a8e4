"""A stand-in of Meta's Graph API for Messenger: checks our requests as strictly, sends webhooks as it does.

Source: Meta for Developers, "Send API", "Webhooks" and "Error codes", Graph API v25.0.
"""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour
from services.sandbox.state import SandboxConfig, State

WINDOW = timedelta(hours=24)
HUMAN_AGENT_WINDOW = timedelta(days=7)
TEXT_LIMIT = 2000
# What the Send API knows; anything else is error 100.
FIELDS = {"recipient", "message", "messaging_type", "tag", "notification_type", "reply_to"}
MESSAGE_FIELDS = {"text", "attachment", "metadata", "quick_replies"}
RETRIES = (0.0, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0)


class GraphError(Exception):
    """An error as the vendor words it."""

    def __init__(self, status: int, code: int, text: str, subcode: int | None = None) -> None:
        super().__init__(text)
        self.status, self.code, self.subcode, self.text = status, code, subcode, text

    def answer(self) -> Response:
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.text}",
            "type": "OAuthException",
            "code": self.code,
            "fbtrace_id": "AsandboxTrace",
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        return JSONResponse({"error": error}, self.status)


class Graph:
    """The stand-in; `deliver` tells whoever runs it which webhooks to send."""

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state
        self.outgoing: asyncio.Queue[list[dict[str, Any]]] = asyncio.Queue()

    def routes(self) -> list[Route]:
        return [Route("/{version}/{page}/messages", self.messages, methods=["POST"])]

    # what our side calls

    async def messages(self, request: Request) -> Response:
        """The Send API."""
        page = request.path_params["page"]
        wanted = self.state.misbehave("messenger", page)
        if wanted is not None:
            early = await behaviour.before(wanted)
            if early is not None:
                self._keep(request, page, wanted.mode)
                return early
            if wanted.mode in ("429", "500", "503", "error"):
                self._keep(request, page, wanted.mode)
                return self._wrong(wanted)
        try:
            psid, message, tag = await self._check(request, page)
        except GraphError as error:
            self._keep(request, page, f"refused {error.code}/{error.subcode}: {error.text}")
            return error.answer()
        echo = wanted is None or wanted.mode != "no_echo"
        mid = self._accept(page, psid, message, tag, echo=echo)
        self._keep(request, page, f"accepted {mid}")
        if wanted is not None and wanted.mode == "drop_after_accept":
            return behaviour.Dropped()
        return JSONResponse({"recipient_id": psid, "message_id": mid})

    def _wrong(self, wanted: Any) -> Response:
        if wanted.mode == "error":
            status = 500 if wanted.code in (1, 2) else 400
            return GraphError(status, wanted.code, "As asked for", wanted.subcode).answer()
        if wanted.mode == "429":
            answer = GraphError(429, 613, "Calls to this api have exceeded the rate limit.").answer()
            if wanted.retry_after is not None:
                answer.headers["retry-after"] = str(wanted.retry_after)
            return answer
        return Response("Sorry, something went wrong.", int(wanted.mode), media_type="text/html")

    async def _check(self, request: Request, page: str) -> tuple[str, dict[str, Any], str | None]:
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        known = self.config.pages.get(page)
        if known is None or not hmac.compare_digest(token.encode(), known.encode()):
            raise GraphError(401, 190, "Invalid OAuth 2.0 Access Token")
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise GraphError(400, 100, "The parameter recipient is required")
        try:
            body = json.loads(await request.body())
        except ValueError:
            raise GraphError(400, 100, "Invalid JSON") from None
        unknown = set(body) - FIELDS
        if unknown:
            raise GraphError(400, 100, f"Invalid keys found in param: {', '.join(sorted(unknown))}")
        psid = (body.get("recipient") or {}).get("id")
        if not isinstance(psid, str) or set(body["recipient"]) != {"id"}:
            raise GraphError(400, 100, "The parameter recipient is required")
        at = self.state.last_action.get((page, psid))
        if at is None:
            raise GraphError(400, 100, "No matching user found", 2018001)
        message = self._check_message(body.get("message"))
        self._check_window(page, at, body.get("messaging_type"), body.get("tag"))
        return psid, message, body.get("tag")

    def _check_message(self, message: Any) -> dict[str, Any]:
        if not isinstance(message, dict) or ("text" in message) == ("attachment" in message):
            raise GraphError(400, 100, "param message must be non-empty.")
        unknown = set(message) - MESSAGE_FIELDS
        if unknown:
            raise GraphError(400, 100, f"Invalid keys found in param message: {', '.join(sorted(unknown))}")
        if "text" in message and not 0 < len(str(message["text"])) <= TEXT_LIMIT:
            raise GraphError(400, 100, "Length of param message[text] must be less than or equal to 2000")
        if "attachment" in message:
            url = str(((message["attachment"] or {}).get("payload") or {}).get("url", ""))
            if not url.startswith(("http://", "https://")):
                raise GraphError(400, 100, "Invalid attachment url", 2018008)
        return message

    def _check_window(self, page: str, at: datetime, messaging_type: Any, tag: Any) -> None:
        now = self.config.now()
        if messaging_type in ("RESPONSE", "UPDATE") and tag is None:
            if now >= at + WINDOW:
                raise GraphError(400, 10, "This message is sent outside of allowed window.", 2018278)
            return
        if messaging_type != "MESSAGE_TAG" or tag != "HUMAN_AGENT":
            raise GraphError(400, 100, "Invalid messaging_type or tag")
        if page not in self.config.human_agent_pages:
            raise GraphError(400, 10, "Application does not have permission for this action")
        if now >= at + HUMAN_AGENT_WINDOW:
            raise GraphError(400, 10, "This message is sent outside of allowed window.", 2018278)

    def _accept(self, page: str, psid: str, message: dict[str, Any], tag: str | None, *, echo: bool) -> str:
        mid = f"m_sandbox{self.state.next_number():08d}"
        now = self.config.now()
        self.state.sent["messenger"].append(
            {
                "id": mid, "page": page, "psid": psid, "text": message.get("text"), "tag": tag,
                "attachment": message.get("attachment"), "metadata": message.get("metadata"), "at": now.isoformat(),
            }
        )  # fmt: skip
        stamp = _milliseconds(now)
        items: list[dict[str, Any]] = []
        if echo:
            echoed = {"mid": mid, "is_echo": True, "app_id": int(self.config.app_id)}
            echoed |= {k: message[k] for k in ("text", "metadata") if k in message}
            items.append({"sender": {"id": page}, "recipient": {"id": psid}, "timestamp": stamp, "message": echoed})
            user = {"sender": {"id": psid}, "recipient": {"id": page}, "timestamp": stamp}
            items.append(user | {"delivery": {"mids": [mid], "watermark": stamp}})
            items.append(user | {"read": {"watermark": stamp}})
        if items:
            self.outgoing.put_nowait([self.entry(page, items)])
        return mid

    def _keep(self, request: Request, target: str, verdict: str) -> None:
        self.state.requests.append(
            {"vendor": "messenger", "path": request.url.path, "target": target, "verdict": verdict}
        )

    # what the vendor calls

    def entry(self, page: str, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {"id": page, "time": _milliseconds(self.config.now()), "messaging": list(items)}

    def customer_writes(
        self, page: str, psid: str, text: str, at: datetime | None = None, mid: str | None = None
    ) -> dict[str, Any]:
        """The webhook item of a message; opens the window."""
        at = at or self.config.now()
        self.state.last_action[(page, psid)] = at
        return {
            "sender": {"id": psid},
            "recipient": {"id": page},
            "timestamp": _milliseconds(at),
            "message": {"mid": mid or f"m_user{self.state.next_number():08d}", "text": text},
        }

    def signed(self, entries: Sequence[dict[str, Any]], secret: str | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a webhook; slashes and everything beyond ASCII are escaped, as the vendor's are."""
        body = json.dumps({"object": "page", "entry": list(entries)}).replace("/", "\\/").encode()
        key = (secret or self.config.app_secret).encode()
        signature = hmac.new(key, body, hashlib.sha256).hexdigest()
        return body, {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}

    async def deliver(self, http: httpx.AsyncClient, entries: Sequence[dict[str, Any]]) -> int | None:
        """One webhook, again until it is answered 200; the last status, None where nobody answered."""
        body, headers = self.signed(entries)
        status: int | None = None
        for wait in RETRIES:
            await asyncio.sleep(wait)
            try:
                status = (await http.post(self.config.hook_url, content=body, headers=headers)).status_code
            except httpx.HTTPError:
                status = None
            self.state.webhooks.append({"vendor": "messenger", "status": status, "entries": len(entries)})
            if status == 200:
                break
        return status

    async def run(self, http: httpx.AsyncClient) -> None:
        """Sends what waits, together where several wait."""
        async with asyncio.TaskGroup() as group:
            while True:
                entries = await self.outgoing.get()
                while not self.outgoing.empty() and len(entries) < 100:
                    entries += self.outgoing.get_nowait()
                group.create_task(self.deliver(http, entries))


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
