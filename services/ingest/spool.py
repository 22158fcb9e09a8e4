"""Where events wait on disk while the bus is away: append-only, fsynced before anybody is told, drained in order.

One directory per process. A segment is a file of frames: length, CRC-32, then the record as JSON. A torn last frame is
what a crash leaves; it was never acknowledged, so it is cut off.
"""

import asyncio
import fcntl
import logging
import os
import struct
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from zlib import crc32

import msgspec

from services.ingest import metrics
from shared.bus.contract import Bus
from shared.errors import InboxMisconfigured, Unavailable
from shared.events import Record

log = logging.getLogger(__name__)

FRAME = struct.Struct(">II")
SEGMENT_LIMIT = 16_000_000
CHUNK = 500
BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0)
PUBLISH_WITHIN = 10.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Spool:
    """Appends with one fsync for all who wait together; drains by itself while `draining`."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._lock_file: int | None = None
        self._size = 0
        self._keys: Counter[tuple[str, str]] = Counter()
        self._waiting: list[tuple[bytes, Sequence[Record], asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._filled = asyncio.Event()
        self._current: Path | None = None
        self.trouble = ""

    def open(self) -> None:
        """Takes the directory. Raises InboxMisconfigured where another process has it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock_file = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_file)
            raise InboxMisconfigured(
                "another process uses this spool directory: give each ingest its own", code="spool_in_use"
            ) from None
        for path in self._segments():
            for record in read_segment(path):
                self._keys[(record.topic, record.key)] += 1
            self._size += path.stat().st_size
        self._note()
        if self._keys:
            self._filled.set()

    def close(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)

    @property
    def waiting(self) -> int:
        """Events that are not drained yet."""
        return self._keys.total()

    def holds_any(self, records: Sequence[Record]) -> bool:
        return bool(self._keys) and any((record.topic, record.key) in self._keys for record in records)

    async def append(self, records: Sequence[Record]) -> None:
        """Returns once the records are on disk. Raises Unavailable where it is full or the disk refuses."""
        frames = b"".join(_frame(record) for record in records)
        if self._size + len(frames) > self._limit:
            raise Unavailable("the spool is full", code="spool_full")
        self._size += len(frames)
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((frames, records, future))
        # From now on nothing of these keys may overtake them.
        self._keys.update((record.topic, record.key) for record in records)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="spool")
        await future

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: OSError | None = None
            try:
                await asyncio.to_thread(self._append_to_disk, b"".join(frames for frames, _, _ in batch))
            except OSError as failed:
                error = failed
                self.trouble = f"the spool cannot write: {failed.strerror}"
                log.error("%s", self.trouble)
            for frames, records, future in batch:
                if error is not None:
                    self._size -= len(frames)
                    self._forget(records)
                if future.cancelled():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(Unavailable(self.trouble, code="spool_failed"))
        self._writing = None
        self._note()
        self._filled.set()

    def _append_to_disk(self, data: bytes) -> None:
        path = self._current
        if path is None or not path.exists() or path.stat().st_size > SEGMENT_LIMIT:
            path = self._current = self._next_segment()
        before = path.stat().st_size if path.exists() else 0
        with path.open("ab") as file:
            try:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                # A half-written frame would hide whatever is appended later.
                with suppress(OSError):
                    os.truncate(path, before)
                raise
        if before == 0:
            _sync_directory(self._directory)

    def _next_segment(self) -> Path:
        last = max((int(path.stem) for path in self._segments()), default=0)
        return self._directory / f"{last + 1:012d}.spool"

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.spool"))

    @asynccontextmanager
    async def draining(self, bus: Bus) -> AsyncIterator[None]:
        """Carries what is here to the bus, in order, whenever there is something."""
        task = asyncio.create_task(self._drain_for_ever(bus), name="spool drain")
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            if self._writing is not None:
                await self._writing

    async def _drain_for_ever(self, bus: Bus) -> None:
        failures = 0
        while True:
            await self._filled.wait()
            try:
                await self.drain(bus)
                failures, self.trouble = 0, ""
            except (Unavailable, TimeoutError) as error:
                self.trouble = f"{self.waiting} events wait in the spool: {type(error).__name__}"
                log.warning("%s", self.trouble)
                await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
                failures += 1

    async def drain(self, bus: Bus) -> int:
        """Publishes everything that is here now; how many. Raises Unavailable where the bus is away."""
        drained = 0
        for path in self._segments():
            if path == self._current:
                # New events go into a new file, so that this one can be removed when it is through.
                self._current = None
                if self._writing is not None:
                    await asyncio.shield(self._writing)
            records = await asyncio.to_thread(_whole_segment, path)
            for start in range(0, len(records), CHUNK):
                async with asyncio.timeout(PUBLISH_WITHIN):
                    await bus.publish(records[start : start + CHUNK])
            size = path.stat().st_size
            path.unlink()
            self._size -= size
            self._forget(records)
            drained += len(records)
        self._filled.clear()
        if self._keys:
            self._filled.set()
        self._note()
        return drained

    def _forget(self, records: Sequence[Record]) -> None:
        self._keys.subtract((record.topic, record.key) for record in records)
        self._keys = +self._keys

    def _note(self) -> None:
        metrics.SPOOL_WAITING.set(self.waiting)


def _frame(record: Record) -> bytes:
    data = _encode(record)
    return FRAME.pack(len(data), crc32(data)) + data


def read_segment(path: Path) -> Iterator[Record]:
    """The whole records of a segment, in order; a torn end is left out."""
    data = path.read_bytes()
    place = 0
    while place + FRAME.size <= len(data):
        length, checksum = FRAME.unpack_from(data, place)
        body = data[place + FRAME.size : place + FRAME.size + length]
        if len(body) < length or crc32(body) != checksum:
            break
        yield _decode(body)
        place += FRAME.size + length
    if place < len(data):
        log.warning("%s ends in a torn frame, which was never acknowledged", path.name)


def _whole_segment(path: Path) -> list[Record]:
    return list(read_segment(path))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def adopt(directory: Path, bus: Bus) -> int:
    """Drains a directory that a lost process left behind; how many events. Raises Unavailable, InboxMisconfigured."""
    spool = Spool(directory, limit=0)
    spool.open()
    try:
        return await spool.drain(bus)
    finally:
        spool.close()
