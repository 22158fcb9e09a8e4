"""The stand-ins in the demo's hand: what goes wrong there, what customers write, and what reached them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from services.demo.api import answering, checked

WRITTEN = ("messenger", "whatsapp", "twilio", "mirakl", "email")


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that a vendor took from us."""

    vendor: str
    text: str


class Vendors:
    """`/sandbox/control` of a Dragoman that runs with stand-ins."""

    def __init__(self, url: str, http: httpx.AsyncClient) -> None:
        self._url = f"{url}/sandbox/control"
        self._http = http

    async def tell(self, path: str, command: object) -> Any:
        """Has the stand-ins do something; what they answer. Raises Rejected and Unavailable."""
        return await self._ask("POST", path, command)

    async def shown(self, path: str) -> Any:
        """What the stand-ins kept. Raises Rejected and Unavailable."""
        return await self._ask("GET", path, None)

    async def behave(self) -> None:
        """Ends all misbehaviour."""
        await self._ask("DELETE", "misbehave", None)

    async def taken(self) -> Sequence[Taken]:
        """Every answer in words, of all vendors."""
        return [
            Taken(vendor, entry.get("text") or "") for vendor in WRITTEN for entry in await self.shown(f"{vendor}/sent")
        ]

    async def _ask(self, method: str, path: str, command: object) -> Any:
        with answering(self._url):
            answer = await self._http.request(method, f"{self._url}/{path}", json=command)
        checked(answer, f"the stand-ins' {path}")
        return answer.json() if answer.content else None
