"""Whether the folders that a process keeps things in can be written, with room for what may come."""

import asyncio
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path

from shared.checks import Check, Finding, Line, answered, skipped, warning, well, wrong
from shared.objects import BucketStore, store_of
from shared.settings import Settings

LITTLE, TOO_LITTLE = 1_000_000_000, 50_000_000
MOUNT = "mount a volume there that this user may write"


async def examine(settings: Settings) -> list[Line]:
    """The data folder where it is used, the spool, and the store of files."""
    objects = store_of(settings)
    spool, media = settings.spool_dir or settings.data_dir / "spool", settings.media_dir or settings.data_dir / "media"
    checks = [
        Check("data folder", partial(_data, settings)),
        Check("spool folder", partial(_folder, spool, settings.spool_limit, f"{MOUNT}: one for each ingest")),
        Check("files' bucket", partial(_bucket, objects))
        if isinstance(objects, BucketStore)
        else Check("files' folder", partial(_folder, media, LITTLE, f"{MOUNT}: one that all services share")),
    ]
    return list(await asyncio.gather(*map(answered, checks)))


async def _data(settings: Settings) -> Finding:
    if settings.database_url and settings.secret_keys:
        return skipped("database and keys are not kept in it")
    key = settings.data_dir / "secret.key"
    if key.exists() and key.stat().st_mode & 0o077:
        return wrong("others may read its secret.key", "chmod 600 it")
    return await _folder(settings.data_dir, LITTLE, MOUNT)


async def _folder(folder: Path, needed: int, to_do: str) -> Finding:
    return await asyncio.to_thread(_written, folder, needed, to_do)


def _written(folder: Path, needed: int, to_do: str) -> Finding:
    """By a file without a name, gone at once; of a folder that is not there yet its nearest parent is tried."""
    whole = folder.absolute()
    try:
        there = next(path for path in (whole, *whole.parents) if path.exists())
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"dragoman doctor")
            file.flush()
            os.fsync(file.fileno())
        free = shutil.disk_usage(there).free
    except OSError as error:
        return wrong(f"{folder} cannot be written: {type(error).__name__}", to_do)
    says = f"{folder} can be written, {free / 1e9:.1f} GB are free"
    if free < TOO_LITTLE:
        return wrong(says, "make room")
    if free < needed:
        return warning(says, f"it may need {needed / 1e9:.1f} GB: make room")
    return well(says)


async def _bucket(objects: BucketStore) -> Finding:
    await objects.try_out()
    return well("an object was put into it, read and removed")
