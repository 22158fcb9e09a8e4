"""What one account's mail goes through, both ways; each side is opened when it is first used."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.accounts import Account
from shared.channels.email.imap import Mailbox
from shared.channels.email.parser import Parser, parser
from shared.channels.email.smtp import Pool


class Lines:
    """One account's connections, and what reads its mails."""

    def __init__(self, reader: Parser) -> None:
        self.parser = reader
        self._imap: Mailbox | None = None
        self._smtp: Pool | None = None

    def imap(self, account: Account) -> Mailbox:
        """The way in, as the account is configured now."""
        if self._imap is None:
            self._imap = Mailbox(account)
        self._imap.use(account)
        return self._imap

    def smtp(self, account: Account) -> Pool:
        """The way out, as the account is configured now."""
        if self._smtp is None:
            self._smtp = Pool(account)
        self._smtp.use(account)
        return self._smtp

    async def close(self) -> None:
        """Ends what is open."""
        if self._imap is not None:
            await self._imap.close()
        if self._smtp is not None:
            await self._smtp.close()


@asynccontextmanager
async def connect(*, plain_httpx: bool = False) -> AsyncIterator[Lines]:  # noqa: ARG001 - there is no HTTP in it
    """One account's lines until left."""
    async with parser() as reader:
        lines = Lines(reader)
        try:
            yield lines
        finally:
            await lines.close()
