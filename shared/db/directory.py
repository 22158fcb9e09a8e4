"""The accounts and inboxes in memory, read again when the configuration's revision grows.

Keeps serving what it knows while the database is away: a webhook must be taken in just then.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from shared.accounts import EMPTY_DIRECTORY, HOOK_TOKEN, Account, Directory, Inbox
from shared.background import background
from shared.db.transaction import Database, Transaction
from shared.errors import InboxMisconfigured, Unavailable
from shared.secrets import Vault

log = logging.getLogger(__name__)

LOOK_EVERY = 2.0


class DirectoryCache:
    """`current` is the newest directory that could be read."""

    def __init__(self, database: Database, vault: Vault) -> None:
        self._database = database
        self._vault = vault
        self.current: Directory = EMPTY_DIRECTORY

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Reads it now (Unavailable where the database is away) and every two seconds while inside."""
        await self.refresh()
        async with background(self._follow(), "directory"):
            yield

    async def refresh(self) -> None:
        async with self._database.transaction() as tx:
            revision = await tx.fetchval("SELECT n FROM config.revision WHERE id = 1")
            if revision != self.current.revision:
                self.current = await _load(tx, self._vault, revision)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                await self.refresh()
            except (Unavailable, asyncpg.PostgresError) as error:
                log.warning("accounts are those of revision %s: %s", self.current.revision, type(error).__name__)


async def _load(tx: Transaction, vault: Vault, revision: int) -> Directory:
    inboxes = [
        Inbox(**row)
        for row in await tx.fetch(
            "SELECT id, brand_id, account_id, channel, address, name, locale, country, settings FROM config.inbox"
        )
    ]
    secrets: dict[object, dict[str, list[str]]] = {}
    for row in await tx.fetch("SELECT account_id, name, sealed FROM config.secret ORDER BY id DESC"):
        try:
            opened = vault.open(row["sealed"])
        except InboxMisconfigured as error:
            # One account with a lost key must not take the others down.
            log.error("secret %s of account %s: %s", row["name"], row["account_id"], error)
            continue
        secrets.setdefault(row["account_id"], {}).setdefault(row["name"], []).append(opened)
    accounts = {
        row["id"]: Account(
            **row,
            secrets=secrets.get(row["id"], {}),
            inboxes={inbox.address: inbox for inbox in inboxes if inbox.account_id == row["id"]},
        )
        for row in await tx.fetch("SELECT id, channel, name, settings FROM config.account")
    }
    tokens = {token: a for a in accounts.values() for token in a.secrets.get(HOOK_TOKEN, ())}
    return Directory(revision, accounts, tokens, {inbox.id: inbox for inbox in inboxes})
