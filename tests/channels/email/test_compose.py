"""The bytes of a mail: what every reader and every relay can live with, and nothing that somebody smuggled in."""

from dataclasses import replace
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sandbox.mail.smtp import raw_header
from shared.channels.contract import Try
from shared.channels.email.compose import File, Mail, compose, own_part, references_of, subject_of, wire_address
from shared.channels.email.lines import connect
from shared.channels.email.outbound import may_write, render, send
from shared.channels.email.rules import Context
from shared.errors import InboxMisconfigured, Rejected
from tests.channels.email.sample import ACCOUNT, CONTEXT, INBOX
from tests.channels.tables import REFERENCE, a_reply

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
LONG = "<" + "AM6PR0" * 20 + "@eurprd.prod.outlook.com>"


def made(context: Context = CONTEXT, text: str = "Hello", files: tuple[File, ...] = (), **reply: Any) -> Mail:
    part = render(a_reply("email", context.encode(), text, **reply))[0]
    return compose(part.payload, files, part_id=REFERENCE, at=AT, account=ACCOUNT, inbox=INBOX)


def read(mail: Mail) -> EmailMessage:
    return message_from_bytes(mail.content, policy=default)  # type: ignore[return-value]


def test_every_attempt_has_the_same_bytes() -> None:
    file = File("a.pdf", "application/pdf", b"1")
    assert made(files=(file,)) == made(files=(file,))


def test_the_headers_that_threading_needs() -> None:
    mail = read(made())
    assert mail["from"] == "Shop <support@shop.example>"
    assert mail["to"] == '"Marie L." <marie@example.com>'
    assert mail["in-reply-to"] == "<m1@example.com>"
    assert mail["references"] == "<m0@example.com> <m1@example.com>"
    assert mail["message-id"].startswith(f"<o.{REFERENCE}.")
    assert mail["message-id"].endswith("@mail.shop.example>")
    assert mail["auto-submitted"] is None
    assert mail["precedence"] is None


def test_ids_of_exchange_are_no_encoded_words() -> None:
    ids = tuple(LONG.replace("AM6", f"AM{n}") for n in range(60))
    mail = made(replace(CONTEXT, message_id=LONG, references=ids))
    for name in (b"references", b"in-reply-to", b"message-id"):
        assert b"=?" not in raw_header(mail.content, name)
    kept = raw_header(mail.content, b"references").split()
    assert (kept[0], kept[-1]) == (ids[0].encode(), LONG.encode())
    assert sum(map(len, kept)) <= 1500
    assert kept[1:-1] == [id_.encode() for id_ in ids[-len(kept) + 2 :]]


def test_no_line_is_longer_than_servers_take() -> None:
    mail = made(replace(CONTEXT, subject="ä" * 3000, to_name="ü" * 3000), "ö" * 50_000 + " " + "x" * 50_000)
    assert max(map(len, mail.content.split(b"\r\n"))) <= 998
    assert b"\n" not in mail.content.replace(b"\r\n", b"")


@settings(max_examples=150, deadline=None)
@given(
    name=st.text(max_size=60), subject=st.text(max_size=60), text=st.text(min_size=1, max_size=200),
    file=st.text(max_size=60), ids=st.lists(st.text(max_size=60), max_size=4),
)  # fmt: skip
def test_nothing_that_anybody_wrote_becomes_a_header(
    name: str, subject: str, text: str, file: str, ids: list[str]
) -> None:
    evil = "\r\nBcc: evil@example.com\r\n\r\n<script>"
    context = replace(
        CONTEXT,
        to_name=name + evil,
        subject=subject + evil,
        message_id=f"<{''.join(ids)}{evil}>",
        references=tuple(ids),
    )
    inbox = replace(INBOX, name=name + evil)
    part = render(a_reply("email", _encoded(context), "." + text))[0]
    mail = compose(
        part.payload, [File(file + evil, "text/" + evil, b"1")], part_id=REFERENCE, at=AT, account=ACCOUNT, inbox=inbox
    )
    assert mail.recipients == ["marie@example.com"]
    whole = read(mail)
    assert whole["bcc"] is None
    assert b"\r\nBcc:" not in mail.content
    assert {key.lower() for key in whole} == {
        "date", "from", "reply-to", "to", "subject", "message-id", "in-reply-to", "references", "mime-version",
        "content-type",
    } - ({"in-reply-to"} if whole["in-reply-to"] is None else set()) - (
        {"references"} if whole["references"] is None else set()
    )  # fmt: skip
    assert not any(part.get_content_type() == "text/html" and "<script" in part.get_content() for part in whole.walk())


def _encoded(context: Context) -> bytes:
    """Lone surrogates do not get into a context, since it is JSON."""
    return replace(
        context,
        to_name=context.to_name.encode("utf-8", "replace").decode(),
        subject=context.subject.encode("utf-8", "replace").decode(),
        message_id=context.message_id.encode("utf-8", "replace").decode(),
        references=[id_.encode("utf-8", "replace").decode() for id_ in context.references],
    ).encode()


@pytest.mark.parametrize(
    "address",
    ["", "marie", "marie@", "@example.com", "a@b@c", "a b@example.com", "a@example.com\r\nRCPT TO:<x@y.z>", "<a@b.c>",
     "a@b.c,d@e.f", "a@" + "x" * 64 + ".com", "a@b..c", '"a b"@c.d'],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(Rejected) as caught:
        made(replace(CONTEXT, to=address))
    assert caught.value.code == "bad_address"


def test_domains_go_as_servers_know_them() -> None:
    assert wire_address("Marie@Müller.example") == "Marie@xn--mller-kva.example"
    mail = made(replace(CONTEXT, to="marie@müller.example", cc=("josé@example.com", "no address")))
    assert mail.recipients == ["marie@xn--mller-kva.example", "josé@example.com"]
    assert mail.is_utf8
    assert not made().is_utf8


def test_text_and_html_say_the_same() -> None:
    mail = read(made(text="Hallo <b>Marie</b>,\r\n\r\nhier: https://shop.example/?a=1&b=2.\nGruß\x00\x1b"))
    # On the wire lines end in CRLF, and a part that is not encoded keeps them.
    plain, page = (part.get_content().replace("\r\n", "\n") for part in mail.walk() if not part.is_multipart())
    assert plain == "Hallo <b>Marie</b>,\n\nhier: https://shop.example/?a=1&b=2.\nGruß\n"
    assert "<p>Hallo &lt;b&gt;Marie&lt;/b&gt;,</p>" in page
    assert '<a href="https://shop.example/?a=1&amp;b=2">https://shop.example/?a=1&amp;b=2</a>.<br>\nGruß' in page


def test_japanese_is_written_the_shorter_way() -> None:
    mail = read(made(text="ご連絡ありがとうございます。" * 20))
    assert {part["content-transfer-encoding"] for part in mail.walk() if part.get_content_type() == "text/plain"} == {
        "base64"
    }


def test_files_keep_their_names_and_bytes() -> None:
    mail = read(
        made(files=(File("Rechnung März.pdf", "application/pdf", b"%PDF"), File("../x", "message/rfc822", b"y")))
    )
    shown = [(p.get_filename(), p.get_content_type(), p.get_content()) for p in mail.iter_attachments()]
    assert shown == [("Rechnung März.pdf", "application/pdf", b"%PDF"), (".._x", "application/octet-stream", b"y")]


def test_a_machines_answer_says_so_and_nothing_answers_it() -> None:
    mail = made(author_kind="automatic")
    whole = read(mail)
    assert (whole["auto-submitted"], whole["x-auto-response-suppress"]) == ("auto-replied", "All")
    assert whole["x-loop"] == "support@shop.example"
    assert mail.sender == ""


@pytest.mark.parametrize(
    ("subject", "answer"),
    [("Où ?", "Re: Où ?"), ("Re: AW: Antw: Frage", "Re: Frage"), ("RE[2]: x", "Re: x"), ("", "Re:"),
     ("Odp: SV: Vs : y", "Re: y"), ("回复：订单", "Re: 订单"), ("Regarding: z", "Re: Regarding: z"),
     ("a\r\nb", "Re: a b")],
)  # fmt: skip
def test_the_subject_is_an_answers_once(subject: str, answer: str) -> None:
    assert subject_of(subject) == answer


def test_the_answered_mail_stands_last_and_junk_is_left_out() -> None:
    assert references_of(["<b@x>", "junk", "<a@x> <b@x>", "<ü@x>"], "<b@x>") == ["<a@x>", "<b@x>"]


def test_our_ids_cannot_be_made_by_others() -> None:
    id_ = made().message_id
    assert str(own_part(ACCOUNT, id_)) == REFERENCE
    assert own_part(ACCOUNT, id_.replace("0b54", "0b55")) is None
    assert own_part(replace(ACCOUNT, secrets={"message_id_key": ["another"]}), id_) is None
    rotated = replace(ACCOUNT, secrets={"message_id_key": ["new", *ACCOUNT.secrets["message_id_key"]]})
    assert str(own_part(rotated, id_)) == REFERENCE


def test_nothing_to_send_and_too_much_of_it_are_refused_at_once() -> None:
    for reply, code in (
        ({"text": " \n"}, "empty_reply"),
        ({"text": "x", "attachments": [{"kind": "file", "size": 21_000_000}]}, "too_large"),
    ):
        with pytest.raises(Rejected) as caught:
            render(a_reply("email", CONTEXT.encode(), **reply))  # type: ignore[arg-type]
        assert caught.value.code == code


async def test_a_file_without_a_store_is_a_persons_to_mend() -> None:
    (part,) = render(a_reply("email", CONTEXT.encode(), "x", [{"kind": "file", "sha256": "ab"}]))
    async with connect() as lines:
        with pytest.raises(InboxMisconfigured):
            await send(lines, Try(part=part, reference=REFERENCE, started_at=AT), ACCOUNT, INBOX)


def _may(context: Context, author: str) -> Any:
    return may_write(a_reply("email", context.encode(), "x", author_kind=author), INBOX, AT)


def test_machines_do_not_answer_machines() -> None:
    assert _may(replace(CONTEXT, automatic=True), "automatic").reason == "automatic_sender"
    assert _may(replace(CONTEXT, to="noreply@carrier.example"), "automatic").reason == "automatic_sender"
    assert _may(CONTEXT, "automatic").allowed
    assert _may(replace(CONTEXT, automatic=True), "agent").allowed


def test_a_person_is_told_where_nobody_reads() -> None:
    permission = _may(replace(CONTEXT, to="no-reply@carrier.example"), "agent")
    assert permission.allowed
    assert "nobody reads" in permission.sentence
