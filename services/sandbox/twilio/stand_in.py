"""The stand-in itself: takes our calls as strictly as the vendor, writes as its customers, tells what becomes of them.

Source: Twilio, "Messages resource", "Outbound message status", "Opt-out keywords", "WhatsApp", API version 2010-04-01.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from services.sandbox import behaviour, commands
from services.sandbox.behaviour import Reception
from services.sandbox.commands import Misbehaviour, WrongCommand
from services.sandbox.stand_in import Connection
from services.sandbox.state import KEPT, SandboxConfig, State, keep
from services.sandbox.twilio import control, messages
from services.sandbox.twilio.commands import CustomerMessage, Fate
from services.sandbox.twilio.forms import START, STOP, of_sms, of_whatsapp
from services.sandbox.twilio.messages import WHATSAPP, Message
from services.sandbox.twilio.numbers import Known, Number, callers_of, numbers_of
from services.sandbox.twilio.resources import account_shown, numbers_shown
from services.sandbox.twilio.webhooks import Webhooks
from services.sandbox.twilio.wire import VERSION, TwilioError, basic
from shared.ids import new_id

NAME = "twilio"
WINDOW = timedelta(hours=24)
STOPPED = "You have been unsubscribed and get no more messages from this number. Reply START to resubscribe."
STARTED = "You have been subscribed to messages from this number again. Reply STOP to unsubscribe."
# Between two statuses.
PACE = 0.02
PAGE_SIZE = 50
LIST_FIELDS = {"To", "From", "DateSent", "DateSent<", "DateSent>", "PageSize", "Page", "PageToken"}


class Twilio:
    """Messages of the accounts that were configured."""

    name = NAME

    def __init__(self, connections: Sequence[Connection], state: State) -> None:
        self.numbers = {n.address: n for c in connections for n in numbers_of(c)}
        self.known = Known()
        self._state = state
        self._config = SandboxConfig()
        self._sent = state.sent.setdefault(NAME, deque(maxlen=KEPT))
        self._callers = {caller: sid for c in connections for caller, sid in callers_of(c)}
        self._reception = Reception("twilio", self._config, state, self)
        self.webhooks = Webhooks(state.webhooks)

    def routes(self) -> Sequence[Route]:
        account = f"/{VERSION}/Accounts/{{account}}"
        received = self._reception.endpoint
        return [
            Route(f"{account}.json", received("account", self.account)),
            Route(f"{account}/IncomingPhoneNumbers.json", received("numbers", self.phone_numbers)),
            Route(f"{account}/Messages.json", received("send", self.create), methods=["POST"]),
            Route(f"{account}/Messages.json", received("list", self.find)),
            Route(f"{account}/Messages/{{sid}}/Media/{{file}}", received("media", self.media)),
            Route(f"{account}/Messages/{{sid}}.json", received("message", self.show)),
            # Another host's at the vendor, where whoever has the address may read.
            Route("/stored/{file}", self.stored),
            Route("/{path:path}", received("unknown", self.unknown), methods=behaviour.METHODS),
        ]

    def control(self) -> Sequence[Route]:
        return control.routes(self)

    @asynccontextmanager
    async def running(self, http: httpx.AsyncClient) -> AsyncIterator[None]:
        self.webhooks.open(http)
        try:
            yield
        finally:
            await self.webhooks.close()

    def forget(self) -> None:
        self.webhooks.forget()
        self.known.clear()

    # what our side calls

    async def create(self, request: Request, account: str) -> Response:
        wanted = messages.read(request.headers.get("content-type", ""), await request.body())
        number = self._sender(wanted, account)
        pair = (number.address, wanted.to)
        if pair in self.known.stopped:
            raise TwilioError(21610, "Attempt to send to unsubscribed recipient")
        message = Message(
            sid=_sid("MM" if wanted.media else "SM"),
            account_sid=account,
            to=wanted.to,
            sender=number.address,
            body=wanted.body,
            direction="outbound-api",
            status="accepted" if wanted.service else "queued",
            at=self._config.now(),
            media=wanted.media,
            service=wanted.service,
            callback=wanted.callback,
        )
        self.known.messages.append(message)
        is_silent = self._reception.take(account, "send", commands.NO_ECHO) is not None
        self.webhooks.begin(self._carry(message, number, is_silent=is_silent), f"message {message.sid}")
        if self._reception.take(account, "send", commands.DROP_AFTER_ACCEPT) is not None:
            return behaviour.Dropped()
        return JSONResponse(message.shown(), 201)

    async def find(self, request: Request, account: str) -> Response:
        """Newest first, page by page."""
        query = dict(request.query_params)
        if set(query) - LIST_FIELDS:
            raise TwilioError(20001, f"Unknown parameter: {min(set(query) - LIST_FIELDS)}")
        found = [
            m for m in reversed(self.known.messages)
            if m.account_sid == account and query.get("To", m.to) == m.to and query.get("From", m.sender) == m.sender
        ]  # fmt: skip
        size, page = int(query.get("PageSize", PAGE_SIZE)), int(query.get("Page", 0))
        path = f"/{VERSION}/Accounts/{account}/Messages.json"

        def uri(number: int) -> str:
            return f"{path}?{urlencode(query | {'PageSize': size, 'Page': number})}"

        return JSONResponse(
            {
                "end": min((page + 1) * size, len(found)) - 1,
                "first_page_uri": uri(0),
                "next_page_uri": uri(page + 1) if (page + 1) * size < len(found) else None,
                "page": page,
                "page_size": size,
                "previous_page_uri": uri(page - 1) if page else None,
                "start": page * size,
                "uri": uri(page),
                "messages": [m.shown() for m in found[page * size : (page + 1) * size]],
            }
        )

    async def show(self, request: Request, account: str) -> Response:
        for message in self.known.messages:
            if (message.account_sid, message.sid) == (account, request.path_params["sid"]):
                return JSONResponse(message.shown())
        raise _not_found(request)

    async def media(self, request: Request, account: str) -> Response:
        file = request.path_params["file"]
        if file not in self.known.files:
            raise _not_found(request)
        return RedirectResponse(f"{self._base(account)}/stored/{file}", 307)

    async def account(self, request: Request, account: str) -> Response:
        """To the account itself and its main keys; a key of the standard kind may not ask."""
        sid, token = basic(request.headers.get("authorization", ""))
        if sid != account:
            raise TwilioError(20003, "Authenticate")
        return JSONResponse(account_shown(account, token, self._config.now()))

    async def phone_numbers(self, request: Request, account: str) -> Response:
        own = [n for n in self.numbers.values() if n.account_sid == account and not n.address.startswith(WHATSAPP)]
        found = {n.address: {"sms_url": n.hook} for n in own}
        return JSONResponse(numbers_shown(account, found, dict(request.query_params), self._config.now()))

    async def stored(self, request: Request) -> Response:
        media_type, content = self.known.files.get(request.path_params["file"], ("", b""))
        return Response(content, 200, media_type=media_type) if media_type else Response(status_code=404)

    async def unknown(self, request: Request, _account: str) -> Response:
        raise _not_found(request)

    def target(self, request: Request) -> str:
        return str(request.path_params.get("account", ""))

    def check_caller(self, request: Request, target: str) -> None:
        sid = self._callers.get(basic(request.headers.get("authorization", "")))
        if sid is None:
            raise TwilioError(20003, "Authenticate")
        if target and target != sid:
            raise _not_found(request)

    def failure(self, wanted: Misbehaviour) -> Response | None:
        code = {"429": 20429, "500": 20500, "503": 20503, "error": wanted.code}.get(wanted.mode)
        if code is None:
            return None
        error = TwilioError(code, wanted.text)
        return JSONResponse(error.body(), error.status, behaviour.retry_after(wanted))

    # what the vendor does

    async def _carry(self, message: Message, number: Number, *, is_silent: bool) -> None:
        """Moves the message on, and tells each status where its sender wanted to know it."""
        files = await self._fetched(message)
        status, code = self._fate(message, all(files))
        self._sent.append(
            {
                "id": message.sid, "to": message.to, "from": message.sender, "text": message.body or None,
                "files": [f for f in files if f], "callback": message.callback or None, "status": status,
                "segments": messages.segments(message.body), "at": message.at.isoformat(),
            }
        )  # fmt: skip
        for step in _steps(message.to.startswith(WHATSAPP), status):
            await asyncio.sleep(PACE)
            message.status, message.error_code = step, code if step == status else None
            message.sent_at = message.sent_at or self._config.now()
            message.history.append(step)
            if not is_silent:
                self.tell(message, number, step)

    def tell(self, message: Message, number: Number, status: str) -> None:
        """One status, as a request of its own: nothing keeps the order of several."""
        if not message.callback:
            return
        fields = {
            "AccountSid": message.account_sid, "ApiVersion": VERSION, "From": message.sender, "To": message.to,
            "MessageSid": message.sid, "SmsSid": message.sid, "MessageStatus": status, "SmsStatus": status,
        }  # fmt: skip
        if message.service:
            fields["MessagingServiceSid"] = message.service
        if message.to.startswith(WHATSAPP):
            fields |= {
                "ChannelPrefix": "whatsapp",
                "ChannelToAddress": message.to.removeprefix(WHATSAPP)[:-5] + "XXXXX",
            }
        if message.error_code is not None and status in ("failed", "undelivered"):
            fields["ErrorCode"] = str(message.error_code)
        record = self.webhooks.record("status", fields, self._config.now())
        sending = self.webhooks.post(message.callback, fields, number.token, record, without_port=True)
        self.webhooks.begin(sending, f"status {message.sid}")

    def tells_again(self, sid: str) -> None:
        """Every status of the message, the oldest last. Raises WrongCommand where there is none."""
        for message in self.known.messages:
            if message.sid == sid and message.history:
                for status in reversed(message.history):
                    self.tell(message, self.numbers[message.sender], status)
                return
        raise WrongCommand(f"there is no message {sid} that had a status")

    def sent(self) -> list[dict[str, Any]]:
        """What the vendor carried, its own answers included, in order."""
        return [*self._sent]

    async def customer_writes(self, wanted: CustomerMessage, *, is_forged: bool = False) -> dict[str, Any]:
        """The webhook's record, once it was tried. Raises WrongCommand for a number that is nobody's."""
        prefix = WHATSAPP if wanted.by == "whatsapp" else ""
        number = self.numbers.get(prefix + wanted.to)
        if number is None:
            raise WrongCommand(f"there is no number {wanted.to} for {wanted.by}")
        fields = self._form(wanted, number, prefix)
        if not is_forged:
            self._heard(wanted, number, fields)
        record = self.webhooks.record("message", fields, self._config.now(), is_forged=is_forged)
        token = "not the token" if is_forged else number.token
        task = self.webhooks.begin(
            self.webhooks.post(number.hook, fields, token, record), f"webhook {fields['MessageSid']}"
        )
        await asyncio.wait({task}, timeout=self._config.webhook_timeout.total_seconds())
        return record

    def _form(self, wanted: CustomerMessage, number: Number, prefix: str) -> dict[str, str]:
        sid = wanted.sid or _sid("MM" if wanted.files else "SM")
        fields = {
            "MessageSid": sid, "SmsSid": sid, "SmsMessageSid": sid, "AccountSid": number.account_sid,
            "ApiVersion": VERSION, "From": prefix + wanted.sender, "To": number.address, "Body": wanted.text,
            "NumMedia": str(len(wanted.files)), "NumSegments": "1" if prefix else str(messages.segments(wanted.text)),
            "SmsStatus": "received",
        }  # fmt: skip
        for n, file in enumerate(wanted.files):
            name = f"ME{new_id().hex}"
            keep(self.known.files, name, (file.media_type, file.content))
            fields[f"MediaUrl{n}"] = (
                f"{self._base(number.account_sid)}/{VERSION}/Accounts/{number.account_sid}/Messages/{sid}/Media/{name}"
            )
            fields[f"MediaContentType{n}"] = file.media_type
        return fields | (of_whatsapp(wanted) if prefix else of_sms(wanted, number)) | wanted.fields

    def _heard(self, wanted: CustomerMessage, number: Number, fields: Mapping[str, str]) -> None:
        """The window opens, a STOP blocks and a START frees; the vendor answers both by itself."""
        at, pair = self._config.now(), (number.address, fields["From"])
        keep(self.known.heard, pair, at)
        self.known.messages.append(
            Message(
                fields["MessageSid"],
                number.account_sid,
                number.address,
                fields["From"],
                wanted.text,
                "inbound",
                "received",
                at,
            )
        )
        word = wanted.text.strip().upper()
        if wanted.by == "whatsapp" or word not in STOP | START:
            return
        was_stopped = pair in self.known.stopped
        (self.known.stopped.add if word in STOP else self.known.stopped.discard)(pair)
        if word in STOP or was_stopped:
            self._sent.append(
                {"id": _sid("SM"), "to": pair[1], "from": pair[0], "text": STOPPED if word in STOP else STARTED,
                 "auto": True, "at": at.isoformat()}
            )  # fmt: skip

    def _sender(self, wanted: messages.Wanted, account: str) -> Number:
        """Raises TwilioError where the account has no such number."""
        own = [n for n in self.numbers.values() if n.account_sid == account]
        if wanted.service and wanted.service not in {n.service for n in own}:
            raise TwilioError(21705, "The Messaging Service SID is invalid.")
        fitting = [n for n in own if n.address == wanted.sender or (not wanted.sender and n.service == wanted.service)]
        if fitting:
            return fitting[0]
        if wanted.is_whatsapp:
            raise TwilioError(63007, "Twilio could not find a Channel with the specified From address")
        raise TwilioError(
            21606, f"The 'From' phone number {wanted.sender} is not a valid, message-capable Twilio number"
        )

    async def _fetched(self, message: Message) -> Sequence[dict[str, Any] | None]:
        """What the vendor got from each address; None where that was no file."""
        found: list[dict[str, Any] | None] = []
        for url in message.media:
            try:
                answer = await self.webhooks.http.get(url)
            except (httpx.HTTPError, httpx.InvalidURL):
                found.append(None)
                continue
            told = {
                "url": url, "size": len(answer.content), "sha256": hashlib.sha256(answer.content).hexdigest(),
                "media_type": answer.headers.get("content-type", ""),
            }  # fmt: skip
            found.append(told if answer.status_code == 200 else None)
        return found

    def _fate(self, message: Message, has_files: bool) -> tuple[str, int | None]:
        """The last status, and the code of a failure."""
        for fate in self.known.fates:
            wanted: Fate = fate[0]
            if wanted.to in (None, message.to.removeprefix(WHATSAPP)):
                fate[1] -= 1
                if not fate[1]:
                    self.known.fates.remove(fate)
                return wanted.status, wanted.code
        if not has_files:
            return "failed", 63019 if message.to.startswith(WHATSAPP) else 30008
        if not message.to.startswith(WHATSAPP):
            return "delivered", None
        last = self.known.heard.get((message.sender, message.to))
        is_open = last is not None and self._config.now() < last + WINDOW
        return ("read", None) if is_open else ("failed", 63016)

    def _base(self, account: str) -> str:
        """Where the account's owner reaches us."""
        of = next(n.connection for n in self.numbers.values() if n.account_sid == account)
        return str(of.settings.get("api_url", "")).rstrip("/")


def _steps(is_whatsapp: bool, status: str) -> Sequence[str]:
    """The statuses that are told, in order; what never left has no other."""
    if status == "failed":
        return ["failed"]
    way = ["sent", "delivered", "read"] if is_whatsapp else ["sent", "delivered"]
    return ["sent", "undelivered"] if status == "undelivered" else way[: way.index(status) + 1]


def _sid(kind: str) -> str:
    return f"{kind}{new_id().hex}"


def _not_found(request: Request) -> TwilioError:
    return TwilioError(20404, f"The requested resource {request.url.path} was not found")
