"""What a person, a demo or a test drives the stand-ins with; nothing of it is a vendor's."""

from datetime import datetime
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.sandbox.graph import Graph
from services.sandbox.mirakl import Mirakl
from services.sandbox.state import Misbehaviour, State


class Control:
    """Small JSON routes under `/control`."""

    def __init__(self, state: State, graph: Graph, mirakl: Mirakl, http: httpx.AsyncClient) -> None:
        self.state, self.graph, self.mirakl, self._http = state, graph, mirakl, http

    def routes(self) -> list[Route]:
        return [
            Route("/messenger/messages", self.messenger_messages, methods=["POST"]),
            Route("/messenger/forged", self.messenger_forged, methods=["POST"]),
            Route("/mirakl/messages", self.mirakl_messages, methods=["POST"]),
            Route("/{vendor:str}/sent", self.sent),
            Route("/requests", self.requests),
            Route("/webhooks", self.webhooks),
            Route("/misbehave", self.misbehave, methods=["POST", "DELETE"]),
        ]

    async def messenger_messages(self, request: Request) -> Response:
        """A customer writes: one message, or a list that goes out as one webhook; the status that it got."""
        wanted = await _json(request)
        messages = wanted if isinstance(wanted, list) else [wanted]
        entries = [
            self.graph.entry(m["page"], [self.graph.customer_writes(
                m["page"], m["psid"], m["text"], datetime.fromisoformat(m["at"]) if "at" in m else None, m.get("mid"))])
            for m in messages
        ]  # fmt: skip
        status = await self.graph.deliver(self._http, entries)
        return JSONResponse({"webhook_status": status}, 200 if status == 200 else 502)

    async def messenger_forged(self, request: Request) -> Response:
        """The same with a signature that is not the app's."""
        m = await _json(request)
        entry = self.graph.entry(m["page"], [self.graph.customer_writes(m["page"], m["psid"], m["text"])])
        body, headers = self.graph.signed([entry], secret="not the secret")  # noqa: S106
        answer = await self._http.post(self.graph.config.hook_url, content=body, headers=headers)
        return JSONResponse({"webhook_status": answer.status_code})

    async def mirakl_messages(self, request: Request) -> Response:
        """A buyer (or the operator) writes in a thread; the marketplace tells nobody, it is polled."""
        wanted = await _json(request)
        messages = wanted if isinstance(wanted, list) else [wanted]
        return JSONResponse([self.mirakl.customer_writes(**m) for m in messages])

    async def sent(self, request: Request) -> Response:
        return JSONResponse(list(self.state.sent.get(request.path_params["vendor"], ())))

    async def requests(self, _request: Request) -> Response:
        return JSONResponse(list(self.state.requests))

    async def webhooks(self, _request: Request) -> Response:
        return JSONResponse(list(self.state.webhooks))

    async def misbehave(self, request: Request) -> Response:
        """POST {vendor, mode, times, target, retry_after, seconds, code, subcode}; DELETE ends all of it."""
        if request.method == "DELETE":
            for wanted in self.state.misbehaviours.values():
                wanted.clear()
            return Response(status_code=204)
        body = await _json(request)
        self.state.misbehaviours[body.pop("vendor")].append(Misbehaviour(**body))
        return Response(status_code=204)


async def _json(request: Request) -> Any:
    return await request.json()
