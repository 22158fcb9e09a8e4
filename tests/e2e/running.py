"""The whole product in this process, on a real port, for end-to-end tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
from cryptography.fernet import Fernet

from services.serving import listen, serve
from services.together import OPENID, MailPorts, configure, free_port, sample, together
from shared.bus.contract import Bus
from shared.clock import Clock, DatabaseClock
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from shared.trust import trust
from tests.bus.implementations import a_bus


class Running:
    """What a test drives: the product's address, agents and customers."""

    def __init__(self, url: str, http: httpx.AsyncClient, sandbox_url: str) -> None:
        self.url, self.http, self.sandbox_url = url, http, sandbox_url
        self._requests = 0

    async def get(self, path: str, agent: str) -> httpx.Response:
        return await self.http.get(f"{self.url}{path}", headers={"Authorization": f"Bearer dev-{agent}"})

    async def post(self, path: str, agent: str, body: object = None, etag: str = "*") -> httpx.Response:
        self._requests += 1
        headers = {
            "Authorization": f"Bearer dev-{agent}", "If-Match": etag, "Idempotency-Key": f"test-{self._requests}",
        }  # fmt: skip
        return await self.http.post(f"{self.url}{path}", json=body, headers=headers)

    async def there(self, *agents: str) -> None:
        for agent in agents:
            headers = {"Authorization": f"Bearer dev-{agent}"}
            answer = await self.http.put(f"{self.url}/v1/presence", json={"status": "available"}, headers=headers)
            assert answer.status_code == 200, answer.text

    async def handle_of(self, agent_id: str, handles: Sequence[str]) -> str:
        for handle in handles:
            if (await self.get("/v1/me", handle)).json()["agent_id"] == agent_id:
                return handle
        raise AssertionError("nobody of these")

    async def control(self, path: str, body: object | None = None) -> object:
        url = f"{self.sandbox_url}/control/{path}"
        answer = await (self.http.get(url) if body is None else self.http.post(url, json=body))
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.content else None


@asynccontextmanager
async def running(
    database_url: str, folder: Path, bus: Bus | None = None, clock: Clock | None = None, **settings: object
) -> AsyncIterator[Running]:
    """Configured with the sample, until left."""
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    defaults = {
        "data_dir": folder, "public_url": url, "development_tokens": True, "poll_every": 0.3,
        "oidc_issuer": f"{url}/sandbox/oidc", **OPENID,
    }  # fmt: skip
    made = Settings(**(defaults | settings))
    parts = Parts(
        settings=made,
        database_url=database_url,
        bus=bus or a_bus(1),
        vault=Vault([key.get_secret_value() for key in made.secret_keys] or [Fernet.generate_key().decode()]),
        clock=clock or DatabaseClock(),
    )
    wanted = sample(f"{url}/sandbox", MailPorts(free_port(), free_port()))
    await configure(parts, wanted)
    async with (
        together(parts, url, wanted) as all_of_it,
        httpx.AsyncClient(timeout=20, trust_env=False, verify=trust()) as http,
    ):
        server = asyncio.create_task(serve(all_of_it.app, parts, listening))
        try:
            yield Running(url, http, f"{url}/sandbox")
        finally:
            parts.stopping.set()
            await server


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 15.0) -> object:
    """What `condition` gives once it is true. Raises AssertionError when it never is."""
    found: object = None
    try:
        async with asyncio.timeout(seconds):
            while not (found := await condition()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError("it never came true") from None
    return found
