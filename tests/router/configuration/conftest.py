"""A router's database and a vault."""

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet

from shared.db.transaction import Database
from shared.secrets import Vault
from tests.servers import opened


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url, "dragoman_router") as made:
        yield made
