"""One Dragoman over its public API, as the programs of several agents and operators use it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from shared.errors import Rejected, Unavailable

# Somebody else was faster, or it is over already: whoever asked looks again.
OVERTAKEN = frozenset({403, 404, 409, 412})
Document = dict[str, Any]


class Api:
    """Who calls is named by their handle; development tokens open everything here."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self.url = url
        self._http = http

    async def get(self, path: str, handle: str) -> Any:
        """What a GET shows. Raises Rejected and Unavailable."""
        return (await self.ask("GET", path, handle)).json()

    async def ask(self, method: str, path: str, handle: str, body: object = None, **headers: str) -> httpx.Response:
        """Raises Rejected for a problem document, Unavailable where nobody answers."""
        with answering(self.url):
            answer = await self._http.request(
                method, f"{self.url}{path}", json=body, headers={**bearer(handle), **headers}
            )
        return checked(answer, f"{method} {path} as {handle}")

    async def act(self, action: str, path: str, handle: str, shown: Document, body: object = None) -> bool:
        """Changes the conversation that was seen as `shown`; False where it is not so any more."""
        key = f"demo-{action}-{shown['id']}-{shown['version']}"
        headers = {**bearer(handle), "If-Match": f'"{shown["version"]}"', "Idempotency-Key": key}
        with answering(self.url):
            answer = await self._http.post(f"{self.url}{path}", json=body, headers=headers)
        if answer.status_code in OVERTAKEN:
            return False
        checked(answer, f"{action} as {handle}")
        return True

    async def changes(self, handle: str, *, mine: bool) -> AsyncIterator[Document]:
        """The live stream: first that it began, then every change; for ever."""
        url, place = f"{self.url}/v1/stream", ""
        while True:
            headers = bearer(handle) | ({"Last-Event-ID": place} if place else {})
            with answering(self.url):
                async with self._http.stream("GET", url, params={"mine": mine}, headers=headers, timeout=60) as told:
                    async for line in told.aiter_lines():
                        if line.startswith("id: "):
                            place = line.removeprefix("id: ")
                        if line.startswith("data: "):
                            yield json.loads(line.removeprefix("data: "))

    async def figure(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        with answering(self.url):
            answer = await self._http.get(f"{self.url}/metrics", follow_redirects=True)
        families = text_string_to_metric_families(checked(answer, "/metrics").text)
        samples = (sample for family in families for sample in family.samples if sample.name == name)
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def bearer(handle: str) -> dict[str, str]:
    return {"Authorization": f"Bearer dev-{handle}"}


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Raises Unavailable in place of the client's own errors."""
    try:
        yield
    except httpx.HTTPError as error:
        raise Unavailable(f"{url} does not answer: {type(error).__name__}", code="no_answer") from None


def checked(answer: httpx.Response, what: str) -> httpx.Response:
    """The answer. Raises Rejected for any that is not good, with what it says of itself."""
    if answer.is_success:
        return answer
    is_problem = answer.headers.get("content-type", "").startswith("application/problem+json")
    title = answer.json().get("title", "") if is_problem else ""
    raise Rejected(f"{what} was answered {answer.status_code} {title}".rstrip(), code="refused_request")
