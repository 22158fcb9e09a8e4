"""The whole product and a browser, for scenes at the console."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.console.browser import HOW_TO_GET, browser, chromium
from tests.e2e.running import Running, running


@pytest.fixture
async def opened() -> AsyncIterator[Browser]:
    executable = chromium()
    if executable is None:
        if os.environ.get("CHROMIUM_REQUIRED"):
            pytest.fail(HOW_TO_GET)
        pytest.skip(HOW_TO_GET)
    async with browser(executable) as found:
        yield found


@pytest.fixture
async def it(opened: Browser, database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database_url, tmp_path) as found:
        yield found
