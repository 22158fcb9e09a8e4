"""Mails are read in a process of its own: what takes too long, or too much memory, is ended without us noticing.

One for all accounts of this process, started when it is first needed. Over its pipes go frames: four bytes of length,
then MessagePack. It gets no environment, so it has no secret but the key of our Message-IDs.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from weakref import WeakKeyDictionary

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Fact, File, Item
from shared.errors import Unavailable
from shared.events import MessageReceived, ReceiptReceived

# For one mail; a long one takes less than a second.
READ_WITHIN = 10.0
START_WITHIN = 20.0
FACTS: dict[str, type[MessageReceived] | type[ReceiptReceived]] = {
    "MessageReceived": MessageReceived, "ReceiptReceived": ReceiptReceived,
}  # fmt: skip


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as the server gave it; `size` of one that is too large, whose header alone is in `raw`."""

    raw: bytes
    received_at: datetime
    size: int | None = None


class Work(msgspec.Struct, frozen=True):
    """Mails of one inbox."""

    account: bytes
    inbox: bytes
    mails: list[Given]


class Found(msgspec.Struct, frozen=True):
    """An item of a mail; the mail's own bytes go back as None. `kind` is empty for bytes that are no mail."""

    kind: str
    lane: str = ""
    data: bytes = b""
    files: list[tuple[str, bytes | None]] = []
    code: str = ""
    error: str = ""


def described(account: Account, inbox: Inbox) -> tuple[bytes, bytes]:
    """What reading needs of them."""
    ids = {name: values for name, values in account.secrets.items() if name == "message_id_key"}
    return msgspec.json.encode(replace(account, secrets=ids)), msgspec.json.encode(inbox)


def shown(item: Item | BadItem, raw: bytes) -> Found:
    if isinstance(item, BadItem):
        return Found("", code=item.code, error=item.error)
    files = [(file.sha256, None if file.content is raw else file.content) for file in item.files]
    return Found(type(item.data).__name__, item.lane, msgspec.json.encode(item.data), files)


def item_of(found: Found, raw: bytes, inbox: Inbox) -> Item | BadItem:
    if not found.kind:
        return BadItem(raw, found.code, found.error, inbox.address)
    data: Fact = msgspec.json.decode(found.data, type=FACTS[found.kind])
    files = [File(raw if content is None else content, sha256) for sha256, content in found.files]
    return Item(inbox.address, found.lane, data, files or ())


@dataclass(slots=True)
class Parser:
    """The other process, as this one sees it."""

    users: int = 0
    _process: Process | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def read(self, mails: Sequence[Given], account: Account, inbox: Inbox) -> list[Item | BadItem]:
        """The items of all mails in order; a mail that cannot be read in time is a BadItem. Raises Unavailable."""
        about = described(account, inbox)
        items: list[Item | BadItem] = []
        left, deaths = list(mails), 0
        async with self._turn:
            while left:
                done, is_to_blame = 0, False
                try:
                    async for found in self._work(Work(*about, left)):
                        items += [item_of(one, left[done].raw, inbox) for one in found]
                        done, deaths = done + 1, 0
                except TimeoutError:
                    is_to_blame = True
                except (EOFError, ConnectionError):
                    # Something else may have ended it, so the mail gets a second process.
                    deaths += 1
                    is_to_blame = deaths == 2
                left = left[done:]
                if is_to_blame:
                    bad, left, deaths = left[0], left[1:], 0
                    items.append(BadItem(bad.raw, "unreadable_mail", "reading it takes too much", inbox.address))
        return items

    async def _work(self, work: Work) -> AsyncIterator[list[Found]]:
        """What was found in mail after mail. Raises TimeoutError, EOFError or ConnectionError at one that broke it."""
        process = await self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        is_whole = False
        try:
            frame = msgspec.msgpack.encode(work)
            process.stdin.write(len(frame).to_bytes(4, "big"))
            process.stdin.write(frame)
            await process.stdin.drain()
            for _ in work.mails:
                async with asyncio.timeout(READ_WITHIN):
                    length = int.from_bytes(await process.stdout.readexactly(4), "big")
                    answer = await process.stdout.readexactly(length)
                yield msgspec.msgpack.decode(answer, type=list[Found])
            is_whole = True
        finally:
            if not is_whole:
                await self.end()

    async def _running(self) -> Process:
        if self._process is not None and self._process.returncode is None:
            return self._process
        await self.end()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "shared.channels.email.reading",
                stdin=PIPE,
                stdout=PIPE,
                env={"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
                # An interrupt at the keyboard is for us; the process ends with its pipe.
                start_new_session=True,
            )
            assert self._process.stdout is not None
            async with asyncio.timeout(START_WITHIN):
                await self._process.stdout.readexactly(1)
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            await self.end()
            raise Unavailable(f"mails cannot be read: {type(error).__name__}", code="no_parser") from error
        return self._process

    async def end(self) -> None:
        """Ends the process, whatever it does; the next mail starts another one."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        # Draining the rest lets the pipe close.
        if process.stdout is not None:
            await process.stdout.read()
        await process.wait()


_parsers: WeakKeyDictionary[asyncio.AbstractEventLoop, Parser] = WeakKeyDictionary()


@asynccontextmanager
async def parser() -> AsyncIterator[Parser]:
    """This loop's parser until left; with its last user the process ends."""
    found = _parsers.setdefault(asyncio.get_running_loop(), Parser())
    found.users += 1
    try:
        yield found
    finally:
        found.users -= 1
        if not found.users:
            await found.end()
