"""A stand-in of Meta's Graph API for Messenger: checks our requests as strictly, sends webhooks as it does.

Source: Meta for Developers, "Send API", "User profile", "Webhooks" and "Error codes", Graph API v25.0.
"""

from collections.abc import Sequence
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour, commands, graph_api, send_api
from services.sandbox.behaviour import Reception
from services.sandbox.commands import MessengerMessage, Misbehaviour
from services.sandbox.graph_api import GraphError
from services.sandbox.state import SandboxConfig, State, keep
from services.sandbox.subscriptions import Subscriptions, of_a_page
from services.sandbox.webhooks import Item, Webhooks
from shared.ids import new_id

# What the app's owner subscribed to.
FIELDS = ["messages", "message_echoes", "message_deliveries", "message_reads", "messaging_postbacks"]
PAGE_FIELDS = {"id", "name"}
PROFILE_FIELDS = {"id", "name", "first_name", "last_name", "profile_pic"}


class Graph(Webhooks):
    """The Send API and the profile of a user; `webhooks` runs beside it and sends what became due."""

    vendor = "messenger"
    product = "page"

    def __init__(self, config: SandboxConfig, state: State) -> None:
        super().__init__(config, state)
        self._page_of_token = {token: page for page, token in config.pages.items()}
        self._reception = Reception("messenger", config, state, self)
        self.subscriptions = Subscriptions(
            product=self.product,
            app_id=config.app_id,
            app_secret=config.app_secret,
            hook_url=config.hook_url,
            fields=FIELDS,
            senders=config.pages,
        )

    def routes(self) -> list[Route]:
        return [
            Route("/{version}/{page}/messages", self._reception.endpoint("send", self.messages), methods=["POST"]),
            Route("/{version}/{app}/subscriptions", self._reception.endpoint("subscriptions", self.subscribed)),
            Route(
                "/{version}/{page}/subscribed_apps",
                self._reception.endpoint("subscribed_apps", self.subscribed_apps),
                methods=["GET", "POST", "DELETE"],
            ),
            Route("/{version}/me", self._reception.endpoint("page", self.page)),
            Route("/{version}/{psid}", self._reception.endpoint("profile", self.profile)),
            Route("/{path:path}", self._reception.endpoint("unknown", self.unknown), methods=behaviour.METHODS),
        ]

    # what our side calls

    async def messages(self, request: Request, page: str) -> Response:
        """The Send API."""
        if self._page_of_token[graph_api.token_of(request)] != page:
            raise graph_api.no_such_object("post")
        wanted = send_api.read(request.headers.get("content-type", ""), await request.body())
        last_action = self.state.last_action.get((page, wanted.psid))
        human_agent = page in self.config.human_agent_pages
        send_api.check_window(wanted, last_action, self.config.now(), human_agent=human_agent)
        mid = self._accept(page, wanted)
        if self._reception.take(page, "send", commands.DROP_AFTER_ACCEPT) is not None:
            return behaviour.Dropped()
        return JSONResponse({"recipient_id": wanted.psid, "message_id": mid})

    async def page(self, request: Request, page: str) -> Response:
        """The page that the token is of."""
        fields = request.query_params.get("fields", "id,name").split(",")
        for field in fields:
            if field not in PAGE_FIELDS:
                raise GraphError(100, f"Tried accessing nonexisting field ({field})")
        known = {"id": page, "name": f"Page {page}"}
        return JSONResponse({name: value for name, value in known.items() if name in {*fields, "id"}})

    async def subscribed(self, request: Request, _page: str) -> Response:
        return self.subscriptions.of_app(request)

    async def subscribed_apps(self, request: Request, page: str) -> Response:
        if self._page_of_token[graph_api.token_of(request)] != page:
            raise graph_api.no_such_object(request.method.lower())
        return self.subscriptions.of_sender(request, page, of_a_page)

    async def profile(self, request: Request, page: str) -> Response:
        """What the page may know of a user who wrote to it; a field without a value is left out."""
        psid = request.path_params["psid"]
        if (page, psid) not in self.state.last_action:
            raise graph_api.no_such_object("get")
        first, _, last = self.state.names.get((page, psid), "").partition(" ")
        known = {"id": psid, "first_name": first, "last_name": last, "name": f"{first} {last}".strip()}
        fields = request.query_params.get("fields", "first_name,last_name,profile_pic,id").split(",")
        for field in fields:
            if field not in PROFILE_FIELDS:
                raise GraphError(100, f"Tried accessing nonexisting field ({field})")
        return JSONResponse({name: value for name, value in known.items() if name in {*fields, "id"} and value})

    async def unknown(self, request: Request, _page: str) -> Response:
        raise graph_api.unknown_path(request)

    def target(self, request: Request) -> str:
        """The page of the path; where that is no page, the one whose token came."""
        named = str(request.path_params.get("page", "me"))
        return self._page_of_token.get(graph_api.token_of(request), named) if named == "me" else named

    def check_caller(self, request: Request, _page: str) -> None:
        """An app's own subscriptions are its own token's, everything else a page's."""
        known = {self.subscriptions.token} if "app" in request.path_params else self._page_of_token
        if graph_api.token_of(request) not in known:
            raise graph_api.bad_token()
        graph_api.check_version(request)

    def forget(self) -> None:
        super().forget()
        self.subscriptions.forget()

    def failure(self, wanted: Misbehaviour) -> Response | None:
        return graph_api.failure(wanted)

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
            self.later(self.config.echo_after, page, self._echo(page, wanted, mid, stamp))
        delivery = {"delivery": {"mids": [mid], "watermark": stamp}}
        self.later(self.config.delivered_after, page, from_user | delivery)
        self.later(self.config.read_after, page, from_user | {"read": {"watermark": stamp}})
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

    def described(self, entries: Sequence[Item]) -> Item:
        items = [_kind(item) for entry in entries for item in entry.get("messaging", ())]
        return {"pages": [entry["id"] for entry in entries], "items": items}


def _kind(item: Item) -> str:
    if item.get("message", {}).get("is_echo"):
        return "echo"
    return next((kind for kind in ("message", "delivery", "read") if kind in item), "other")


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
