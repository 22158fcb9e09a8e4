"""What `make run` costs while nothing happens: CPU and memory of it and of its PostgreSQL."""

import asyncio
import os
import signal
import sys
import time
from tempfile import TemporaryDirectory

import psutil

from bench.figures import Figure
from tests import servers

SETTLE, WATCH = 8.0, 20.0


async def measure(_postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    with TemporaryDirectory(prefix="dragoman-idle-") as folder:
        os.chmod(folder, 0o755)
        environment = {**os.environ, "DRAGOMAN_DATA_DIR": folder, "DRAGOMAN_PORT": "0"}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.main", "run", env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        await asyncio.sleep(SETTLE)
        family = [p for p in psutil.process_iter(["cmdline", "pid"]) if _belongs(p, process.pid, folder)]
        before, started = _cpu(family), time.perf_counter()
        await asyncio.sleep(WATCH)
        share = (_cpu(family) - before) / (time.perf_counter() - started) * 100
        memory = sum(p.memory_full_info().pss for p in family) / 1e6
        process.send_signal(signal.SIGINT)
        stopping = time.perf_counter()
        await process.wait()
        stopped = time.perf_counter() - stopping
    return [
        Figure("idle_cpu", share, "% of a core", "3 %", share / 3),
        Figure("idle_memory", memory, "MB", "900 MB", memory / 900, "proportional set, PostgreSQL included"),
        Figure("stop", stopped, "s", "3 s", stopped / 3, "SIGINT until the process has ended"),
    ]


def _belongs(process: psutil.Process, pid: int, folder: str) -> bool:
    if process.pid == pid:
        return True
    try:
        return any(folder in " ".join(p.cmdline()) for p in (process, *process.parents()))
    except psutil.Error:
        # It ended while we looked, so it is none of ours.
        return False


def _cpu(family: list[psutil.Process]) -> float:
    return sum(sum(p.cpu_times()[:2]) for p in family if p.is_running())
