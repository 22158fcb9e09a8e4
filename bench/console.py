"""The console: from the address to the first useful screen in a real browser, and what it weighs on the wire."""

import statistics
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figures import Figure, percentile
from services.router.console import files
from tests import servers
from tests.console.browser import HOW_TO_GET, browser, chromium
from tests.console.desk import Desk, desk, writes
from tests.e2e.running import running

ROUNDS = 20
BUDGET_KB = 120


async def measure(postgres: servers.Postgres, _kafka: str | None) -> list[Figure]:
    """A signed-in agent opens the console anew, without anything cached: until their queue shows a conversation."""
    size = sum(len(file.compressed) for file in files().values()) / 1000
    figures = [Figure("console_compressed", size, "kB", "budget", size / BUDGET_KB, f"{len(files())} files, gzip")]
    executable = chromium()
    if executable is None:
        print(f"without a browser: {HOW_TO_GET}", file=sys.stderr)
        return figures
    with TemporaryDirectory() as folder:
        async with postgres.database() as url, running(url, Path(folder)) as it, browser(executable) as opened:
            anna = await desk(opened, it.url)
            await anna.sign_in("anna")
            await anna.come_to_work()
            await writes(it, "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.")
            await anna.accept()
            cdp = await anna.page.context.new_cdp_session(anna.page)
            await cdp.send("Network.setCacheDisabled", {"cacheDisabled": True})
            bare = [await _shown(anna, "/health/live", "body") for _ in range(ROUNDS)]
            full = [await _shown(anna, "/console/", ".card") for _ in range(ROUNDS)]
    middle = statistics.median(full)
    figures += [
        Figure("console_first_screen_p50", middle, "ms", "bare_page", middle / statistics.median(bare), "no cache"),
        Figure("console_first_screen_p95", percentile(full, 0.95), "ms", "p50", percentile(full, 0.95) / middle),
    ]
    return figures


async def _shown(at: Desk, path: str, what: str) -> float:
    """Milliseconds until it is there."""
    started = time.perf_counter()
    await at.page.goto(f"{at.url}{path}", wait_until="commit")
    await at.page.locator(what).first.wait_for()
    return (time.perf_counter() - started) * 1000
