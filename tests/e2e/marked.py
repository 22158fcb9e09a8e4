"""`dragoman run` as people start it, and words that nobody else writes: wherever one turns up it was leaked."""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import yaml

from services.together import SAMPLE, MailPorts, to_try
from shared.trust import trust
from tests.collector import Collector, collecting
from tests.e2e.running import Running, until
from tests.kafka_cluster import reserve_port

# Where nothing listens; the port is reserved and was never served.
NOBODY = "http://127.0.0.1:1"
STARTS = 3


@dataclass
class Marks:
    """Each mark with what it stands for."""

    known: dict[str, str] = field(default_factory=dict)

    def word(self, what: str) -> str:
        return self.add(f"zq{secrets.token_hex(6)}", what)

    def phone(self, what: str, prefix: str = "+4915123") -> str:
        """A number that could be one; the mark is without its plus, as some vendors write it."""
        number = f"{prefix}{secrets.randbelow(10**6):06}"
        self.add(number.removeprefix("+"), what)
        return number

    def add(self, mark: str, what: str) -> str:
        self.known[mark] = what
        return mark

    def secrets_of_the_sample(self) -> None:
        """All that its accounts keep secret, hook tokens too."""
        for name, account in yaml.safe_load(SAMPLE.read_text())["accounts"].items():
            for kind, secret in account["secrets"].items():
                self.add(secret, f"{kind} of {name}")

    def found_in(self, places: Mapping[str, str]) -> list[str]:
        """A line for each mark that is in one of the places, by what it stands for."""
        return [
            f"{what} in {place}: {text[max(0, text.index(mark) - 80) : text.index(mark) + 80]!r}"
            for place, text in places.items()
            for mark, what in self.known.items()
            if mark in text
        ]


@dataclass
class Child:
    """The process; what it wrote, by place, once it has ended."""

    run: Running
    collector: Collector
    # Answers of the product that were errors: path, status and body of each.
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)


@asynccontextmanager
async def a_whole_run() -> AsyncIterator[Child]:
    """Everything embedded, at DEBUG, with traces; stopped as by Ctrl-C when left."""
    refused: list[tuple[str, int, str]] = []

    async def keep(answer: httpx.Response) -> None:
        path = answer.request.url.path
        if answer.status_code >= 400 and not path.startswith("/sandbox"):
            refused.append((path, answer.status_code, (await answer.aread()).decode()))

    with _folder() as folder, collecting() as collector, reserve_port() as reserved:
        port = int(reserved.getsockname()[1])
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")},
            "DRAGOMAN_DATA_DIR": str(folder / "data"),
            "DRAGOMAN_PORT": str(port),
            "DRAGOMAN_LOG_LEVEL": "DEBUG",
            "DRAGOMAN_LOG_FORMAT": "json",
            "DRAGOMAN_POLL_EVERY": "0.3",
            "DRAGOMAN_TRACES_URL": collector.url,
            "DRAGOMAN_WEBHOOK_HOSTS": json.dumps([NOBODY]),
        }
        url = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(
            timeout=20, trust_env=False, verify=trust(), event_hooks={"response": [keep]}
        ) as http:
            process = await _started(folder, environment, url)
            child = Child(Running(url, http, f"{url}/sandbox"), collector, refused)
            try:
                yield child
                child.written["metrics"] = (await http.get(f"{url}/metrics")).text
            finally:
                process.send_signal(signal.SIGINT)
                await asyncio.to_thread(process.wait, 30)
        child.written |= {
            "stdout": (folder / "stdout").read_text(),
            "stderr": _unprompted((folder / "stderr").read_text(), url),
            "spans": b"\n".join(collector.bodies).decode("latin-1"),
            "errors": "\n".join(body for *_, body in refused),
        }


async def _started(folder: Path, environment: Mapping[str, str], url: str) -> "subprocess.Popen[bytes]":
    """Ready. Its mail servers' ports may go to somebody else between its look at them and its use: then once more."""
    for _ in range(STARTS):
        process = _start(folder, environment)
        async with httpx.AsyncClient(timeout=20, trust_env=False, verify=trust()) as http:

            async def settled(started: "subprocess.Popen[bytes]" = process, http: httpx.AsyncClient = http) -> bool:
                with suppress(httpx.HTTPError):
                    return (await http.get(f"{url}/health/ready")).status_code == 200
                return started.poll() is not None

            await until(settled, 60)
        if process.poll() is None:
            return process
    raise AssertionError(f"it does not start: {(folder / 'stderr').read_text()[-2000:]}")


def _start(folder: Path, environment: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        return subprocess.Popen([sys.executable, "-m", "services.main", "run"], env=environment, stdout=out, stderr=err)


def _unprompted(stderr: str, url: str) -> str:
    """Without what is printed for people to try: the stand-ins' secrets in it are public."""
    imap, smtp = re.findall(r"(?:IMAP|SMTP) at 127\.0\.0\.1:(\d+)", stderr)
    printed = to_try(url, MailPorts(int(imap), int(smtp)))
    assert printed in stderr
    return stderr.replace(printed, "")


@contextmanager
def _folder() -> Iterator[Path]:
    """Where the embedded PostgreSQL, which is no root, may look."""
    with tempfile.TemporaryDirectory(prefix="dragoman-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
