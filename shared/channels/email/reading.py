"""The process that reads mails: `python -m shared.channels.email.reading`, started by `parser.py`."""

import resource
import sys
from contextlib import suppress
from typing import BinaryIO

import msgspec

from shared.accounts import Account, Inbox
from shared.channels.email.inbound import read
from shared.channels.email.parser import Found, Given, Work, shown

# A mail of 40 MB takes less than a tenth of it.
MEMORY = 3_000_000_000


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """Frame after frame until the pipe ends; a byte at first says that everything is loaded."""
    sink.write(b"\x01")
    sink.flush()
    while len(head := source.read(4)) == 4:
        work = msgspec.msgpack.decode(source.read(int.from_bytes(head, "big")), type=Work)
        account = msgspec.json.decode(work.account, type=Account)
        inbox = msgspec.json.decode(work.inbox, type=Inbox)
        for mail in work.mails:
            frame = msgspec.msgpack.encode(_found(mail, account, inbox))
            sink.write(len(frame).to_bytes(4, "big"))
            sink.write(frame)
            sink.flush()


def _found(mail: Given, account: Account, inbox: Inbox) -> list[Found]:
    try:
        return [shown(i, mail.raw) for i in read(mail.raw, account, inbox, mail.received_at, mail.size)]
    except MemoryError:
        return [Found("", code="unreadable_mail", error="reading it takes too much")]


if __name__ == "__main__":
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer)
