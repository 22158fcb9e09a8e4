"""What came with an item is in the object store before its event is published: its files, and raw bytes too many."""

import asyncio
from collections.abc import Iterator, Sequence
from uuid import UUID

import msgspec

from services.ingest.seal import DEAD_LIMIT, RAW_LIMIT
from shared.accounts import Account
from shared.channels.contract import BadItem, File, Item
from shared.errors import Unavailable
from shared.events import MessageReceived, Unrecognised
from shared.objects import Objects

WithRef = MessageReceived | Unrecognised
# At once, of one request: so many groups of so many files, each group with the fsyncs that it needs.
AT_ONCE = 4
GROUP = 25


async def keep(
    objects: Objects, items: Sequence[Item | BadItem], account: Account, within: float
) -> Sequence[Item | BadItem]:
    """The same items, with a reference for raw bytes that an event does not carry; returns once all is safe.

    Raises Unavailable where the store did not take them in `within` seconds: then nothing of it may be published.
    """
    wanted = [(owner_of(item.address, account), content) for item in items for content in _to_keep(item)]
    if not wanted:
        return items
    places = asyncio.Semaphore(AT_ONCE)

    async def put(owner: UUID, contents: Sequence[bytes]) -> None:
        async with places:
            await objects.put_all(owner, contents)

    try:
        async with asyncio.timeout(within), asyncio.TaskGroup() as group:
            for owner, contents in _groups(wanted):
                group.create_task(put(owner, contents))
    except TimeoutError:
        raise Unavailable("the files were not kept in time", code="store_slow") from None
    except ExceptionGroup as failed:
        _, others = failed.split(Unavailable)
        if others is not None:
            raise
        raise Unavailable("the files cannot be kept", code="store_away") from failed
    return [_referring(item) if isinstance(item, Item) else item for item in items]


async def keep_raw(objects: Objects, account: Account, raw: bytes, within: float) -> None:
    """The whole of what could not be read, where a dead letter carries only its beginning. Raises Unavailable."""
    await keep(objects, [BadItem(raw, "", "")], account, within)


def owner_of(address: str | None, account: Account) -> UUID:
    """The inbox's brand; the account as long as no inbox has this address."""
    inbox = account.inboxes.get(address or "")
    return inbox.brand_id if inbox else account.id


def _groups(wanted: Sequence[tuple[UUID, bytes]]) -> Iterator[tuple[UUID, Sequence[bytes]]]:
    for owner in dict.fromkeys(owner for owner, _ in wanted):
        contents = [content for of, content in wanted if of == owner]
        for start in range(0, len(contents), GROUP):
            yield owner, contents[start : start + GROUP]


def _to_keep(item: Item | BadItem) -> list[bytes]:
    if isinstance(item, BadItem):
        return [item.raw] if len(item.raw) > DEAD_LIMIT else []
    files = [file.content for file in item.files]
    return [*files, item.data.raw] if _is_long(item) and isinstance(item.data, WithRef) else files


def _is_long(item: Item) -> bool:
    return isinstance(item.data, WithRef) and len(item.data.raw) > RAW_LIMIT


def _referring(item: Item) -> Item:
    if not _is_long(item):
        return item
    assert isinstance(item.data, WithRef)
    data = msgspec.structs.replace(item.data, raw=b"", raw_ref=File.of(item.data.raw).sha256)
    return Item(item.address, item.lane, data, item.files)
