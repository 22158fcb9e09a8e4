"""Fixtures of the router's tests."""

from collections.abc import AsyncIterator

import pytest

from tests.router.world import World, world


@pytest.fixture
async def w(database_url: str) -> AsyncIterator[World]:
    async with world(database_url) as made:
        yield made
