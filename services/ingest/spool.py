"""Where events wait on disk while the bus is away: append-only, fsynced before anybody is told, drained in order.

One directory per process. A segment is a file of frames: length, CRC-32, then the record as JSON. A torn last frame is
what a crash leaves; it was never acknowledged, so it is left out. A segment that is damaged before its end is kept.
"""

import asyncio
import fcntl
import logging
import os
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import msgspec

from services.ingest import metrics
from shared.background import background
from shared.bus.contract import Bus, publish_in_time
from shared.errors import DragomanError, InboxMisconfigured, Unavailable
from shared.events import Record

log = logging.getLogger(__name__)

FRAME = struct.Struct(">II")
SEGMENT_LIMIT = 16_000_000
CHUNK = 500
BACK_OFF = (0.1, 0.5, 1.0, 2.0, 5.0)
# How long a refusal keeps this process from being ready: the next one tells whether it still holds.
REFUSAL_LASTS = 10.0

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class _Waiting(NamedTuple):
    """What somebody wants to have on disk, and how they are told."""

    frames: bytes
    records: Sequence[Record]
    written: asyncio.Future[None]


class Spool:
    """Appends with one fsync for all who wait together; drains by itself while `draining`."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._lock_file: int | None = None
        self._size = 0
        self._keys: Counter[tuple[str, str]] = Counter()
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._disk = asyncio.Lock()
        self._filled = asyncio.Event()
        self._current: Path | None = None
        self._left_over = False
        self._refusal = ""
        self._refused_at = 0.0
        # The bus did not take what the drain offered it last.
        self.is_stuck = False

    def open(self) -> None:
        """Takes the directory. Raises InboxMisconfigured where another process has it."""
        self._directory.mkdir(parents=True, exist_ok=True)
        _sync_directory(self._directory.parent)
        self._lock_file = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_file)
            raise InboxMisconfigured(
                "another process uses this spool directory: give each ingest its own", code="spool_in_use"
            ) from None
        for path in self._segments():
            self._keys.update((record.topic, record.key) for record in read_segment(path).records)
            self._size += path.stat().st_size
        self._note()
        if self._keys:
            self._left_over = True
            self._filled.set()

    def close(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)

    @property
    def waiting(self) -> int:
        """Events that are not drained yet."""
        return self._keys.total()

    @property
    def trouble(self) -> str:
        """Why webhooks should rather go elsewhere, empty where they are welcome: also while the bus is away."""
        if self._left_over:
            return f"{self.waiting} events of an earlier run wait in the spool"
        return self._refusal if time.monotonic() - self._refused_at < REFUSAL_LASTS else ""

    def holds_any(self, records: Sequence[Record]) -> bool:
        return bool(self._keys) and any((record.topic, record.key) in self._keys for record in records)

    async def append(self, records: Sequence[Record]) -> None:
        """Returns once the records are on disk. Raises Unavailable where it is full or the disk refuses."""
        frames = b"".join(map(_frame, records))
        if self._size + len(frames) > self._limit:
            raise self._refuse("the spool is full", "spool_full")
        self._size += len(frames)
        # From now on nothing of these keys may overtake them.
        self._keys.update((record.topic, record.key) for record in records)
        written = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(frames, records, written))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="spool")
        await written

    async def _write(self) -> None:
        while self._waiting:
            async with self._disk:
                batch, self._waiting = self._waiting, []
                data = b"".join(one.frames for one in batch)
                try:
                    await asyncio.to_thread(self._append_to_disk, data)
                except (OSError, RuntimeError) as failed:
                    # Also where no thread can be had: whoever waits must hear of it.
                    why = getattr(failed, "strerror", None) or type(failed).__name__
                    self._settle(batch, self._refuse(f"the spool cannot write: {why}", "spool_failed"))
                else:
                    self._refusal = ""
                    self._settle(batch, None)
        self._writing = None

    def _settle(self, batch: Sequence[_Waiting], error: Unavailable | None) -> None:
        for one in batch:
            if error is not None:
                self._size -= len(one.frames)
                self._forget(one.records)
            if one.written.cancelled():
                continue
            if error is None:
                one.written.set_result(None)
            else:
                one.written.set_exception(error)
        self._note()
        if self._keys:
            self._filled.set()

    def _refuse(self, why: str, code: str) -> Unavailable:
        if self._refusal != why:
            log.error("%s", why)
        self._refusal, self._refused_at = why, time.monotonic()
        return Unavailable(why, code=code)

    def _append_to_disk(self, data: bytes) -> None:
        path = self._current or self._next_segment()
        before = path.stat().st_size if path.exists() else 0
        try:
            _write_and_sync(path, data)
            if before == 0:
                _sync_directory(self._directory)
        except OSError:
            # Whatever followed a half-written frame would be hidden by it.
            self._current = None
            with suppress(OSError):
                os.truncate(path, before)
            raise
        self._current = path if before + len(data) < SEGMENT_LIMIT else None

    def _next_segment(self) -> Path:
        last = max((int(path.stem) for path in self._directory.glob("*.*") if path.stem.isdigit()), default=0)
        return self._directory / f"{last + 1:012d}.spool"

    def _segments(self) -> list[Path]:
        return sorted(self._directory.glob("*.spool"))

    @asynccontextmanager
    async def draining(self, bus: Bus) -> AsyncIterator[None]:
        """Carries what is here to the bus, in order, whenever there is something."""
        try:
            async with background(self._drain_for_ever(bus), "spool drain"):
                yield
        finally:
            if self._writing is not None:
                await self._writing

    async def _drain_for_ever(self, bus: Bus) -> None:
        failures = 0
        while True:
            await self._filled.wait()
            try:
                await self.drain(bus)
                failures, self.is_stuck = 0, False
            except (DragomanError, OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
                # Whatever it is, what waits here must be offered again.
                self.is_stuck = True
                log.warning("%d events wait in the spool: %s", self.waiting, type(error).__name__)
                await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
                failures += 1

    async def drain(self, bus: Bus) -> int:
        """Publishes everything that is here now; how many. Raises Unavailable where the bus is away."""
        async with self._disk:
            # New events go into a new file, so that those of now can be removed when they are through.
            self._current = None
            segments = self._segments()
        drained = 0
        for path in segments:
            drained += await self._drain_segment(path, bus)
        self._left_over = False
        if not self._keys:
            self._filled.clear()
        return drained

    async def _drain_segment(self, path: Path, bus: Bus) -> int:
        records, is_damaged = await asyncio.to_thread(read_segment, path)
        for start in range(0, len(records), CHUNK):
            await publish_in_time(bus, records[start : start + CHUNK])
        self._size -= _put_away(path, is_damaged=is_damaged)
        self._forget(records)
        self._note()
        return len(records)

    def _forget(self, records: Sequence[Record]) -> None:
        self._keys.subtract((record.topic, record.key) for record in records)
        self._keys = +self._keys

    def _note(self) -> None:
        metrics.SPOOL_WAITING.set(self.waiting)


def _frame(record: Record) -> bytes:
    data = _encode(record)
    return FRAME.pack(len(data), crc32(data)) + data


class Segment(NamedTuple):
    """The whole records of a file, in order.

    `is_damaged` where something lies behind a frame that is not whole: no torn end of a crash, so it may have been
    acknowledged.
    """

    records: list[Record]
    is_damaged: bool


def read_segment(path: Path) -> Segment:
    """What a segment holds."""
    data = path.read_bytes()
    records: list[Record] = []
    is_damaged = False
    place = 0
    while place + FRAME.size <= len(data):
        length, checksum = FRAME.unpack_from(data, place)
        body = data[place + FRAME.size : place + FRAME.size + length]
        place += FRAME.size + length
        if len(body) == length and crc32(body) == checksum:
            records.append(_decode(body))
        elif place < len(data):
            is_damaged = True
    if is_damaged:
        log.error("%s is damaged: the file is kept, what is whole in it goes on", path.name)
    return Segment(records, is_damaged)


def _put_away(path: Path, *, is_damaged: bool) -> int:
    """A segment that is through; how long it was."""
    size = path.stat().st_size
    if is_damaged:
        path.rename(path.with_suffix(".damaged"))
    else:
        path.unlink()
    return size


def _write_and_sync(path: Path, data: bytes) -> None:
    """Without a buffer: what one keeps after a refusal would be written in front of the next frame."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    finally:
        os.close(handle)


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
