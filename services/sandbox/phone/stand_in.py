"""The Calls API and the webhooks of Twilio Voice.

Source: Twilio, "REST API: Call resource", "Call status callbacks", "Webhooks security", API version 2010-04-01.
"""

import asyncio
import base64
import re
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from twilio.request_validator import RequestValidator

from services.sandbox.behaviour import METHODS, Dropped, Reception, Refusal, retry_after
from services.sandbox.commands import DROP_AFTER_ACCEPT, Misbehaviour
from services.sandbox.phone.telephones import Call, Ring, Telephone
from services.sandbox.phone.twiml import Line, Wrong, carry_out
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig, State, keep
from services.sandbox.twilio.resources import account_shown, numbers_shown

E164 = re.compile(r"\+[1-9][0-9]{6,14}")
PARAMETERS = frozenset({
    "To", "From", "Url", "Method", "StatusCallback", "StatusCallbackMethod", "StatusCallbackEvent", "Timeout",
})  # fmt: skip
EVENTS = {"initiated", "ringing", "answered", "completed"}
# Which event a status is told as.
EVENT_OF = {"initiated": "initiated", "ringing": "ringing", "in-progress": "answered"}
# As long as a test that cuts it off may need.
WEBHOOK_WITHIN = 15.0


class CallError(Refusal):
    """The vendor's error document."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.verdict = f"refused: {code}"

    def body(self) -> dict[str, Any]:
        more = f"https://www.twilio.com/docs/errors/{self.code}"
        return {"code": self.code, "message": self.message, "more_info": more, "status": self.status}


class Phone:
    """One vendor with the accounts of all connections; a telephone that nobody described answers and presses 1."""

    name = "phone"

    def __init__(self, connections: Sequence[Connection], state: State) -> None:
        self._accounts = {str(c.settings.get("account_sid")): c for c in connections}
        self._config = SandboxConfig()
        self._reception = Reception("phone", self._config, state, self)
        self._telephones: dict[str, Telephone] = {}
        self._calls: dict[str, tuple[str, Call]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._late: dict[str, list[tuple[str, dict[str, str]]]] = {}
        self._http: httpx.AsyncClient | None = None

    def routes(self) -> Sequence[Route]:
        at, meet = "/2010-04-01/Accounts/{account}", self._reception.endpoint
        return [
            Route(f"{at}.json", meet("account", self._account)),
            Route(f"{at}/IncomingPhoneNumbers.json", meet("numbers", self._numbers)),
            Route(f"{at}/Calls.json", meet("create", self._create), methods=["POST"]),
            Route(f"{at}/Calls.json", meet("list", self._list)),
            Route(f"{at}/Calls/{{sid}}.json", meet("update", self._update), methods=["POST"]),
            Route(f"{at}/Calls/{{sid}}.json", meet("fetch", self._fetch)),
            Route("/{path:path}", meet("unknown", self._unknown), methods=METHODS),
        ]

    def control(self) -> Sequence[Route]:
        return [
            Route("/telephones", self._behave, methods=["POST"]),
            Route("/rings", self._ring, methods=["POST"]),
            Route("/calls", self._shown),
        ]

    @asynccontextmanager
    async def running(self, http: httpx.AsyncClient) -> AsyncIterator[None]:
        self._http = http
        try:
            yield
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    def forget(self) -> None:
        for _, call in self._calls.values():
            call.cut.set()
        self._telephones.clear()
        self._calls.clear()

    # around every request

    def target(self, request: Request) -> str:
        return str(request.path_params.get("account", ""))

    def check_caller(self, request: Request, target: str) -> None:
        account = self._accounts.get(target)
        tokens = account.secrets.get("auth_token", ()) if account else ()
        wanted = {"Basic " + base64.b64encode(f"{target}:{token}".encode()).decode() for token in tokens}
        if request.headers.get("authorization") not in wanted:
            raise CallError(401, 20003, "Authenticate")

    def failure(self, wanted: Misbehaviour) -> Response | None:
        if wanted.mode == "error":
            raise CallError(400, wanted.code or 20001, wanted.text)
        if wanted.mode not in ("429", "500", "503"):
            return None
        status = int(wanted.mode)
        code = {429: 20429, 500: 20500, 503: 20503}[status]
        return JSONResponse(CallError(status, code, wanted.text).body(), status, retry_after(wanted))

    # the API

    async def _create(self, request: Request, target: str) -> Response:
        form = await _form(request)
        self._check(form, self._accounts[target])
        call = self._begin(target, form["To"][0], form["From"][0], "outbound-api")
        self._go(self._agent(call, form))
        if self._reception.take(target, "create", DROP_AFTER_ACCEPT) is not None:
            return Dropped()
        return JSONResponse(call.resource(target), 201)

    def _check(self, form: Mapping[str, list[str]], account: Connection) -> None:
        """Raises CallError for what the vendor would not take."""
        if unknown := form.keys() - PARAMETERS:
            raise CallError(400, 20001, f"unknown parameters: {', '.join(sorted(unknown))}")
        for name, code in (("To", 21201), ("From", 21213), ("Url", 21205)):
            if len(form.get(name, ())) != 1:
                raise CallError(400, code, f"{name} is needed, once")
        if not E164.fullmatch(form["To"][0]):
            raise CallError(400, 21211, "To is no number")
        if form["From"][0] not in account.inboxes:
            raise CallError(400, 21210, "From is no number of the account")
        for name, code in (("Url", 21205), ("StatusCallback", 21609)):
            for url in form.get(name, ()):
                parts = urlsplit(url)
                if parts.scheme not in ("http", "https") or not parts.hostname or "_" in parts.hostname:
                    raise CallError(400, code, f"{name} is no address")
        if not set(form.get("StatusCallbackEvent", ())) <= EVENTS:
            raise CallError(400, 21626, "no such event")
        if not form.get("Timeout", ["60"])[0].isdigit():
            raise CallError(400, 20001, "Timeout is a number")

    async def _list(self, request: Request, target: str) -> Response:
        query = request.query_params
        if unknown := set(query) - {"To", "From", "ParentCallSid", "PageSize", "Status"}:
            raise CallError(400, 20001, f"unknown parameters: {', '.join(sorted(unknown))}")
        found = [
            call
            for account, call in reversed(self._calls.values())
            if account == target
            and query.get("To", call.to) == call.to
            and query.get("From", call.from_) == call.from_
            and query.get("ParentCallSid", call.parent) == call.parent
        ]
        page = found[: int(query.get("PageSize", "50"))]
        return JSONResponse({"calls": [call.resource(target) for call in page], "page": 0, "page_size": len(page)})

    async def _fetch(self, request: Request, target: str) -> Response:
        return JSONResponse(self._call(request, target).resource(target))

    async def _update(self, request: Request, target: str) -> Response:
        call, form = self._call(request, target), await _form(request)
        if form.keys() != {"Status"} or form["Status"][0] not in ("completed", "canceled"):
            raise CallError(400, 20001, "only Status can be changed here")
        if call.is_over:
            raise CallError(400, 21220, "Call is not in-progress. Cannot redirect.")
        call.cut.set()
        return JSONResponse(call.resource(target))

    async def _account(self, _request: Request, target: str) -> Response:
        token = self._accounts[target].secrets["auth_token"][0]
        return JSONResponse(account_shown(target, token, self._config.now()))

    async def _numbers(self, request: Request, target: str) -> Response:
        connection = self._accounts[target]
        found = {line: {"voice_url": connection.hook_url} for line in connection.inboxes}
        return JSONResponse(numbers_shown(target, found, dict(request.query_params), self._config.now()))

    def _call(self, request: Request, target: str) -> Call:
        account, call = self._calls.get(request.path_params["sid"], ("", None))
        if call is None or account != target:
            raise CallError(404, 20404, "The requested resource was not found")
        return call

    async def _unknown(self, _request: Request, _target: str) -> Response:
        raise CallError(404, 20404, "The requested resource was not found")

    # what the vendor does by itself

    def _begin(self, account: str, to: str, from_: str, direction: str, parent: str | None = None) -> Call:
        call = Call(f"CA{secrets.token_hex(16)}", to, from_, self._config.now(), direction, parent)
        keep(self._calls, call.sid, (account, call))
        return call

    def _go(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name="a call")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    async def _agent(self, call: Call, form: Mapping[str, list[str]]) -> None:
        """The call that was asked for, from its first ring to its end."""
        telephone = self._answers(call.to)
        url, events = form.get("StatusCallback", [""])[0], form.get("StatusCallbackEvent", ["completed"])

        async def now(status: str) -> None:
            call.status = status
            await self._tell(call, url, status, events, telephone.callbacks)

        await now("initiated")
        await now("ringing")
        if not await call.takes(telephone.rings):
            return await now("canceled")
        ends = {"busy": "busy", "no_answer": "no-answer", "fail": "failed"}
        if telephone.does in ends:
            return await now(ends[telephone.does])
        await now("in-progress")
        await self._carry_out(call, form["Url"][0])
        call.seconds = sum(c.seconds or 0 for _, c in self._calls.values() if c.parent == call.sid) + 8
        return await now("completed")

    async def _carry_out(self, call: Call, url: str) -> None:
        account = self._calls[call.sid][0]
        lines = frozenset(self._accounts[account].inboxes)

        def dial(parent: Call, to: str, from_: str) -> Call:
            return self._begin(account, to, from_, "outbound-dial", parent.sid)

        line = Line(self._ask, dial, self._tell, self._answers, lines)
        try:
            await carry_out(call, await self._ask(call, url, {}), line)
        except Wrong as error:
            call.errors.append(str(error))

    async def _tell(self, call: Call, url: str, status: str, events: Sequence[str], how: str) -> None:
        """A status callback, if it was asked for; nobody waits long for its answer."""
        if EVENT_OF.get(status, "completed") not in events or not url:
            return
        fields = {
            "Timestamp": format_datetime(self._config.now(), usegmt=True),
            "CallbackSource": "call-progress-events",
            "SequenceNumber": str(call.sequence),
        }
        call.sequence += 1
        if status == "completed":
            fields |= {"CallDuration": str(call.seconds), "Duration": "1"}
        fields["CallStatus"] = status
        if how == "backwards":
            held = self._late.setdefault(call.sid, [])
            held.append((url, fields))
            if call.is_over:
                for late_url, late in reversed(self._late.pop(call.sid)):
                    await self._callback(call, late_url, late)
            return
        for _ in range(2 if how == "twice" else 1):
            await self._callback(call, url, fields)

    async def _callback(self, call: Call, url: str, fields: Mapping[str, str]) -> None:
        status, _, _ = await self._post(call, url, fields)
        call.callbacks.append(f"{fields['CallStatus']} {status}")

    async def _ask(self, call: Call, url: str, fields: Mapping[str, str]) -> bytes:
        """The TwiML at an address of ours. Raises Wrong where the vendor could not carry it out."""
        status, kind, body = await self._post(call, url, fields)
        if status != 200:
            raise Wrong(f"11200 the address answered {status}")
        if not kind.startswith(("text/xml", "application/xml")):
            raise Wrong(f"12300 not a type for TwiML: {kind}")
        return body

    async def _post(self, call: Call, url: str, fields: Mapping[str, str]) -> tuple[int | None, str, bytes]:
        """Signed over the address without its fragment, with everything that every request tells."""
        account = self._calls[call.sid][0]
        address = url.partition("#")[0]
        form = {
            "CallSid": call.sid, "AccountSid": account, "From": call.from_, "To": call.to, "CallStatus": call.status,
            "ApiVersion": "2010-04-01", "Direction": call.direction, "Caller": call.from_, "Called": call.to,
            "ToCountry": "", "FromCountry": "", **({"ParentCallSid": call.parent} if call.parent else {}), **fields,
        }  # fmt: skip
        token = self._accounts[account].secrets["auth_token"][0]
        signature = RequestValidator(token).compute_signature(address, form)
        assert self._http is not None
        headers = {"X-Twilio-Signature": signature, "User-Agent": "TwilioProxy/1.1"}
        try:
            async with asyncio.timeout(WEBHOOK_WITHIN):
                answer = await self._http.post(address, data=form, headers=headers)
        except (httpx.HTTPError, TimeoutError):
            return None, "", b""
        return answer.status_code, answer.headers.get("content-type", ""), answer.content

    def _answers(self, number: str) -> Telephone:
        return self._telephones.get(number) or Telephone(number=number)

    # whoever drives it

    async def _behave(self, request: Request) -> Response:
        try:
            wanted = msgspec.json.decode(await request.body(), type=Telephone)
        except msgspec.DecodeError as error:
            return JSONResponse({"message": str(error)}, 400)
        keep(self._telephones, wanted.number, wanted)
        return Response(status_code=204)

    async def _ring(self, request: Request) -> Response:
        """Somebody calls a line; what they heard."""
        try:
            wanted = msgspec.json.decode(await request.body(), type=Ring)
        except msgspec.DecodeError as error:
            return JSONResponse({"message": str(error)}, 400)
        found = [(sid, c) for sid, c in self._accounts.items() if wanted.line in c.inboxes]
        if not found:
            return JSONResponse({"message": f"there is no line {wanted.line}"}, 400)
        account, connection = found[0]
        call = self._begin(account, wanted.line, wanted.caller, "inbound")
        call.status = "ringing"
        await self._carry_out(call, connection.hook_url)
        call.status = "completed" if call.status == "ringing" else call.status
        return JSONResponse(call.shown())

    async def _shown(self, _request: Request) -> Response:
        return JSONResponse([call.shown() for _, call in self._calls.values()])


async def _form(request: Request) -> dict[str, list[str]]:
    """Raises CallError for anything but a form."""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise CallError(400, 20001, "a form is needed")
    return parse_qs((await request.body()).decode("utf-8", "replace"), keep_blank_values=True)
