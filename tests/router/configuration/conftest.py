"""A router's database and a vault."""

from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet

from shared.db.transaction import Database
from shared.secrets import Vault


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, role="dragoman_router")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()
