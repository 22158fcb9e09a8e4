"""A stand-in of Meta's Graph API for Messenger: checks our requests as strictly, sends webhooks as it does.

Source: Meta for Developers, "Send API", "User profile", "Webhooks" and "Error codes", Graph API v25.0.
"""

import asyncio
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour, commands, send_api
from services.sandbox.behaviour import Reception
from services.sandbox.commands import MessengerMessage, Misbehaviour
from services.sandbox.send_api import GraphError
from services.sandbox.state import KEPT, SandboxConfig, State, keep
from shared.ids import new_id

VERSION = re.compile(r"v\d+\.\d+")
PROFILE_FIELDS = {"id", "name", "first_name", "last_name", "profile_pic"}
# Up to this many updates come in one webhook.
LARGEST_BATCH = 1000

Item = dict[str, Any]


class Graph:
    """The Send API and the profile of a user; `webhooks` runs beside it and sends what became due."""

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state
        self._page_of_token = {token: page for page, token in config.pages.items()}
        self._reception = Reception("messenger", config, state, self)
        self._timers: deque[asyncio.TimerHandle] = deque(maxlen=KEPT)
        self._due: list[tuple[str, Item]] = []
        self._something_is_due = asyncio.Event()
        self._deliveries: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return [
            Route("/{version}/{page}/messages", self._reception.endpoint("send", self.messages), methods=["POST"]),
            Route("/{version}/{psid}", self._reception.endpoint("profile", self.profile)),
            Route("/{path:path}", self._reception.endpoint("unknown", self.unknown), methods=behaviour.METHODS),
        ]

    # what our side calls

    async def messages(self, request: Request, page: str) -> Response:
        """The Send API."""
        if self._page_of_token[_token(request)] != page:
            raise _no_such_object("post")
        wanted = send_api.read(request.headers.get("content-type", ""), await request.body())
        last_action = self.state.last_action.get((page, wanted.psid))
        human_agent = page in self.config.human_agent_pages
        send_api.check_window(wanted, last_action, self.config.now(), human_agent=human_agent)
        mid = self._accept(page, wanted)
        if self._reception.take(page, "send", commands.DROP_AFTER_ACCEPT) is not None:
            return behaviour.Dropped()
        return JSONResponse({"recipient_id": wanted.psid, "message_id": mid})

    async def profile(self, request: Request, page: str) -> Response:
        """What the page may know of a user who wrote to it; a field without a value is left out."""
        psid = request.path_params["psid"]
        if (page, psid) not in self.state.last_action:
            raise _no_such_object("get")
        first, _, last = self.state.names.get((page, psid), "").partition(" ")
        known = {"id": psid, "first_name": first, "last_name": last, "name": f"{first} {last}".strip()}
        fields = request.query_params.get("fields", "first_name,last_name,profile_pic,id").split(",")
        for field in fields:
            if field not in PROFILE_FIELDS:
                raise GraphError(100, f"Tried accessing nonexisting field ({field})")
        return JSONResponse({name: value for name, value in known.items() if name in {*fields, "id"} and value})

    async def unknown(self, request: Request, _page: str) -> Response:
        raise GraphError(2500, f"Unknown path components: /{request.path_params['path']}")

    def target(self, request: Request) -> str:
        """The page of the path; where that is no page, the one whose token came."""
        named = str(request.path_params.get("page", "me"))
        return self._page_of_token.get(_token(request), named) if named == "me" else named

    def check_caller(self, request: Request, _page: str) -> None:
        if _token(request) not in self._page_of_token:
            raise GraphError(190, "Invalid OAuth access token - Cannot parse access token")
        version = request.path_params.get("version")
        if version is not None and not VERSION.fullmatch(version):
            raise GraphError(2500, f"Unknown path components: /{version}")

    def failure(self, wanted: Misbehaviour) -> Response | None:
        if wanted.mode == "error":
            raise GraphError(wanted.code or 0, "As it was asked for", wanted.subcode)
        if wanted.mode == "429":
            body = GraphError(613, "Calls to this api have exceeded the rate limit.").body()
            return JSONResponse(body, 429, behaviour.retry_after(wanted))
        if wanted.mode in ("500", "503"):
            page = "<html><body>Sorry, something went wrong.</body></html>"
            return Response(page, int(wanted.mode), behaviour.retry_after(wanted), "text/html")
        return None

    def _accept(self, page: str, wanted: send_api.Wanted) -> str:
        mid, message, now = f"m_{new_id().hex}", wanted.message, self.config.now()
        self.state.sent["messenger"].append(
            {
                "id": mid, "page": page, "psid": wanted.psid, "text": message.get("text"),
                "attachment": message.get("attachment"), "metadata": message.get("metadata"),
                "messaging_type": wanted.messaging_type, "tag": wanted.tag, "at": now.isoformat(),
            }
        )  # fmt: skip
        stamp = _milliseconds(now)
        from_user = {"sender": {"id": wanted.psid}, "recipient": {"id": page}, "timestamp": stamp}
        if self._reception.take(page, "send", commands.NO_ECHO) is None:
            self._later(self.config.echo_after, page, self._echo(page, wanted, mid, stamp))
        delivery = {"delivery": {"mids": [mid], "watermark": stamp}}
        self._later(self.config.delivered_after, page, from_user | delivery)
        self._later(self.config.read_after, page, from_user | {"read": {"watermark": stamp}})
        return mid

    def _echo(self, page: str, wanted: send_api.Wanted, mid: str, stamp: int) -> Item:
        echoed: Item = {"mid": mid, "is_echo": True, "app_id": int(self.config.app_id)}
        echoed |= {name: wanted.message[name] for name in ("text", "metadata") if name in wanted.message}
        if "attachment" in wanted.message:
            attachment = wanted.message["attachment"]
            payload = {"url": attachment["payload"]["url"]}
            echoed["attachments"] = [{"type": attachment["type"], "payload": payload}]
        return {"sender": {"id": page}, "recipient": {"id": wanted.psid}, "timestamp": stamp, "message": echoed}

    # what the vendor calls

    def entry(self, page: str, items: Sequence[Item]) -> Item:
        return {"id": page, "time": _milliseconds(self.config.now()), "messaging": list(items)}

    def entries(self, items: Sequence[tuple[str, Item]]) -> list[Item]:
        """One entry for each page, the items of each in their order."""
        of_page: dict[str, list[Item]] = {}
        for page, item in items:
            of_page.setdefault(page, []).append(item)
        return [self.entry(page, items) for page, items in of_page.items()]

    def customer_writes(
        self, page: str, psid: str, text: str, at: datetime | None = None, mid: str | None = None
    ) -> Item:
        """The webhook item of a message, which opens the window."""
        message = MessengerMessage(page=page, psid=psid, text=text, at=at, mid=mid)
        self.heard(message)
        return self.item(message)

    def heard(self, message: MessengerMessage) -> None:
        """From now on the user is known to the page, and the window counts from this message."""
        key, at = (message.page, message.psid), message.at or self.config.now()
        keep(self.state.last_action, key, max(at, self.state.last_action.get(key, at)))
        if message.name is not None:
            keep(self.state.names, key, message.name)

    def item(self, message: MessengerMessage) -> Item:
        return {
            "sender": {"id": message.psid},
            "recipient": {"id": message.page},
            "timestamp": _milliseconds(message.at or self.config.now()),
            "message": {"mid": message.mid or f"m_{new_id().hex}", "text": message.text},
        }

    def signed(self, entries: Sequence[Item], secret: str | None = None) -> tuple[bytes, dict[str, str]]:
        """Body and headers of a webhook; slashes and everything beyond ASCII are escaped, as the vendor's are."""
        text = json.dumps({"object": "page", "entry": list(entries)}, separators=(",", ":"))
        body = text.replace("/", "\\/").encode()
        signature = hmac.new((secret or self.config.app_secret).encode(), body, hashlib.sha256).hexdigest()
        return body, {"content-type": "application/json", "x-hub-signature-256": f"sha256={signature}"}

    async def deliver(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> int | None:
        """One webhook, again until it is answered 200; the last status, None where nobody answered."""
        record = self._record(entries)
        await self._attempts(http, entries, record)
        return last_status(record)

    async def forge(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> int | None:
        """One webhook that is not signed with the app's secret, once; its status."""
        body, headers = self.signed(entries, secret="not the secret")  # noqa: S106
        return await self._post(http, body, headers, self._record(entries, is_forged=True))

    async def verify(self, http: httpx.AsyncClient, token: str) -> tuple[int | None, bool]:
        """The handshake of a subscription: the status, and whether the challenge came back as bare text."""
        challenge = str(new_id().int % 10**10)
        query = {"hub.mode": "subscribe", "hub.verify_token": token, "hub.challenge": challenge}
        try:
            answer = await http.get(self.config.hook_url, params=query)
        except (httpx.HTTPError, httpx.InvalidURL):
            return None, False
        return answer.status_code, answer.status_code == 200 and answer.text == challenge

    def begin(self, http: httpx.AsyncClient, entries: Sequence[Item]) -> tuple[asyncio.Task[None], Item]:
        """Delivers in the background, until `webhooks` ends: the task and the webhook's record."""
        record = self._record(entries)
        task = asyncio.create_task(self._attempts(http, entries, record), name="sandbox webhook")
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)
        return task, record

    def forget(self) -> None:
        """Nothing of what happened so far is told any more."""
        for timer in self._timers:
            timer.cancel()
        for delivery in self._deliveries:
            delivery.cancel()
        self._due.clear()

    async def webhooks(self, http: httpx.AsyncClient) -> None:
        """Sends what became due, together what became due together, until cancelled."""
        try:
            while True:
                await self._something_is_due.wait()
                await asyncio.sleep(self.config.gathered_for.total_seconds())
                batch, self._due = self._due[:LARGEST_BATCH], self._due[LARGEST_BATCH:]
                if not self._due:
                    self._something_is_due.clear()
                if batch:
                    self.begin(http, self.entries(batch))
        finally:
            open_deliveries = list(self._deliveries)
            self.forget()
            await asyncio.gather(*open_deliveries, return_exceptions=True)

    def _later(self, after: timedelta, page: str, item: Item) -> None:
        loop = asyncio.get_running_loop()
        self._timers.append(loop.call_later(after.total_seconds(), self._is_due, page, item))

    def _is_due(self, page: str, item: Item) -> None:
        self._due.append((page, item))
        self._something_is_due.set()

    async def _attempts(self, http: httpx.AsyncClient, entries: Sequence[Item], record: Item) -> None:
        body, headers = self.signed(entries)
        for wait in (timedelta(0), *self.config.retry_waits):
            await asyncio.sleep(wait.total_seconds())
            if await self._post(http, body, headers, record) == 200:
                return

    async def _post(self, http: httpx.AsyncClient, body: bytes, headers: dict[str, str], record: Item) -> int | None:
        status: int | None = None
        with suppress(httpx.HTTPError, httpx.InvalidURL):
            status = (await http.post(self.config.hook_url, content=body, headers=headers)).status_code
        record["statuses"].append(status)
        return status

    def _record(self, entries: Sequence[Item], *, is_forged: bool = False) -> Item:
        record = {
            "vendor": "messenger", "at": self.config.now().isoformat(), "is_forged": is_forged,
            "pages": [entry["id"] for entry in entries],
            "items": [_kind(item) for entry in entries for item in entry.get("messaging", ())],
            "statuses": [],
        }  # fmt: skip
        self.state.webhooks.append(record)
        return record


def _kind(item: Item) -> str:
    if item.get("message", {}).get("is_echo"):
        return "echo"
    return next((kind for kind in ("message", "delivery", "read") if kind in item), "other")


def last_status(record: Item) -> int | None:
    """Of a webhook's attempts; None before the first, and where nobody answered."""
    return record["statuses"][-1] if record["statuses"] else None


def _token(request: Request) -> str:
    """The bearer token; one in the query, which the vendor would take as well, ends up in logs and is none here."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def _no_such_object(method: str) -> GraphError:
    text = f"Unsupported {method} request. Object with this ID does not exist or cannot be loaded"
    return GraphError(100, text, 33, "GraphMethodException")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
