"""The store of files: kept once in a brand, whole or not at all, and never another brand's."""

import hashlib
import os
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from shared.errors import Rejected, Unavailable
from shared.ids import derived_id
from shared.objects import BucketStore, FolderStore, Objects, store_of
from shared.settings import Settings

SHOP, OTHER = derived_id("shop"), derived_id("other")
CONTENT = b"\x89PNG\r\n\x1a\n a picture"
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return FolderStore(tmp_path / "media") if request.param == "folder" else BucketStore(MemoryStore())


async def test_what_was_put_can_be_got_by_its_hash(objects: Objects) -> None:
    assert await objects.put(SHOP, CONTENT) == HASH
    assert await objects.get(SHOP, HASH) == CONTENT


async def test_another_brand_has_it_only_when_it_put_it_itself(objects: Objects) -> None:
    await objects.put(SHOP, CONTENT)
    with pytest.raises(Rejected) as raised:
        await objects.get(OTHER, HASH)
    assert raised.value.code == "no_such_file"


@pytest.mark.parametrize("name", ["", "../secret", "..", "a" * 63, "A" * 64, "0" * 63 + "/"])
async def test_what_is_no_hash_never_becomes_a_path(objects: Objects, name: str) -> None:
    with pytest.raises(Rejected):
        await objects.get(SHOP, name)


async def test_the_same_bytes_are_one_file(tmp_path: Path) -> None:
    objects = FolderStore(tmp_path / "media")
    for owner in (SHOP, SHOP, OTHER):
        await objects.put(owner, CONTENT)
    found = sorted(
        str(path.relative_to(tmp_path / "media")) for path in (tmp_path / "media").rglob("*") if path.is_file()
    )
    assert found == sorted([f"{SHOP}/{HASH}", f"{OTHER}/{HASH}"])


async def test_a_folder_that_cannot_be_written_to_is_a_store_that_is_away(tmp_path: Path) -> None:
    (tmp_path / "media").write_text("a file where the folder should be")
    with pytest.raises(Unavailable):
        await FolderStore(tmp_path / "media").put(SHOP, CONTENT)


async def test_bytes_and_name_are_on_the_disk_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order of system calls: the file's fsync, its name, the folder's fsync."""
    done: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def told_fsync(descriptor: int) -> None:
        done.append(kind_of(descriptor))
        fsync(descriptor)

    def told_rename(self: Path, to: Path) -> Path:
        done.append("rename")
        return rename(self, to)

    monkeypatch.setattr(os, "fsync", told_fsync)
    monkeypatch.setattr(Path, "rename", told_rename)
    objects = FolderStore(tmp_path / "media")
    await objects.put(SHOP, CONTENT)
    assert done[-3:] == ["file", "rename", "folder"]
    done.clear()
    await objects.put(SHOP, CONTENT)
    assert done == ["folder"], "whoever wrote it may have died before this"
    done.clear()
    await objects.put_all(SHOP, [CONTENT, b"one", b"two", b"one"])
    assert done == ["file", "file", "rename", "rename", "folder"]
    assert await objects.get(SHOP, hashlib.sha256(b"two").hexdigest()) == b"two"


def kind_of(descriptor: int) -> str:
    return "folder" if Path(f"/proc/self/fd/{descriptor}").resolve().is_dir() else "file"


def test_the_settings_say_where(tmp_path: Path) -> None:
    assert isinstance(store_of(Settings(data_dir=tmp_path)), FolderStore)
    bucket = store_of(Settings(media_url="s3://bucket/prefix"))
    assert isinstance(bucket, BucketStore)


async def test_a_bucket_is_tried_out_without_leaving_anything(tmp_path: Path) -> None:
    bucket = MemoryStore()
    await BucketStore(bucket).try_out()
    assert bucket.list().collect() == []
    (tmp_path / "bucket").mkdir()
    local = LocalStore(tmp_path / "bucket")
    (tmp_path / "bucket").rmdir()
    (tmp_path / "bucket").write_text("")
    with pytest.raises(Unavailable):
        await BucketStore(local).try_out()
