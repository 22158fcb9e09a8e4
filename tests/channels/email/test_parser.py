"""Mails are read in another process: what breaks it or takes too long is one dead letter, and nobody waits for it."""

import asyncio
import os
import signal

import pytest

from shared.channels.contract import BadItem, Item
from shared.channels.email import parser as parsing
from shared.channels.email.parser import Given, Parser, parser
from tests.channels.email.sample import ACCOUNT, INBOX
from tests.channels.email.test_inbound import ALTERNATIVE, AT, OURS, a_report, mail, seen
from tests.watched import watched


def given(raw: bytes) -> Given:
    return Given(raw=raw, received_at=AT)


async def kinds(reader: Parser, *raws: bytes) -> list[str]:
    items = await reader.read([given(raw) for raw in raws], ACCOUNT, INBOX)
    return [item.code if isinstance(item, BadItem) else type(item.data).__name__ for item in items]


async def test_what_comes_back_is_what_reading_it_here_gives() -> None:
    for raw in (ALTERNATIVE, a_report(OURS), b"no mail", mail(Message_ID=OURS)):
        async with parser() as reader:
            items = await reader.read([given(raw)], ACCOUNT, INBOX)
        assert items == seen(raw)
        assert [f.content for i in items if isinstance(i, Item) for f in i.files] == [
            f.content for i in seen(raw) if isinstance(i, Item) for f in i.files
        ]


async def test_a_process_that_is_killed_is_started_again_and_no_mail_is_blamed() -> None:
    async with parser() as reader:
        await kinds(reader, mail())
        assert reader._process is not None
        os.kill(reader._process.pid, signal.SIGKILL)
        assert await kinds(reader, mail(), mail("Two")) == ["MessageReceived"] * 2


async def test_a_mail_that_takes_too_long_is_a_dead_letter_and_its_neighbours_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with parser() as reader:
        await kinds(reader, mail())
        assert reader._process is not None
        monkeypatch.setattr(parsing, "READ_WITHIN", 0.5)
        os.kill(reader._process.pid, signal.SIGSTOP)
        stopped = reader._process
        reading = asyncio.create_task(kinds(reader, mail("One"), mail("Two")))
        async with asyncio.timeout(20):
            while reader._process is stopped:
                await asyncio.sleep(0.01)
        monkeypatch.setattr(parsing, "READ_WITHIN", 30.0)
        assert await reading == ["unreadable_mail", "MessageReceived"]


async def test_the_loop_goes_on_while_mails_are_read() -> None:
    """The largest and the most tangled mails, and how long they hold the loop meanwhile."""
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(2000))
    mails = [
        mail("x" * 25_000_000),
        mail("<div>" * 40_000 + "x", Content_Type="text/html"),
        mail(To=",".join(f"p{n}@example.com" for n in range(50_000))),
        b"From: a@example.com\n" + deep,
    ]
    async with parser() as reader:
        await kinds(reader, mail())
        async with watched() as held:
            for raw in mails:
                await kinds(reader, raw)
    assert held.busiest < 0.2
    # Beside other tests the process itself waits for its turn, so what is no work of the loop's thread has more time.
    assert held.longest < 1.0


async def test_with_its_last_user_the_process_ends() -> None:
    async with parser() as one:
        async with parser() as other:
            assert one is other
            await kinds(one, mail())
        assert one._process is not None
        process = one._process
    assert process.returncode is not None
