"""Mails: how long one takes to be read, and how many a second come from one mailbox to the router's tables."""

import asyncio
import statistics
import tempfile
import time
from base64 import b64encode
from datetime import UTC, datetime
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import compat32
from pathlib import Path

import psutil
from cryptography.fernet import Fernet

from bench.figures import Figure
from services.serving import listen, serve
from services.together import MailPorts, configure, free_port, sample, together
from shared.bus.inprocess import InProcessBus
from shared.channels.email.inbound import read
from shared.db.transaction import Database
from shared.parts import Parts
from shared.secrets import Vault
from shared.settings import Settings
from tests import dovecot, servers
from tests.channels.email.sample import ACCOUNT, INBOX
from tests.e2e.running import until

READ, MAILS = 200, 1_000
ADDRESS, PASSWORD = "support@alpenlicht.example", "sandbox-mail-password"
PARAGRAPH = "Guten Tag, wo bleibt meine Bestellung? Ich warte seit zwei Wochen darauf, und niemand antwortet. "


def a_mail(n: int) -> bytes:
    """30 kB, as shops get them: words, the same as a page with the quote of an earlier mail, a small picture."""
    mail = EmailMessage()
    mail["From"], mail["To"] = f"Kundin {n} <k{n}@example.com>", ADDRESS
    mail["Subject"], mail["Message-ID"] = f"Bestellung {n}", f"<{n}@example.com>"
    mail.set_content("\n\n".join([PARAGRAPH] * 12))
    quote = "".join(f"<p>{PARAGRAPH}</p>" for _ in range(130))
    words = "".join(f"<p style='margin:0'>{PARAGRAPH}</p>" for _ in range(12))
    mail.add_alternative(f"<html><body>{words}<div class='gmail_quote'>{quote}</div></body></html>", subtype="html")
    mail.add_attachment(b64encode(str(n).zfill(8).encode() * 700), "image", "png", filename="foto.png")
    raw = mail.as_bytes()
    assert 25_000 < len(raw) < 40_000, len(raw)
    return raw


async def read_one(_postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    """CPU time of one mail of 30 kB, against the library's bare parser."""
    raw, at = a_mail(1), datetime.now(UTC)
    took, bare = [], []
    for _ in range(READ):
        started = time.process_time()
        read(raw, ACCOUNT, INBOX, at)
        took.append(time.process_time() - started)
        started = time.process_time()
        BytesParser(policy=compat32).parsebytes(raw)
        bare.append(time.process_time() - started)
    ours, others = statistics.median(took) * 1000, statistics.median(bare) * 1000
    conditions = f"{len(raw)} bytes"
    return [
        Figure("mail_read", ours, "ms of CPU", "5 ms", ours / 5, conditions),
        Figure("mail_read_against_bare", ours, "ms of CPU", "the library's parser", ours / others, conditions),
    ]


async def mailbox_to_router(postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    """From a full mailbox of a real server until every mail's transaction is committed; all in one process."""
    if dovecot.missing():
        return []
    with tempfile.TemporaryDirectory(prefix="dragoman-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        with dovecot.dovecot(Path(folder), PASSWORD) as server:
            server.deliver(ADDRESS, *(a_mail(n) for n in range(MAILS)))
            async with postgres.database() as url:
                rate, cpu, longest = await _measured(url, Path(folder) / "data", server.port)
    conditions = f"{MAILS} mails of 30 kB, one mailbox, one process, fsync"
    return [
        Figure("mailbox_to_router", rate, "mails/s", "200 mails/s", rate / 200, conditions),
        # On two cores 200 mails a second have 10 ms of CPU each; the mail server and the database are not counted.
        Figure("mailbox_to_router_cpu", cpu * 1000, "ms of CPU a mail", "10 ms", cpu / 0.01, conditions),
        Figure("mailbox_to_router_loop", longest * 1000, "ms the loop was held", "200 ms", longest / 0.2, conditions),
    ]


async def _measured(database_url: str, data: Path, port: int) -> tuple[float, float, float]:
    """Mails a second, seconds of CPU a mail, and the longest turn of the event loop meanwhile."""
    listening = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    settings = Settings(data_dir=data, public_url=url, development_tokens=True, poll_every=0.2)
    vault = Vault([Fernet.generate_key().decode()])
    parts = Parts(settings=settings, database_url=database_url, bus=InProcessBus(), vault=vault)
    smtp = free_port()
    await configure(parts, sample(f"{url}/sandbox", MailPorts(port, smtp)))
    database = Database(database_url, role=None, size=1)
    await database.open()

    async def count() -> int:
        async with database.transaction() as tx:
            return int(await tx.fetchval("SELECT count(*) FROM router.message"))

    async def begun() -> bool:
        return await count() > 0

    async def done() -> bool:
        return await count() >= MAILS

    async with together(parts, url, sample(f"{url}/sandbox", MailPorts(free_port(), smtp))) as running:
        serving = asyncio.create_task(serve(running.app, parts, listening))
        await until(begun, 60)
        before, spent, started = await count(), _cpu(), time.perf_counter()
        turns: list[float] = []
        watching = asyncio.create_task(_turns(turns))
        await until(done, 300)
        took, spent = time.perf_counter() - started, _cpu() - spent
        watching.cancel()
        parts.stopping.set()
        await serving
    await database.close()
    return (MAILS - before) / took, spent / (MAILS - before), max(turns)


def _cpu() -> float:
    """Of this process and of the one that reads mails."""
    whole = [psutil.Process(), *(c for c in psutil.Process().children() if "reading" in " ".join(c.cmdline()))]
    return sum(times.user + times.system for times in (process.cpu_times() for process in whole))


async def _turns(found: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        found.append(now - last - 0.005)
        last = now
