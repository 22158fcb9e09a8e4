"""Mails by IMAP: what has a UID beyond the cursor, in pages whose mails are safe before the cursor moves.

Source: RFC 3501 §2.3.1.1 (UIDs and UIDVALIDITY). Identity on a server is the folder, its validity and the UID; what
we know a mail by is its own (see `inbound.py`), so that reading one twice, under whichever number, has one effect.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Item, Page
from shared.channels.email.imap import Mailbox, Selected, Size, Suspicion, Unreadable
from shared.channels.email.lines import Lines
from shared.channels.email.parser import Given
from shared.errors import BadPayload, Unavailable

log = logging.getLogger(__name__)

BODY_LIMIT = 40_000_000
PAGE_MAILS, PAGE_BYTES = 100, 8_000_000
SIZES_AT_ONCE = 500
# How far back is read again where the server's numbers are others than before: its days are not ours.
OVERLAP = timedelta(days=2)
# The server's clock and ours.
SKEW = timedelta(minutes=10)
# So often a connection may end at the same mail before that one is left out.
MOST_DEATHS = 3
TRIES = 2


class Cursor(msgspec.Struct, frozen=True):
    """How far a folder was read. `at` is when the last mail came, `began` from when on mails count at all."""

    validity: int
    uid: int
    at: datetime
    began: datetime | None = None

    def encode(self) -> str:
        return msgspec.json.encode(self).decode()

    @classmethod
    def decode(cls, text: str) -> "Cursor | None":
        """Raises BadPayload for a text that no poll made."""
        try:
            return msgspec.json.decode(text, type=cls) if text else None
        except msgspec.MsgspecError:
            raise BadPayload("the cursor is none of this channel", code="bad_cursor") from None


@dataclass(frozen=True, slots=True)
class _Reading:
    """One poll of one folder."""

    lines: Lines
    mailbox: Mailbox
    account: Account
    inbox: Inbox
    folder: str
    validity: int
    began: datetime | None

    @property
    def suspicion(self) -> Suspicion:
        return self.mailbox.suspicion(self.folder, self.validity)


async def poll(lines: Lines, account: Account, inbox: Inbox, cursor: str) -> AsyncGenerator[Page, None]:
    """Pages of mails in the order of their UIDs, each with its cursor; what was handed out is marked as read.

    The first poll begins with what comes from now on, unless the inbox says `read_history`. A mail that cannot be
    fetched or read is a BadItem, one beyond `BODY_LIMIT` is told of by its header.
    Raises AccountBroken, InboxMisconfigured, Throttled, Unavailable, BadPayload, Rejected.
    """
    before = Cursor.decode(cursor)
    mailbox = lines.imap(account)
    folder = str(inbox.settings.get("folder") or "INBOX")
    is_marked = inbox.settings.get("mark_read", True) is not False
    selected = await mailbox.select(folder, is_marked=is_marked)
    if before is None and not inbox.settings.get("read_history"):
        last = await _last(mailbox, selected)
        now = datetime.now(UTC)
        yield Page([], Cursor(selected.validity, last, now, now - SKEW).encode())
        return
    is_renumbered = before is not None and _is_void(before, selected)
    # What is beyond comes while the folder is read again; among the others are old mails, with whatever numbers.
    last = await _last(mailbox, selected) if before is None or is_renumbered else 0
    uids = await _wanted(mailbox, selected, before)
    reading = _Reading(
        lines, mailbox, account, inbox, folder, selected.validity, before.began if before is not None else None
    )
    last_at = before.at if before is not None else datetime.now(UTC)
    async for items, group, at in _pages(reading, uids, is_renumbered=is_renumbered):
        last_at = max(last_at, at) if before is not None else at
        reached = Cursor(selected.validity, group[-1], last_at, reading.began).encode()
        # A folder that is read again is read from its beginning until all of it is safe.
        yield Page(items, None if is_renumbered else reached)
        # Whoever asks for the next page has this one safe.
        if is_marked and not await mailbox.mark(group):
            log.warning("inbox %s: %d mails could not be marked as read", inbox.id, len(group))
    if is_renumbered or (before is None and not uids):
        yield Page([], Cursor(selected.validity, last, last_at, reading.began).encode())


def _is_void(before: Cursor, selected: Selected) -> bool:
    """Whether the numbers mean something else by now: another validity, or a server that went back in time."""
    went_back = selected.next_uid is not None and selected.next_uid <= before.uid
    return selected.validity != before.validity or went_back


async def _last(mailbox: Mailbox, selected: Selected) -> int:
    if selected.next_uid is not None:
        return selected.next_uid - 1
    return max(await mailbox.after(0), default=0)


async def _wanted(mailbox: Mailbox, selected: Selected, before: Cursor | None) -> list[int]:
    if before is None:
        return await mailbox.after(0)
    if _is_void(before, selected):
        log.warning("a folder's UIDs are others than before: reading again from %s on", before.at - OVERLAP)
        return await mailbox.since(before.at - OVERLAP)
    if selected.next_uid is not None and selected.next_uid == before.uid + 1:
        return []
    return await mailbox.after(before.uid)


Piece = tuple[Sequence[Item | BadItem], Sequence[int], datetime]


async def _pages(reading: _Reading, uids: Sequence[int], *, is_renumbered: bool) -> AsyncGenerator[Piece, None]:
    """Items, the UIDs that they are of, and when the last of these came; one page is read while one is published."""
    pieces = _pieces(reading, uids, is_renumbered=is_renumbered)
    ahead = asyncio.ensure_future(_next(pieces))
    try:
        while (piece := await ahead) is not None:
            ahead = asyncio.ensure_future(_next(pieces))
            yield piece
    finally:
        ahead.cancel()
        await asyncio.gather(ahead, return_exceptions=True)
        await pieces.aclose()


async def _next(pieces: AsyncGenerator[Piece, None]) -> Piece | None:
    return await anext(pieces, None)


async def _pieces(reading: _Reading, uids: Sequence[int], *, is_renumbered: bool) -> AsyncGenerator[Piece, None]:
    for start in range(0, len(uids), SIZES_AT_ONCE):
        chunk = uids[start : start + SIZES_AT_ONCE]
        sizes, bad = await _sizes(reading, chunk)
        if is_renumbered and reading.began is not None:
            sizes = {uid: size for uid, size in sizes.items() if size.at >= reading.began}
        for group in _groups(chunk, sizes, reading.suspicion.until):
            items: list[Item | BadItem] = [bad[uid] for uid in group if uid in bad]
            items += await _items(reading, [uid for uid in group if uid in sizes], sizes)
            known = [sizes[uid].at for uid in group if uid in sizes]
            yield items, group, max(known, default=datetime.now(UTC))


def _groups(uids: Sequence[int], sizes: Mapping[int, Size], alone_until: int) -> Iterator[list[int]]:
    """UIDs in order, few and small enough for one page; one by one as long as one of them is suspected."""
    group: list[int] = []
    total = 0
    for uid in uids:
        size = min(sizes[uid].size, BODY_LIMIT) if uid in sizes else 0
        if group and (len(group) == PAGE_MAILS or total + size > PAGE_BYTES or group[-1] <= alone_until):
            yield group
            group, total = [], 0
        group.append(uid)
        total += size
    if group:
        yield group


async def _sizes(reading: _Reading, uids: Sequence[int]) -> tuple[dict[int, Size], dict[int, BadItem]]:
    """By UID what is known before fetching, and those of which even that cannot be read."""
    try:
        return await reading.mailbox.sizes(uids), {}
    except Unreadable:
        pass
    found: dict[int, Size] = {}
    bad: dict[int, BadItem] = {}
    for uid in uids:
        try:
            found |= await reading.mailbox.sizes([uid])
        except Unreadable:
            bad[uid] = _unfetched(reading, uid, "unreadable_answer")
    return found, bad


async def _items(reading: _Reading, uids: Sequence[int], sizes: Mapping[int, Size]) -> list[Item | BadItem]:
    """What the mails hold. Raises Unavailable where the connection is lost among them."""
    deaths = reading.suspicion.deaths
    bad = [uid for uid in uids if deaths.get(uid, 0) >= MOST_DEATHS]
    long = [uid for uid in uids if sizes[uid].size > BODY_LIMIT and uid not in bad]
    short = [uid for uid in uids if uid not in bad and uid not in long]
    given: dict[int, Given] = {}
    items: list[Item | BadItem] = [_unfetched(reading, uid, "ends_the_connection") for uid in bad]
    try:
        for wanted, is_whole in ((short, True), (long, False)):
            raws, lost = await _raws(reading, wanted, is_whole=is_whole)
            items += [_unfetched(reading, uid, "unreadable_answer") for uid in lost]
            given |= {
                uid: Given(raw=raw, received_at=sizes[uid].at, size=None if is_whole else sizes[uid].size)
                for uid, raw in raws.items()
            }
    except Unavailable:
        _suspect(reading, uids)
        raise
    mails = [given[uid] for uid in uids if uid in given]
    return items + (await reading.lines.parser.read(mails, reading.account, reading.inbox) if mails else [])


def _suspect(reading: _Reading, uids: Sequence[int]) -> None:
    suspicion = reading.suspicion
    suspicion.until = uids[-1]
    if len(uids) == 1:
        suspicion.deaths[uids[0]] = suspicion.deaths.get(uids[0], 0) + 1


async def _raws(reading: _Reading, uids: Sequence[int], *, is_whole: bool) -> tuple[dict[int, bytes], list[int]]:
    """The bytes by UID, and those that the server has and does not give."""
    if not uids:
        return {}, []
    found, lost = await _fetched(reading, uids, is_whole=is_whole)
    missing = [uid for uid in uids if uid not in found and uid not in lost]
    if missing:
        # Those that are gone have no size either.
        still_there, bad = await _sizes(reading, missing)
        lost += [*still_there, *bad]
    return found, lost


async def _fetched(reading: _Reading, uids: Sequence[int], *, is_whole: bool) -> tuple[dict[int, bytes], list[int]]:
    """The bytes by UID, and those whose answer cannot be read: asked for one by one, and not once only."""
    fetch = reading.mailbox.whole if is_whole else reading.mailbox.heads
    try:
        return await fetch(uids), []
    except Unreadable:
        pass
    found: dict[int, bytes] = {}
    lost: list[int] = []
    for uid in uids:
        for left in reversed(range(TRIES)):
            try:
                found |= await fetch([uid])
                break
            except Unreadable:
                if not left:
                    lost.append(uid)
    return found, lost


def _unfetched(reading: _Reading, uid: int, code: str) -> BadItem:
    """It is still in the mailbox, where a person can look at it."""
    where = f"UID {uid} of UIDVALIDITY {reading.validity} in {reading.folder}"
    return BadItem(where.encode(), code, f"a mail cannot be fetched: {where}", reading.inbox.address)
