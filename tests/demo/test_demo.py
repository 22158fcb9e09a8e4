"""The whole demo as people start it."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from services.demo.promises import PROMISES
from tests.e2e.running import running

pytestmark = [pytest.mark.demo, pytest.mark.timeout(180)]


def played(**environment: str) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    return subprocess.run(
        [sys.executable, "-m", "services.main", "demo"],
        env=own | environment, capture_output=True, text=True, check=False, timeout=150,
    )  # fmt: skip


def test_the_demo_keeps_every_promise_within_a_minute_and_a_half(tmp_path: Path) -> None:
    began = time.monotonic()
    done = played(TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - began < 90
    assert done.stderr == ""
    assert (done.stdout.count("✓"), done.stdout.count("✗")) == (len(PROMISES), 0)
    assert all(line.isprintable() for line in done.stdout.splitlines())
    assert list(tmp_path.glob("dragoman-demo-*")) == [], "its data are gone"
    commands = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert [command for command in commands if str(tmp_path) in command] == [], "and so are its processes"


async def test_mail_that_is_never_fetched_is_found_out(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path, poll_every=3600) as run:
        # What is polled at the start was there before anybody wrote.
        done = await asyncio.to_thread(played, DRAGOMAN_DEMO_URL=run.url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "✗ Every message is in its conversation and its history exactly once\n    Elsa (email, " in done.stdout
    assert "✓ The forged webhook was refused" in done.stdout
