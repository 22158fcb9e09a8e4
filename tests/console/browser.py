"""A headless Chromium of this machine, driven by Playwright; no browser is downloaded."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

HOW_TO_GET = "Chromium is missing: `apt-get install -y chromium`, or name one by DRAGOMAN_TEST_CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
    # On a busy machine drawing may come late; by default the whole browser would end for that.
    "--disable-gpu-watchdog", "--disable-gpu-process-crash-limit",
]  # fmt: skip


def chromium() -> str | None:
    """Where it is; None where this machine has none."""
    named = os.environ.get("DRAGOMAN_TEST_CHROMIUM")
    return next((found for name in ([named] if named else NAMES) if (found := shutil.which(name))), None)


@asynccontextmanager
async def browser(executable: str) -> AsyncIterator[Browser]:
    """With a profile of its own that ends with it."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=executable, args=FLAGS)
        try:
            yield opened
        finally:
            await opened.close()
