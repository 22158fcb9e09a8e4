"""Which Dragoman is shown: one that runs already, else one that is started for it and ends with it."""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.demo.agents import SHIFT
from services.demo.api import bearer
from shared.errors import Unavailable
from shared.settings import Settings

DEFAULT = "http://127.0.0.1:8080"
STARTS_WITHIN, STOPS_WITHIN = 45.0, 20.0
RUNS_AT = re.compile(r"Dragoman runs at (\S+)")
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class House:
    """Where it is; `process` where it is ours."""

    url: str
    process: asyncio.subprocess.Process | None = None


@asynccontextmanager
async def a_dragoman(settings: Settings, http: httpx.AsyncClient, receiver: str, say: Say) -> AsyncIterator[House]:
    """The one that DRAGOMAN_DEMO_URL names, one at the usual address, or our own, allowed to call `receiver`.

    Raises Unavailable where the named one is not there or is none that a demo can be shown with.
    """
    if settings.demo_url is not None:
        url = settings.demo_url.rstrip("/")
        lacking = await lacks(http, url)
        if lacking:
            raise Unavailable(
                f"{url} {lacking}: start one with `make run`, or leave DRAGOMAN_DEMO_URL out", code="no_dragoman"
            )
        yield House(url)
    elif not await lacks(http, DEFAULT):
        yield House(DEFAULT)
    else:
        async with _own(http, receiver, say) as house:
            yield house


async def lacks(http: httpx.AsyncClient, url: str) -> str:
    """What is missing there for a demo, empty where nothing is."""
    try:
        ways = await http.get(f"{url}/v1/sign-in")
        stand_ins = await http.get(f"{url}/sandbox/control/requests")
        agent = await http.get(f"{url}/v1/me", headers=bearer(SHIFT[0].handle))
    except (httpx.HTTPError, httpx.InvalidURL):
        return "does not answer"
    try:
        takes_tokens = ways.json()["development_tokens"]
    except (ValueError, LookupError, TypeError):
        return "is no Dragoman"
    if takes_tokens is not True:
        return "takes no development tokens"
    if stand_ins.status_code != 200:
        return "has no stand-ins of the vendors"
    return "" if agent.status_code == 200 else "does not have the agents of the sample configuration"


@asynccontextmanager
async def _own(http: httpx.AsyncClient, receiver: str, say: Say) -> AsyncIterator[House]:
    """`dragoman run` as a child process with a folder of its own, both gone afterwards."""
    say("Starting a Dragoman for the demo; its data are gone afterwards")
    with _folder() as folder:
        # What else is configured here is a real deployment's.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
        own = {"DATA_DIR": folder, "PORT": "0", "POLL_EVERY": "1", "WEBHOOK_HOSTS": json.dumps([receiver])}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.main", "run",
            env=inherited | {f"DRAGOMAN_{name}": value for name, value in own.items()},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
            # Ctrl-C is for us alone, who then ends it in order.
            start_new_session=True,
        )  # fmt: skip
        told: asyncio.Queue[str] = asyncio.Queue()
        reading = asyncio.create_task(_read(process, told), name="what it says")
        try:
            async with asyncio.timeout(STARTS_WITHIN):
                url = await told.get()
                if not url.startswith("http"):
                    raise Unavailable(f"the Dragoman of the demo ended: {url}", code="not_started")
                await _ready(http, url)
            yield House(url, process)
        except TimeoutError:
            raise Unavailable(f"no Dragoman within {STARTS_WITHIN:.0f} s", code="not_started") from None
        finally:
            await _stop(process)
            await reading


@contextmanager
def _folder() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="dragoman-demo-", ignore_cleanup_errors=True) as folder:
        # PostgreSQL is another user's process where we are root, and must reach its files.
        Path(folder).chmod(0o755)
        yield folder


async def _read(process: asyncio.subprocess.Process, told: asyncio.Queue[str]) -> None:
    """Tells where it runs, or its last line where it ends before that; goes on reading, so that it can go on."""
    assert process.stderr is not None
    last: deque[str] = deque(["without a word"], maxlen=1)
    async for raw in process.stderr:
        line = raw.decode("utf-8", "replace").strip()
        found = RUNS_AT.search(line)
        if found:
            told.put_nowait(found[1])
        elif line:
            last.append(line)
    told.put_nowait(last[0])


async def _ready(http: httpx.AsyncClient, url: str) -> None:
    while True:
        try:
            if (await http.get(f"{url}/health/ready")).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        await asyncio.sleep(0.1)


async def _stop(process: asyncio.subprocess.Process) -> None:
    """In order; by force where that takes too long."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(STOPS_WITHIN):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
