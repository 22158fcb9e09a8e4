"""The Cloud API's endpoints for numbers and files, and the routes of whoever drives the customers.

Source: Meta for Developers, "WhatsApp Cloud API - Messages, Media", Graph API v25.0.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour, commands, graph_api
from services.sandbox.behaviour import Reception
from services.sandbox.commands import Misbehaviour, WrongCommand
from services.sandbox.graph_api import GraphError
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig, State
from services.sandbox.subscriptions import of_a_business_account
from services.sandbox.webhooks import Item, last_status
from services.sandbox.whatsapp import requests
from services.sandbox.whatsapp.app import App, Media
from services.sandbox.whatsapp.commands import NumberChange, Preference, WhatsAppMessage

# How long who asks waits for a webhook's end; its further attempts go on.
PATIENCE = 15.0
T = TypeVar("T", WhatsAppMessage, NumberChange, Preference)


def build(connections: Sequence[Connection], state: State) -> "WhatsApp":
    """One app for each account."""
    return WhatsApp(connections, state, SandboxConfig())


class WhatsApp:
    """The stand-in of all accounts; `config` gives the clock and the pace, the accounts their own secrets."""

    name = "whatsapp"

    def __init__(self, connections: Sequence[Connection], state: State, config: SandboxConfig) -> None:
        self.state = state
        self.apps = [App(connection, _own(config, connection), state) for connection in connections]
        self._app_of_token = {app.token: app for app in self.apps}
        self._apps_by_their_own_token = {app.subscriptions.token: app for app in self.apps}
        self._reception = Reception("whatsapp", config, state, self)
        self._http: httpx.AsyncClient | None = None

    def routes(self) -> list[Route]:
        at = self._reception.endpoint
        return [
            Route("/files/{key}", at("download", self.download)),
            Route("/{version}/{number}/messages", at("send", self.messages), methods=["POST"]),
            Route("/{version}/{number}/media", at("upload", self.upload), methods=["POST"]),
            Route("/{version}/{app}/subscriptions", at("subscriptions", self.subscribed)),
            Route(
                "/{version}/{business_account}/subscribed_apps",
                at("subscribed_apps", self.subscribed_apps),
                methods=["GET", "POST", "DELETE"],
            ),
            Route("/{version}/{media}", at("media", self.media)),
            Route("/{path:path}", at("unknown", self.unknown), methods=behaviour.METHODS),
        ]

    def control(self) -> list[Route]:
        """Small routes below `/control/whatsapp`; a command that cannot be read or does not fit gets a 400."""
        return [
            Route("/messages", self._told(WhatsAppMessage, App.written), methods=["POST"]),
            Route("/number-changes", self._told(NumberChange, App.changed), methods=["POST"]),
            Route("/preferences", self._told(Preference, App.preferred), methods=["POST"]),
            Route("/forged", self._told(WhatsAppMessage, App.written, is_forged=True), methods=["POST"]),
            Route("/verification", self.verification, methods=["POST"]),
            Route("/sent", self.sent),
        ]

    @asynccontextmanager
    async def running(self, http: httpx.AsyncClient) -> AsyncIterator[None]:
        """Sends webhooks until left."""
        self._http = http
        tasks = [asyncio.create_task(app.webhooks(http), name="sandbox whatsapp") for app in self.apps]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def forget(self) -> None:
        for app in self.apps:
            app.forget()

    # what our side calls

    async def messages(self, request: Request, number: str) -> Response:
        """Takes a message; whether it arrives is told later."""
        app = self._app(request, number)
        wanted = requests.message(request.headers.get("content-type", ""), await request.body())
        media = app.media.get(str(wanted.content.get("id")))
        if "id" in wanted.content and (media is None or media.number != number):
            raise GraphError(100, "Invalid parameter", details="Media ID is not valid")
        fails = self._reception.take(number, "send", commands.FAIL_LATER)
        is_told = self._reception.take(number, "send", commands.NO_ECHO) is None
        id_ = app.accept(number, wanted, fails_with=fails.code if fails else None, is_told=is_told)
        if self._reception.take(number, "send", commands.DROP_AFTER_ACCEPT) is not None:
            return behaviour.Dropped()
        contact = {"input": wanted.phone, "wa_id": wanted.phone} if wanted.phone else {"user_id": wanted.user_id}
        return JSONResponse({"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": id_}]})

    async def upload(self, request: Request, number: str) -> Response:
        """Takes a file, for a message that names its id."""
        app = self._app(request, number)
        file = requests.upload(request.headers.get("content-type", ""), await request.body())
        return JSONResponse({"id": app.keep_media(Media(number, file.name, file.media_type, file.content))})

    async def subscribed(self, request: Request, _target: str) -> Response:
        return self._apps_by_their_own_token[graph_api.token_of(request)].subscriptions.of_app(request)

    async def subscribed_apps(self, request: Request, _target: str) -> Response:
        """Whether a business account sends to the app: what is its owner's to say, as it is the token's."""
        app, id_ = self._app_of_token[graph_api.token_of(request)], request.path_params["business_account"]
        if id_ not in app.business_accounts:
            raise graph_api.no_such_object(request.method.lower())
        return app.subscriptions.of_sender(request, id_, of_a_business_account)

    async def media(self, request: Request, _target: str) -> Response:
        """Where a file is for the next five minutes, none of another number's; or how a number is doing."""
        app, id_ = self._app_of_token[graph_api.token_of(request)], request.path_params["media"]
        if id_ in app.numbers:
            return JSONResponse(_number(id_))
        media = app.media.get(id_)
        if media is None or request.query_params.get("phone_number_id", media.number) != media.number:
            raise graph_api.no_such_object("get")
        sha256 = hashlib.sha256(media.content).hexdigest()
        return JSONResponse(
            {
                "messaging_product": "whatsapp", "url": app.address_of(id_), "mime_type": media.media_type,
                "sha256": sha256, "file_size": len(media.content), "id": id_,
            }
        )  # fmt: skip

    async def download(self, request: Request, _target: str) -> Response:
        """The bytes, to whoever has both the address and the token."""
        media = self._app_of_token[graph_api.token_of(request)].media_at(request.path_params["key"])
        if media is None:
            return Response("The address is over", 404, media_type="text/plain")
        return Response(media.content, media_type=media.media_type)

    async def unknown(self, request: Request, _target: str) -> Response:
        raise graph_api.unknown_path(request)

    def target(self, request: Request) -> str:
        """The number that is meant."""
        return str(request.path_params.get("number") or request.query_params.get("phone_number_id", ""))

    def check_caller(self, request: Request, _target: str) -> None:
        known = self._apps_by_their_own_token if "app" in request.path_params else self._app_of_token
        if graph_api.token_of(request) not in known:
            raise graph_api.bad_token()
        graph_api.check_version(request)

    def failure(self, wanted: Misbehaviour) -> Response | None:
        return graph_api.failure(wanted)

    def _app(self, request: Request, number: str) -> App:
        app = self._app_of_token[graph_api.token_of(request)]
        if number not in app.numbers:
            raise graph_api.no_such_object("post")
        return app

    # what customers do

    def _told(
        self, kind: type[T], happens: Callable[[App, T], Item], *, is_forged: bool = False
    ) -> Callable[[Request], Awaitable[Response]]:
        """One command, or a list that goes out as one webhook; 502 where that was not answered 200."""

        async def endpoint(request: Request) -> Response:
            try:
                wanted = _read(await request.body(), kind)
                app = self._owner(command.number for command in wanted)
                items = [(command.number, happens(app, command)) for command in wanted]
            except (msgspec.DecodeError, WrongCommand) as error:
                return JSONResponse({"message": str(error)}, 400)
            ids = [item["messages"]["id"] for _, item in items if "messages" in item]
            if is_forged:
                return JSONResponse({"webhook_status": await app.forge(self._client, app.entries(items)), "ids": ids})
            for command in wanted:
                if isinstance(command, WhatsAppMessage):
                    app.heard(command)
            delivery, record = app.begin(self._client, app.entries(items))
            await asyncio.wait({delivery}, timeout=PATIENCE)
            status = last_status(record)
            return JSONResponse({"webhook_status": status, "ids": ids}, 200 if status == 200 else 502)

        return endpoint

    async def verification(self, request: Request) -> Response:
        """The handshake of every app, with its own token or the one that is given."""
        given = msgspec.json.decode(await request.body() or b"{}", type=dict[str, str]).get("token")
        found = []
        for app in self.apps:
            status, is_verified = await app.verify(self._client, app.config.verify_token if given is None else given)
            found.append({"status": status, "is_verified": is_verified})
        return JSONResponse(found)

    async def sent(self, _request: Request) -> Response:
        return JSONResponse(list(self.state.sent["whatsapp"]))

    def _owner(self, numbers: Iterable[str]) -> App:
        """The app that all the numbers belong to. Raises WrongCommand."""
        wanted = set(numbers)
        found = next((app for app in self.apps if wanted and wanted <= app.numbers), None)
        if found is None:
            raise WrongCommand(f"no account has the numbers {', '.join(sorted(wanted))}")
        return found

    @property
    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            raise RuntimeError("the stand-in does not run")
        return self._http


def _own(config: SandboxConfig, connection: Connection) -> SandboxConfig:
    """The account's own secrets and address, at the sandbox's clock and pace."""
    return replace(
        config,
        app_secret=connection.secrets["app_secret"][0],
        verify_token=connection.secrets["verify_token"][0],
        hook_url=connection.hook_url,
    )


def _number(id_: str) -> Item:
    return {
        "id": id_, "display_phone_number": f"+{id_}", "verified_name": "Dragoman", "quality_rating": "GREEN",
    }  # fmt: skip


def _read(body: bytes, kind: type[T]) -> list[T]:
    """One command or several. Raises msgspec.DecodeError."""
    if body.lstrip().startswith(b"["):
        return msgspec.json.decode(body, type=list[kind])  # type: ignore[valid-type]
    return [msgspec.json.decode(body, type=kind)]
