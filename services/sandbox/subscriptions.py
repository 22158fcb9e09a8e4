"""Which webhooks an app of Meta's has: its own subscription, and what each page or business account sends to it.

Source: Meta for Developers, "App Subscriptions", "Page Subscribed Apps"; Meta's OpenAPI of the WhatsApp Business
Platform, `subscribed_apps`; Graph API v25.0.
"""

from collections.abc import Callable, Iterable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.sandbox import graph_api
from services.sandbox.graph_api import GraphError
from services.sandbox.webhooks import Item

# How an app is shown that a page or a business account sends to, with the fields it sends.
Shown = Callable[[str, list[str]], Item]


class Subscriptions:
    """One app's, to one product; whoever sends to it does so from the beginning, until it is told otherwise."""

    def __init__(
        self, *, product: str, app_id: str, app_secret: str, hook_url: str, fields: list[str], senders: Iterable[str]
    ) -> None:
        self.app_id = app_id
        self.token = f"{app_id}|{app_secret}"
        self._subscription: Item = {
            "object": product, "callback_url": hook_url, "active": True,
            "fields": [{"name": name, "version": "v25.0"} for name in fields],
        }  # fmt: skip
        self._beginning = dict.fromkeys(senders, fields)
        self.senders = dict(self._beginning)

    def forget(self) -> None:
        self.senders = dict(self._beginning)

    def of_app(self, request: Request) -> Response:
        """The app's own, to whoever has its app access token."""
        if request.path_params["app"] != self.app_id:
            raise graph_api.no_such_object("get")
        return JSONResponse({"data": [self._subscription]})

    def of_sender(self, request: Request, sender: str, shown: Shown) -> Response:
        """What a page or a business account sends: read, begun or ended."""
        if request.method == "GET":
            fields = self.senders.get(sender)
            return JSONResponse({"data": [] if fields is None else [shown(self.app_id, fields)]})
        if request.method == "DELETE":
            self.senders.pop(sender, None)
        else:
            self.senders[sender] = self._wanted(request)
        return JSONResponse({"success": True})

    def _wanted(self, request: Request) -> list[str]:
        known = [field["name"] for field in self._subscription["fields"]]
        if self._subscription["object"] != "page":
            return known
        wanted = request.query_params.get("subscribed_fields", "")
        if not wanted:
            raise GraphError(100, "The parameter subscribed_fields is required.")
        return wanted.split(",")


def of_a_page(app_id: str, fields: list[str]) -> Item:
    return {"id": app_id, "name": "Dragoman", "category": "Business", "subscribed_fields": fields}


def of_a_business_account(app_id: str, _fields: list[str]) -> Item:
    link = f"https://www.facebook.com/games/?app_id={app_id}"
    return {"whatsapp_business_api_data": {"id": app_id, "link": link, "name": "Dragoman"}}
