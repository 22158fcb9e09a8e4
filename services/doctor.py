"""`dragoman doctor`: whether a deployment has what it needs, looked at without changing anything in it.

Everything is asked side by side, what belongs to one server or one account in turn, each within its time. No secret,
token or customer's word is in an answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from urllib.parse import urlsplit

from services.disks import examine as examine_disks
from shared.accounts import Account
from shared.bus.brokers import examine as examine_brokers
from shared.channels.registry import channel
from shared.checks import Check, Finding, Line, answered, answered_in_turn, skipped, told, warning, well, wrong
from shared.clock import utc_now
from shared.db.directory import DirectoryCache
from shared.db.examine import examine as examine_database
from shared.db.examine import is_usable
from shared.db.transaction import Database
from shared.errors import DragomanError, InboxMisconfigured
from shared.secrets import Vault
from shared.settings import Settings

# What a service asks of its own; without a database where that cannot be used.
Own = Callable[[Database | None], Awaitable[list[Line]]]

ACCOUNTS_AT_ONCE = 20
SECRETS, ACCOUNTS, ADDRESS = "secret keys", "accounts", "public address"
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0")  # noqa: S104 - compared with, not listened on


async def examine(
    settings: Settings,
    database_url: str | None,
    open_vault: Callable[[], Vault],
    own: Own,
    *,
    now: Callable[[], datetime] = utc_now,
) -> list[Line]:
    """Every check with its answer, in the same order each time. `open_vault` raises InboxMisconfigured, ValueError."""
    database = Database(database_url or "", role=None, size=2)
    try:
        of_database, of_bus, of_disks = await asyncio.gather(
            examine_database(database, database_url, now=now) if database_url else _no_database(),
            examine_brokers(settings),
            examine_disks(settings),
        )
        usable = database if is_usable(of_database) else None
        of_accounts = await _accounts(settings, usable, open_vault)
        return [*of_database, *of_bus, *of_disks, *await own(usable), *of_accounts]
    finally:
        await database.close()


async def _no_database() -> list[Line]:
    return [Line("database", wrong("no server is named", "set DRAGOMAN_DATABASE_URL"))]


async def _accounts(settings: Settings, database: Database | None, open_vault: Callable[[], Vault]) -> list[Line]:
    """The keys, and what they open: whether each account works with its vendor."""
    try:
        vault = open_vault()
    except (InboxMisconfigured, ValueError) as error:
        says = str(error) if isinstance(error, InboxMisconfigured) else "a key is none"
        to_do = "set DRAGOMAN_SECRET_KEYS to those in use, newest first; `dragoman secret-key` makes one"
        return [Line(SECRETS, wrong(says, to_do)), Line(ACCOUNTS, skipped("their secrets cannot be opened"))]
    if database is None:
        return [Line(name, skipped("the database cannot be used")) for name in (SECRETS, ACCOUNTS)]
    of_keys = await answered(Check(SECRETS, partial(_opens, database, vault)))
    directory = DirectoryCache(database, vault)
    read = await answered(Check(ACCOUNTS, partial(_read, directory)))
    accounts = sorted(directory.current.accounts.values(), key=lambda account: (account.channel, account.name))
    several = await _asked(settings, accounts)
    return [of_keys, read, *_address(settings, accounts), *(line for lines in several for line in lines)]


async def _opens(database: Database, vault: Vault) -> Finding:
    async with database.transaction() as tx:
        rows = await tx.fetch(
            "SELECT sealed FROM config.secret UNION ALL SELECT unnest(sealed) FROM config.webhook",
        )
    closed = sum(not _is_open(vault, row["sealed"]) for row in rows)
    if closed:
        to_do = "add the key that they were sealed with to DRAGOMAN_SECRET_KEYS, or apply the secrets again"
        return wrong(f"no key opens {closed} of {len(rows)} stored secrets", to_do)
    return well(f"they open all {len(rows)} stored secrets")


def _is_open(vault: Vault, sealed: bytes) -> bool:
    try:
        vault.open(sealed)
    except InboxMisconfigured:
        return False
    return True


async def _read(directory: DirectoryCache) -> Finding:
    await directory.refresh()
    found = len(directory.current.accounts)
    if not found:
        return warning("none are configured", "`dragoman apply` a configuration")
    return well(f"{found} accounts, {len(directory.current.inboxes)} inboxes")


def _address(settings: Settings, accounts: Sequence[Account]) -> list[Line]:
    """Only where somebody is to call us."""
    if not any(account.hook_urls(settings.address) for account in accounts):
        return []
    url = urlsplit(settings.address)
    if url.scheme == "https" and url.hostname not in LOOPBACK:
        return [Line(ADDRESS, well(settings.address))]
    to_do = "set DRAGOMAN_PUBLIC_URL to the https address that vendors reach"
    return [Line(ADDRESS, warning(f"vendors cannot call {settings.address}, only stand-ins can", to_do))]


async def _asked(settings: Settings, accounts: Sequence[Account]) -> list[list[Line]]:
    """Side by side, but only so many at once."""
    places = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

    async def one(account: Account) -> list[Line]:
        async with places:
            return await _account(settings, account)

    return await asyncio.gather(*map(one, accounts))


async def _account(settings: Settings, account: Account) -> list[Line]:
    name = f"{account.channel}: {account.name or account.id}"
    try:
        of = channel(account.channel)
    except DragomanError as error:
        return [Line(name, told(error))]
    hook_urls = account.hook_urls(settings.address)
    lines = []
    if of.verify is not None and not hook_urls:
        to_do = "add the secret `hook_token`, then `dragoman apply`"
        lines.append(Line(f"{name}: hook token", wrong("it has none, so no webhook can come in", to_do)))
    if of.examine is None:
        return [*lines, Line(name, skipped("its vendor cannot be asked"))]
    async with of.connect(plain_httpx=settings.plain_httpx) as client:
        found = await answered_in_turn(of.examine(client, account, hook_urls))
    return [*lines, *(Line(f"{name}: {line.check}", line.finding) for line in found)]
