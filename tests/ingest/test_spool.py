"""The spool: what it acknowledged survives a crash, in order; what it did not may be torn."""

import asyncio
import resource
import sys
from pathlib import Path

import pytest

from services.ingest.outlet import Outlet
from services.ingest.spool import Spool, adopt
from shared.errors import InboxMisconfigured, Unavailable
from shared.events import Record
from shared.objects import FolderStore
from tests.ingest.test_hooks import Bus


def record(n: int, key: str = "k") -> Record:
    return Record("inbound", key, {"n": str(n)}, f"{n}".encode())


async def test_what_was_acknowledged_is_there_after_a_crash(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    spool.open()
    await asyncio.gather(*(spool.append([record(n)]) for n in range(50)))
    # The process dies: nothing is closed in order.
    spool.close()
    again, bus = Spool(tmp_path, 1_000_000), Bus()
    again.open()
    assert again.waiting == 50
    assert again.holds_any([record(0)])
    await again.drain(bus)  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [f"{n}".encode() for n in range(50)]
    assert (again.waiting, list(tmp_path.glob("*.spool"))) == (0, [])
    again.close()


async def test_a_torn_end_is_cut_off(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1_000_000)
    spool.open()
    await spool.append([record(1), record(2)])
    spool.close()
    (segment,) = tmp_path.glob("*.spool")
    segment.write_bytes(segment.read_bytes()[:-3])
    bus = Bus()
    assert await adopt(tmp_path, bus) == 1  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [b"1"]


async def test_what_comes_while_it_drains_is_kept(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 1_000_000), Bus()
    spool.open()
    await spool.append([record(0)])
    bus.slow = 0.05
    draining = asyncio.create_task(spool.drain(bus))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    await spool.append([record(1)])
    await draining
    await spool.drain(bus)  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [b"0", b"1"]
    spool.close()


async def test_a_full_spool_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 200)
    spool.open()
    await spool.append([record(1)])
    with pytest.raises(Unavailable):
        await spool.append([record(n) for n in range(10)])
    assert spool.waiting == 1
    spool.close()


async def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    spool.open()
    with pytest.raises(InboxMisconfigured):
        Spool(tmp_path, 1).open()
    spool.close()


async def test_it_drains_by_itself_when_the_bus_is_back(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 1_000_000), Bus()
    spool.open()
    bus.away = True
    async with spool.draining(bus):  # type: ignore[arg-type]
        await spool.append([record(1)])
        await asyncio.sleep(0.2)
        assert spool.is_stuck
        assert spool.trouble == "", "webhooks are welcome just then"
        bus.away = False
        async with asyncio.timeout(5):
            while spool.waiting:
                await asyncio.sleep(0.02)
        await asyncio.sleep(0.02)
        assert not spool.is_stuck
    spool.close()


async def test_what_was_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    """A process of its own is killed between the fsync and the drain."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", APPENDING, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert await process.stdout.readline() == b"on disk\n"
    process.kill()
    await process.wait()
    bus = Bus()
    assert await adopt(tmp_path, bus) == 20  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [f"{n}".encode() for n in range(20)]


APPENDING = """
import asyncio, sys, time
from pathlib import Path
from services.ingest.spool import Spool
from shared.events import Record

async def main():
    spool = Spool(Path(sys.argv[1]), 1_000_000)
    spool.open()
    for n in range(20):
        await spool.append([Record("inbound", "k", {}, str(n).encode())])
    print("on disk", flush=True)
    time.sleep(60)

asyncio.run(main())
"""


async def test_a_disk_that_fills_up_hides_nothing_that_is_written_later(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 10_000_000), Bus()
    spool.open()
    await spool.append([record(1)])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000, hard))
    try:
        with pytest.raises(Unavailable):
            await spool.append([Record("inbound", "k", {}, b"x" * 3_000)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "cannot write" in spool.trouble
    await spool.append([record(2)])
    assert spool.trouble == ""
    spool.close()
    assert await adopt(tmp_path, bus) == 2  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [b"1", b"2"]


async def test_a_damaged_frame_takes_no_other_with_it_and_its_file_is_kept(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 1_000_000), Bus()
    spool.open()
    for n in range(3):
        await spool.append([record(n)])
    spool.close()
    (segment,) = tmp_path.glob("*.spool")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    assert await adopt(tmp_path, bus) == 2  # type: ignore[arg-type]
    assert [r.value for r in bus.records] == [b"0", b"2"]
    assert [path.suffix for path in tmp_path.glob("*1.*")] == [".damaged"]


async def test_whatever_the_bus_raises_the_drain_tries_again(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 1_000_000), Bus()
    spool.open()
    bus.error = RuntimeError("a mistake")
    async with spool.draining(bus):  # type: ignore[arg-type]
        await spool.append([record(1)])
        await asyncio.sleep(0.05)
        assert spool.is_stuck
        bus.error = None
        async with asyncio.timeout(5):
            while spool.waiting:
                await asyncio.sleep(0.02)
    assert [r.value for r in bus.records] == [b"1"]
    spool.close()


async def test_what_an_earlier_run_left_keeps_a_process_from_being_ready(tmp_path: Path) -> None:
    before = Spool(tmp_path, 1_000_000)
    before.open()
    await before.append([record(1)])
    before.close()
    spool, bus = Spool(tmp_path, 1_000_000), Bus()
    spool.open()
    assert "earlier run" in spool.trouble
    await spool.drain(bus)  # type: ignore[arg-type]
    assert spool.trouble == ""
    spool.close()


async def test_under_load_that_never_pauses_it_drains_all_the_same(tmp_path: Path) -> None:
    spool, bus = Spool(tmp_path, 100_000_000), Bus()
    spool.open()
    outlet = Outlet(bus, spool, FolderStore(tmp_path / "media"))  # type: ignore[arg-type]
    over, count = asyncio.Event(), 0
    bus.away = True

    async def customer(key: int) -> None:
        nonlocal count
        while not over.is_set():
            await outlet.publish([record(count, f"k{key}")], 1.0)
            count += 1

    async with spool.draining(bus):  # type: ignore[arg-type]
        customers = [asyncio.create_task(customer(key)) for key in range(20)]
        await asyncio.sleep(0.3)
        bus.away = False
        async with asyncio.timeout(10):
            while spool.is_stuck or len(bus.records) < 500:
                await asyncio.sleep(0.02)
        over.set()
        await asyncio.gather(*customers)
        async with asyncio.timeout(10):
            while spool.waiting:
                await asyncio.sleep(0.02)
    for key in range(20):
        mine = [int(r.value) for r in bus.records if r.key == f"k{key}"]
        assert mine == sorted(mine), "in the order of each key"
    assert len(bus.records) >= count
    spool.close()
