"""The stand-in's mail store over IMAP, which any mail program can open; it misbehaves on request.

Source: RFC 3501 (IMAP4rev1), RFC 2177 (IDLE), RFC 3691 (UNSELECT), RFC 4315 (UIDPLUS), RFC 7888 (literals).
"""

import asyncio
import base64
import binascii
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

from msgspec import Struct

from services.sandbox.mail.search import Wrong, chosen, search, tokens
from services.sandbox.mail.store import Mail, Mailbox, Mailboxes
from services.sandbox.mail.structure import envelope, quoted, section, structure

CAPABILITIES = b"IMAP4rev1 IDLE UNSELECT UIDPLUS LITERAL+ NAMESPACE AUTH=PLAIN"
LITERAL = re.compile(rb"\{(\d+)(\+?)\}\r\n$")
LARGEST_LITERAL = 50_000_000
LONGEST_LINE = 1_000_000
BODY = re.compile(r"BODY(?P<peek>\.PEEK)?\[(?P<section>[^\]]*)\](?:<(?P<from>\d+)\.(?P<length>\d+)>)?", re.IGNORECASE)
MACROS = {
    "FAST": ["FLAGS", "INTERNALDATE", "RFC822.SIZE"],
    "ALL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE"],
    "FULL": ["FLAGS", "INTERNALDATE", "RFC822.SIZE", "ENVELOPE", "BODY"],
}
# Older names of three sections, which come back under these names.
OLD_NAMES = {"RFC822": "BODY[]", "RFC822.HEADER": "BODY.PEEK[HEADER]", "RFC822.TEXT": "BODY[TEXT]"}
FLAGS = rb"(\Answered \Flagged \Deleted \Seen \Draft)"


class Trouble(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the store does wrong, `times` times: `drop` ends the connection in the middle of a mail (or of `login`),

    `garble` answers what is no IMAP, `withhold` gives no bytes of the mail, `refuse` says NO, `hang` says nothing for
    `seconds`.
    """

    mode: Literal["drop", "garble", "withhold", "refuse", "hang"]
    # `size` is what is asked of a mail before its bytes are.
    stage: Literal["login", "select", "size", "fetch"] = "fetch"
    # The mails with this UID alone.
    uid: int | None = None
    times: int = 1
    seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Owner:
    """Who may log in, and whose mailbox each of their folders is."""

    passwords: tuple[str, ...] = field(repr=False)
    folders: Mapping[str, str]


@dataclass(slots=True)
class Store:
    """The server's state."""

    owners: Mapping[str, Owner]
    boxes: Mailboxes
    troubles: list[list[object]] = field(default_factory=list)
    connections: int = 0

    def misbehave(self, wanted: Trouble) -> None:
        self.troubles.append([wanted, wanted.times])

    def take(self, stage: str, uid: int | None = None) -> Trouble | None:
        for entry in self.troubles:
            wanted, left = entry
            assert isinstance(wanted, Trouble)
            assert isinstance(left, int)
            if wanted.stage == stage and wanted.uid in (None, uid):
                entry[1] = left - 1
                if left <= 1:
                    self.troubles.remove(entry)
                return wanted
        return None


class Connection:
    """One client: what it said so far, and the folder that it looks at."""

    def __init__(self, store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._store, self._reader, self._writer = store, reader, writer
        self._owner: Owner | None = None
        self._box: Mailbox | None = None
        self._is_readonly = False
        # The UIDs by sequence number, as the client knows them.
        self._seen: list[int] = []

    async def serve(self) -> None:
        self._say(b"* OK [CAPABILITY " + CAPABILITIES + b"] the sandbox's mail store")
        while True:
            await self._writer.drain()
            line = await self._command()
            tag, _, rest = line.partition(b" ")
            name, _, arguments = rest.partition(b" ")
            command = name.decode("ascii", "replace").upper()
            try:
                done = await self._obey(command, arguments)
            except Wrong as wrong:
                self._say(tag + b" BAD " + str(wrong).encode())
                continue
            self._say(tag + b" " + done)
            if command == "LOGOUT":
                return

    async def _command(self) -> bytes:
        """One command with its literals in place, as quoted strings would stand there."""
        whole = b""
        while True:
            line = await self._reader.readuntil(b"\r\n")
            literal = LITERAL.search(line)
            if literal is None:
                return whole + line[:-2]
            length = int(literal[1])
            if length > LARGEST_LITERAL:
                raise ConnectionError
            if not literal[2]:
                self._say(b"+ go on")
                await self._writer.drain()
            content = await self._reader.readexactly(length)
            escaped = content.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
            whole += line[: literal.start()] + b'"' + escaped + b'"'

    async def _obey(self, command: str, arguments: bytes) -> bytes:
        if command in ("CAPABILITY", "NOOP", "CHECK", "LOGOUT", "NAMESPACE", "ID"):
            return self._plain(command)
        if command in ("LOGIN", "AUTHENTICATE"):
            return await self._log_in(command, tokens(arguments))
        if self._owner is None:
            raise Wrong("log in first")
        if command in ("LIST", "LSUB", "STATUS", "SELECT", "EXAMINE", "SUBSCRIBE", "UNSUBSCRIBE", "APPEND"):
            return await self._folders(command, arguments)
        if self._box is None:
            raise Wrong("select a folder first")
        if command == "UID":
            name, _, rest = arguments.partition(b" ")
            return await self._mails(name.decode("ascii", "replace").upper(), rest, by_uid=True)
        return await self._mails(command, arguments, by_uid=False)

    def _plain(self, command: str) -> bytes:
        if command == "CAPABILITY":
            self._say(b"* CAPABILITY " + CAPABILITIES)
        if command == "NAMESPACE":
            self._say(b'* NAMESPACE (("" "/")) NIL NIL')
        if command == "ID":
            self._say(b"* ID NIL")
        if command == "LOGOUT":
            self._say(b"* BYE till next time")
        if command in ("NOOP", "CHECK"):
            self._tell_changes()
        return b"OK " + command.encode() + b" done"

    async def _log_in(self, command: str, given: Sequence[str]) -> bytes:
        if await self._goes_wrong("login"):
            return b"NO [UNAVAILABLE] not now"
        if command == "AUTHENTICATE":
            given = await self._plain_words(given)
        if len(given) != 2:
            raise Wrong("a name and a password")
        owner = self._store.owners.get(given[0])
        if owner is None or given[1] not in owner.passwords:
            return b"NO [AUTHENTICATIONFAILED] wrong name or password"
        self._owner = owner
        return b"OK [CAPABILITY " + CAPABILITIES + b"] welcome"

    async def _plain_words(self, given: Sequence[str]) -> Sequence[str]:
        if not given or given[0].upper() != "PLAIN":
            raise Wrong("PLAIN alone")
        encoded = given[1].encode() if len(given) > 1 else await self._continued()
        try:
            return base64.b64decode(encoded).decode().split("\x00")[1:]
        except (binascii.Error, ValueError):
            raise Wrong("no base64") from None

    async def _continued(self) -> bytes:
        self._say(b"+ ")
        await self._writer.drain()
        return (await self._reader.readuntil(b"\r\n"))[:-2]

    # folders

    async def _folders(self, command: str, arguments: bytes) -> bytes:
        given = tokens(arguments)
        if command in ("LIST", "LSUB"):
            self._list(command, given)
            return b"OK done"
        if not given:
            raise Wrong("which folder")
        box = self._box_of(given[0])
        if command in ("SUBSCRIBE", "UNSUBSCRIBE"):
            return b"OK done"
        if box is None:
            return b"NO [NONEXISTENT] there is no such folder"
        if command == "STATUS":
            self._status(given[0], box, given[1:])
            return b"OK done"
        if command == "APPEND":
            uid = self._store.boxes.deliver(self._address_of(given[0]), given[-1].encode("utf-8", "surrogateescape"))
            return b"OK [APPENDUID %d %d] kept" % (box.uidvalidity, uid)
        if await self._goes_wrong("select"):
            return b"NO [UNAVAILABLE] not now"
        self._box, self._is_readonly = box, command == "EXAMINE"
        self._seen = [mail.uid for mail in box.mails]
        self._say(b"* FLAGS " + FLAGS)
        self._say(b"* %d EXISTS" % len(box.mails))
        self._say(b"* 0 RECENT")
        self._say(b"* OK [UIDVALIDITY %d] valid" % box.uidvalidity)
        self._say(b"* OK [UIDNEXT %d] next" % box.next_uid)
        self._say(b"* OK [PERMANENTFLAGS " + (b"()" if self._is_readonly else FLAGS) + b"] kept")
        return b"OK [READ-ONLY] open" if self._is_readonly else b"OK [READ-WRITE] open"

    def _list(self, command: str, given: Sequence[str]) -> None:
        assert self._owner is not None
        if len(given) == 2 and not given[1]:
            self._say(b'* LIST (\\Noselect) "/" ""')
            return
        pattern = re.escape("".join(given[:2])).replace(r"\*", ".*").replace("%", "[^/]*")
        for name in self._owner.folders:
            if re.fullmatch(pattern, name, re.IGNORECASE):
                self._say(b'* %s (\\HasNoChildren) "/" %s' % (command.encode(), quoted(name)))

    def _status(self, name: str, box: Mailbox, wanted: Sequence[str]) -> None:
        values = {
            "MESSAGES": len(box.mails), "RECENT": 0, "UIDNEXT": box.next_uid, "UIDVALIDITY": box.uidvalidity,
            "UNSEEN": sum("\\seen" not in mail.flags for mail in box.mails),
        }  # fmt: skip
        shown = " ".join(f"{w.upper()} {values[w.upper()]}" for w in wanted if w.upper() in values)
        self._say(b"* STATUS %s (%s)" % (quoted(name), shown.encode()))

    def _address_of(self, name: str) -> str:
        assert self._owner is not None
        return next((a for folder, a in self._owner.folders.items() if folder.lower() == name.lower()), "")

    def _box_of(self, name: str) -> Mailbox | None:
        address = self._address_of(name)
        return self._store.boxes.of(address) if address else None

    # mails

    async def _mails(self, command: str, arguments: bytes, *, by_uid: bool) -> bytes:
        assert self._box is not None
        if command == "FETCH":
            return await self._fetch(arguments, by_uid=by_uid)
        if command == "SEARCH":
            found = self._search(tokens(arguments), by_uid=by_uid)
            self._say(b"* SEARCH" + b"".join(b" %d" % n for n in found))
            return b"OK searched"
        if command == "STORE":
            return self._flag(arguments, by_uid=by_uid)
        if command in ("EXPUNGE", "CLOSE", "UNSELECT"):
            return self._leave(command)
        if command == "IDLE":
            return await self._idle()
        raise Wrong("this store does not know the command")

    def _leave(self, command: str) -> bytes:
        assert self._box is not None
        if command != "UNSELECT" and not self._is_readonly:
            self._box.mails[:] = [mail for mail in self._box.mails if "\\deleted" not in mail.flags]
        if command == "EXPUNGE":
            self._tell_changes()
            return b"OK expunged"
        self._box = None
        return b"OK closed"

    async def _idle(self) -> bytes:
        self._say(b"+ waiting")
        await self._writer.drain()
        reading = asyncio.ensure_future(self._reader.readuntil(b"\r\n"))
        try:
            while not reading.done():
                self._tell_changes()
                await self._writer.drain()
                await asyncio.wait([reading], timeout=0.5)
            await reading
        finally:
            reading.cancel()
        return b"OK idle no more"

    def _tell_changes(self) -> None:
        """Numbers move only where a client expects it: between its commands."""
        if self._box is None:
            return
        there = {mail.uid for mail in self._box.mails}
        for position in range(len(self._seen), 0, -1):
            if self._seen[position - 1] not in there:
                del self._seen[position - 1]
                self._say(b"* %d EXPUNGE" % position)
        new = [mail.uid for mail in self._box.mails if mail.uid not in set(self._seen)]
        if new:
            self._seen += new
            self._say(b"* %d EXISTS" % len(self._seen))

    def _numbered(self) -> list[tuple[int, Mail]]:
        """The mails that are still there, by the numbers that the client knows."""
        assert self._box is not None
        mails = {mail.uid: mail for mail in self._box.mails}
        return [(number, mails[uid]) for number, uid in enumerate(self._seen, 1) if uid in mails]

    async def _fetch(self, arguments: bytes, *, by_uid: bool) -> bytes:
        if by_uid:
            # Mails that came since the folder was opened have a UID already.
            self._tell_changes()
        given = tokens(arguments)
        if len(given) < 2:
            raise Wrong("which mails, and what of them")
        items = [item for name in given[1:] for item in MACROS.get(name.upper(), [name])]
        if by_uid and not any(item.upper() == "UID" for item in items):
            items = ["UID", *items]
        for number, mail in chosen(self._numbered(), given[0], by_uid=by_uid):
            has_body = any("[" in OLD_NAMES.get(item.upper(), item) for item in items)
            trouble = self._store.take("fetch" if has_body else "size", mail.uid)
            if trouble is not None and trouble.mode == "refuse":
                return b"NO [SERVERBUG] this mail cannot be had"
            if trouble is not None:
                await self._stumble(trouble, number, mail)
                continue
            pieces = [self._item(item, mail) for item in items]
            self._say(b"* %d FETCH (%s)" % (number, b" ".join(pieces)))
            await self._writer.drain()
        return b"OK fetched"

    async def _stumble(self, trouble: Trouble, number: int, mail: Mail) -> None:
        if trouble.mode == "garble":
            self._say(b"* %d FETCH (UID %d BODY[] ((" % (number, mail.uid))
            return
        if trouble.mode == "withhold":
            self._say(b"* %d FETCH (UID %d BODY[] NIL)" % (number, mail.uid))
            return
        if trouble.mode == "hang":
            await self._hang(trouble.seconds)
        self._writer.write(b"* %d FETCH (UID %d BODY[] {%d}\r\n" % (number, mail.uid, len(mail.raw)))
        self._writer.write(mail.raw[: len(mail.raw) // 2])
        await self._writer.drain()
        self._writer.transport.abort()
        raise ConnectionError

    def _item(self, item: str, mail: Mail) -> bytes:
        name = item.upper()
        if name == "UID":
            return b"UID %d" % mail.uid
        if name == "FLAGS":
            return b"FLAGS (" + " ".join(sorted(f.title() for f in mail.flags)).encode() + b")"
        if name == "INTERNALDATE":
            return b"INTERNALDATE " + mail.at.strftime('"%d-%b-%Y %H:%M:%S %z"').encode()
        if name == "RFC822.SIZE":
            return b"RFC822.SIZE %d" % len(mail.raw)
        if name == "ENVELOPE":
            return b"ENVELOPE " + envelope(mail.raw)
        if name in ("BODYSTRUCTURE", "BODY"):
            return name.encode() + b" " + structure(mail.raw)
        match = BODY.fullmatch(OLD_NAMES.get(name, item))
        if match is None:
            raise Wrong("this cannot be fetched")
        if not match["peek"] and not self._is_readonly:
            mail.flags.add("\\seen")
        content = section(mail.raw, match["section"])
        label = f"BODY[{match['section'].upper()}]"
        if match["from"] is not None:
            start = int(match["from"])
            content, label = content[start : start + int(match["length"])], f"{label}<{start}>"
        label = name if name in OLD_NAMES else label
        return b"%s {%d}\r\n%s" % (label.encode(), len(content), content)

    def _flag(self, arguments: bytes, *, by_uid: bool) -> bytes:
        given = tokens(arguments)
        if len(given) < 2:
            raise Wrong("which mails, and which flags")
        if self._is_readonly:
            return b"NO the folder is open for reading only"
        how, flags = given[1].upper(), {flag.lower() for flag in given[2:]}
        for number, mail in chosen(self._numbered(), given[0], by_uid=by_uid):
            if how.startswith("+"):
                mail.flags |= flags
            elif how.startswith("-"):
                mail.flags -= flags
            else:
                mail.flags = set(flags)
            if not how.endswith(".SILENT"):
                self._say(b"* %d FETCH (UID %d %s)" % (number, mail.uid, self._item("FLAGS", mail)))
        return b"OK flagged"

    def _search(self, keys: Sequence[str], *, by_uid: bool) -> list[int]:
        self._tell_changes()
        return [mail.uid if by_uid else number for number, mail in search(self._numbered(), keys)]

    async def _goes_wrong(self, stage: str) -> bool:
        trouble = self._store.take(stage)
        if trouble is None:
            return False
        if trouble.mode == "hang":
            await self._hang(trouble.seconds)
        if trouble.mode != "refuse":
            self._writer.transport.abort()
            raise ConnectionError
        return True

    async def _hang(self, seconds: float) -> None:
        """Silent until the client leaves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reader.read()

    def _say(self, line: bytes) -> None:
        self._writer.write(line + b"\r\n")


@asynccontextmanager
async def listening(store: Store, port: int) -> AsyncIterator[int]:
    """Serves on a loopback port (0: any free one) until left; gives the port."""
    open_ones: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_ones[task] = writer
        store.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                await Connection(store, reader, writer).serve()
        finally:
            del open_ones[task]
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=LONGEST_LINE)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        tasks = list(open_ones)
        for writer in open_ones.values():
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
