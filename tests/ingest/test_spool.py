"""The spool: what it acknowledged survives a crash, in order; what it did not may be torn."""

import asyncio
from pathlib import Path

import pytest

from services.ingest.spool import Spool, adopt
from shared.errors import InboxMisconfigured, Unavailable
from shared.events import Record
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
        assert "wait in the spool" in spool.trouble
        bus.away = False
        async with asyncio.timeout(5):
            while spool.waiting:
                await asyncio.sleep(0.02)
        # The trouble is over when the round is.
        await asyncio.sleep(0.02)
        assert spool.trouble == ""
    spool.close()
