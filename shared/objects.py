"""The store of customers' files: bytes under `{brand}/{sha256}`, in a folder or in an S3 bucket.

What `put` returned for survives a power cut. The same bytes are kept once in a brand, and never across brands.
"""

import asyncio
import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from shared.errors import Rejected, Unavailable
from shared.ids import new_id
from shared.settings import Settings

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class Objects(Protocol):
    """The owner of bytes is a brand, or an account for what belongs to no inbox yet."""

    async def put(self, owner: UUID, content: bytes) -> str:
        """Keeps the bytes and gives their SHA-256 in hex; returns once they are safe. Raises Unavailable."""
        ...

    async def put_all(self, owner: UUID, contents: Sequence[bytes]) -> None:
        """The same for several; where it raises, some may be kept."""
        ...

    async def get(self, owner: UUID, sha256: str) -> bytes:
        """Raises Rejected (`no_such_file`) where the owner has none of this hash, Unavailable."""
        ...


def missing() -> Rejected:
    return Rejected("no file of this brand has this hash", code="no_such_file")


class FolderStore:
    """A folder on a disk of this machine, or one that all services mount."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(self, owner: UUID, content: bytes) -> str:
        await self.put_all(owner, [content])
        return hashlib.sha256(content).hexdigest()

    async def put_all(self, owner: UUID, contents: Sequence[bytes]) -> None:
        try:
            await asyncio.to_thread(self._put, owner, contents)
        except OSError as error:
            raise Unavailable(f"a file cannot be kept: {type(error).__name__}", code="store_away") from error

    async def get(self, owner: UUID, sha256: str) -> bytes:
        if not is_sha256(sha256):
            raise missing()
        try:
            return await asyncio.to_thread((self._root / str(owner) / sha256).read_bytes)
        except FileNotFoundError:
            raise missing() from None
        except OSError as error:
            raise Unavailable(f"a file cannot be read: {type(error).__name__}", code="store_away") from error

    def _put(self, owner: UUID, contents: Sequence[bytes]) -> None:
        folder = self._folder(owner)
        wanted = {folder / hashlib.sha256(content).hexdigest(): content for content in contents}
        _write(folder, {target: content for target, content in wanted.items() if not target.exists()})
        # Also where all were there before: whoever renamed them may have died before this.
        _sync(folder)

    def _folder(self, owner: UUID) -> Path:
        folder = self._root / str(owner)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _sync(self._root)
            _sync(self._root.parent)
        return folder


def _write(folder: Path, contents: Mapping[Path, bytes]) -> None:
    """All of each or nothing, under its name only once its bytes are on the disk."""
    temporary = {target: folder / f".{new_id()}" for target in contents}
    try:
        with ExitStack() as stack:
            files = [stack.enter_context(temporary[target].open("xb")) for target in contents]
            for file, content in zip(files, contents.values(), strict=True):
                file.write(content)
                file.flush()
            # Only now: a disk that writes the first one out takes the others along.
            for file in files:
                os.fsync(file.fileno())
        for target, written in temporary.items():
            written.rename(target)
    except OSError:
        for written in temporary.values():
            with suppress(OSError):
                written.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class BucketStore:
    """A bucket, which confirms only what it has on its disks."""

    WITHIN = 30.0

    def __init__(self, bucket: "ObjectStore") -> None:
        self._bucket = bucket

    async def put(self, owner: UUID, content: bytes) -> str:
        from obstore.exceptions import BaseError

        sha256 = hashlib.sha256(content).hexdigest()
        try:
            async with asyncio.timeout(self.WITHIN):
                await self._bucket.put_async(f"{owner}/{sha256}", content)
        except (BaseError, TimeoutError, OSError) as error:
            raise Unavailable(f"a file cannot be kept: {type(error).__name__}", code="store_away") from error
        return sha256

    async def put_all(self, owner: UUID, contents: Sequence[bytes]) -> None:
        await asyncio.gather(*(self.put(owner, content) for content in contents))

    async def get(self, owner: UUID, sha256: str) -> bytes:
        from obstore.exceptions import BaseError

        if not is_sha256(sha256):
            raise missing()
        try:
            async with asyncio.timeout(self.WITHIN):
                found = await self._bucket.get_async(f"{owner}/{sha256}")
                return bytes(await found.bytes_async())
        except FileNotFoundError:
            raise missing() from None
        except (BaseError, TimeoutError, OSError) as error:
            raise Unavailable(f"a file cannot be read: {type(error).__name__}", code="store_away") from error

    async def try_out(self) -> None:
        """Puts an object of ours, reads it and removes it. Raises Unavailable where one of these is not allowed."""
        from obstore.exceptions import BaseError

        path = f".dragoman-doctor-{new_id()}"
        try:
            async with asyncio.timeout(self.WITHIN):
                await self._bucket.put_async(path, path.encode())
                found = await (await self._bucket.get_async(path)).bytes_async()
                await self._bucket.delete_async(path)
        except (BaseError, TimeoutError, OSError) as error:
            raise Unavailable(f"the bucket cannot be used: {type(error).__name__}", code="store_away") from error
        if bytes(found) != path.encode():
            raise Unavailable("the bucket gave other bytes than were put", code="store_away")


def is_sha256(text: str) -> bool:
    """Whether it is one in hex, so that nothing else becomes part of a path."""
    return len(text) == 64 and all(letter in "0123456789abcdef" for letter in text)


def store_of(settings: Settings) -> Objects:
    """The bucket that the settings name, else the folder."""
    if settings.media_url is None:
        return FolderStore(settings.media_dir or settings.data_dir / "media")
    from obstore.store import from_url

    # Ours is the time limit round a whole call; these end a single try in it.
    bucket = from_url(
        settings.media_url,
        client_options={"connect_timeout": timedelta(seconds=5), "timeout": timedelta(seconds=20)},
        retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=25)},
    )
    return BucketStore(bucket)
