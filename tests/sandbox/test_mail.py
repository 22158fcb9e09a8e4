"""The stand-in of a mail provider, as mail programs see it: two clients that others wrote talk to it."""

import asyncio
import imaplib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from imapclient import IMAPClient
from imapclient.exceptions import IMAPClientAbortError, IMAPClientError

from services.sandbox.mail import imap
from services.sandbox.mail.imap import Owner, Store, Trouble
from services.sandbox.mail.post import Post, Written
from services.sandbox.mail.store import Mailboxes
from services.sandbox.stand_in import Connection
from services.sandbox.state import State

ADDRESS = "support@shop.example"
RAW = (
    b"From: Marie <marie@example.com>\r\nTo: support@shop.example\r\nSubject: Colis\r\nMessage-ID: <m1@example.com>\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nBonjour\r\n"
    b"--b\r\nContent-Type: image/png; name=a.png\r\n\r\nPNG\r\n--b--\r\n"
)


@dataclass
class Provider:
    store: Store
    boxes: Mailboxes
    port: int

    def open(self, folder: str = "INBOX") -> IMAPClient:
        client = IMAPClient("127.0.0.1", self.port, ssl=False, timeout=10)
        client.login(ADDRESS, "password")
        client.select_folder(folder)
        return client


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    boxes = Mailboxes()
    store = Store({ADDRESS: Owner(("password",), {"INBOX": ADDRESS, "Returns": "returns@shop.example"})}, boxes)
    async with imap.listening(store, 0) as port:
        yield Provider(store, boxes, port)


async def in_thread(work: Any) -> Any:
    return await asyncio.to_thread(work)


async def test_a_mail_program_reads_what_was_delivered() -> None:
    async with provider() as p:
        p.boxes.deliver(ADDRESS, RAW)

        def work() -> None:
            client = p.open()
            assert client.search(["SINCE", date(2020, 1, 1), "UNSEEN"]) == [1]
            assert client.search(["SUBJECT", "colis", "NOT", "SEEN"]) == [1]
            found = client.fetch([1], ["ENVELOPE", "BODYSTRUCTURE", "RFC822.SIZE", "INTERNALDATE", "FLAGS"])[1]
            assert found[b"ENVELOPE"].subject == b"Colis"
            assert found[b"ENVELOPE"].from_[0].mailbox == b"marie"
            assert found[b"BODYSTRUCTURE"].is_multipart
            assert found[b"RFC822.SIZE"] == len(RAW)
            peeked = client.fetch([1], ["BODY.PEEK[]", "BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY.PEEK[1]"])[1]
            assert peeked[b"BODY[]"] == RAW
            assert peeked[b"BODY[HEADER.FIELDS (SUBJECT)]"] == b"Subject: Colis\r\n\r\n"
            assert peeked[b"BODY[1]"].strip() == b"Bonjour"
            assert client.get_flags([1])[1] == ()
            client.add_flags([1], [rb"\Seen", rb"\Deleted"])
            assert client.search(["SEEN"]) == [1]
            client.expunge()
            assert client.search() == []
            assert [name for *_, name in client.list_folders()] == ["INBOX", "Returns"]
            assert client.folder_status("Returns")[b"MESSAGES"] == 0
            client.append("Returns", RAW)
            client.select_folder("Returns", readonly=True)
            assert client.fetch([1], ["RFC822"])[1][b"RFC822"] == RAW
            client.logout()

        await in_thread(work)


async def test_the_standard_librarys_client_reads_it_too() -> None:
    async with provider() as p:
        p.boxes.deliver(ADDRESS, RAW)

        def work() -> None:
            client = imaplib.IMAP4("127.0.0.1", p.port, timeout=10)
            client.authenticate("PLAIN", lambda _: f"\0{ADDRESS}\0password".encode())
            assert client.select("INBOX")[1] == [b"1"]
            assert client.fetch("1", "(BODY[TEXT]<2.5>)")[1][0][1] == RAW.partition(b"\r\n\r\n")[2][2:7]  # type: ignore[index]
            client.logout()

        await in_thread(work)


async def test_new_mail_is_told_while_a_client_waits() -> None:
    async with provider() as p:

        def wait(client: IMAPClient) -> Any:
            told = client.idle_check(timeout=10)
            client.idle_done()
            client.logout()
            return told

        client = await in_thread(p.open)
        await in_thread(client.idle)
        p.boxes.deliver(ADDRESS, RAW)
        assert (1, b"EXISTS") in await in_thread(lambda: wait(client))


async def test_a_wrong_password_and_a_wrong_command_are_refused() -> None:
    async with provider() as p:

        def work() -> None:
            client = IMAPClient("127.0.0.1", p.port, ssl=False, timeout=10)
            with pytest.raises(IMAPClientError, match="AUTHENTICATIONFAILED"):
                client.login(ADDRESS, "another")
            client.login(ADDRESS, "password")
            with pytest.raises(IMAPClientError, match="NONEXISTENT"):
                client.select_folder("Nowhere")
            client.select_folder("INBOX")
            with pytest.raises(IMAPClientError):
                client.search(["NO-SUCH-KEY", "1"])
            client.logout()

        await in_thread(work)


async def test_it_misbehaves_as_asked_and_so_often() -> None:
    async with provider() as p:
        p.boxes.deliver(ADDRESS, RAW)
        p.store.misbehave(Trouble(mode="drop"))
        p.store.misbehave(Trouble(mode="refuse"))

        def work() -> None:
            dropped = p.open()
            with pytest.raises((IMAPClientAbortError, OSError)):
                dropped.fetch([1], ["BODY.PEEK[]"])
            dropped.shutdown()
            client = p.open()
            with pytest.raises(IMAPClientError):
                client.fetch([1], ["BODY.PEEK[]"])
            assert client.fetch([1], ["BODY.PEEK[]"])[1][b"BODY[]"] == RAW
            client.logout()

        await in_thread(work)


def test_a_customers_mail_lies_in_the_mailbox_as_it_was_wanted() -> None:
    post = Post([Connection(name="x", settings={"user": ADDRESS}, inboxes={ADDRESS: {}})], State())
    post.write(Written(to=ADDRESS, subject="Größe", text="日本語", charset="iso-2022-jp", answers="<m1@example.com>"))
    (mail,) = post.boxes.of(ADDRESS).mails
    assert b'charset="iso-2022-jp"' in mail.raw
    assert b"In-Reply-To: <m1@example.com>" in mail.raw
    assert b"Authentication-Results: mx.sandbox.invalid; dmarc=pass" in mail.raw
