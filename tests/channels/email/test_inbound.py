"""Mails as they come, odd ones above all, and what is read of each. The mails were written for this table."""

import time
from base64 import b64encode
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.channels.contract import BadItem, Item
from shared.channels.email.compose import message_id
from shared.channels.email.inbound import read
from shared.channels.email.rules import Context
from shared.events import MessageReceived, ReceiptReceived
from tests.channels.email.sample import ACCOUNT, INBOX
from tests.channels.tables import REFERENCE
from tests.channels.test_contract import _fit_for_the_bus

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
THREAD = "0123456789abcdef0123"
OURS = message_id(ACCOUNT, INBOX, REFERENCE, THREAD)
PNG = b"\x89PNG\r\n\x1a\n"


def mail(body: str | bytes = "Hello", /, **headers: str) -> bytes:
    """With the headers of an ordinary mail, unless they are given; an empty one is left out."""
    usual = {
        "From": "Marie L. <marie@example.com>", "To": "support@shop.example", "Subject": "Colis",
        "Message-ID": "<m1@example.com>", "Date": "Mon, 03 Aug 2026 08:30:00 +0000",
    }  # fmt: skip
    given_ = {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\n" for name, value in (usual | given_).items() if value)
    whole = body if isinstance(body, bytes) else body.encode()
    return head.encode("utf-8", "surrogateescape") + b"\n" + whole


def several(kind: str, *parts: str | bytes, **headers: str) -> bytes:
    raw = b"".join(b"--b\n" + (part if isinstance(part, bytes) else part.encode()) + b"\n" for part in parts)
    return mail(raw + b"--b--\n", Content_Type=f"multipart/{kind}; boundary=b", **headers)


def seen(raw: bytes, **inbox: Any) -> list[Any]:
    items = read(raw, ACCOUNT, replace(INBOX, settings={**INBOX.settings, **inbox}), AT)
    _fit_for_the_bus(items)
    return items


def message(raw: bytes, **inbox: Any) -> MessageReceived:
    (item,) = seen(raw, **inbox)
    assert isinstance(item, Item)
    assert isinstance(item.data, MessageReceived)
    assert item.data.raw_ref == item.files[0].sha256
    assert item.files[0].content == raw
    hashes = {file.sha256 for file in item.files}
    assert {a.sha256 for a in item.data.attachments if a.sha256} <= hashes
    return item.data


def context(raw: bytes) -> Context:
    return Context.decode(message(raw).reply_context)


def names(raw: bytes) -> list[str]:
    return [a.name for a in message(raw).attachments if a.kind not in ("html", "mail")]


ALTERNATIVE = several(
    "alternative",
    "Content-Type: text/plain; charset=utf-8\n\nBonjour, où est mon colis ?\n",
    "Content-Type: text/html; charset=utf-8\n\n<p>Bonjour, où est <b>mon colis</b> ?</p><script>x()</script>\n",
)
PICTURE = b"Content-Type: image/png; name=a.png\nContent-Transfer-Encoding: base64\n\n" + b64encode(PNG) + b"\n"

# name -> the mail, and some fields of its message
TEXTS: dict[str, tuple[bytes, str]] = {
    "alternative": (ALTERNATIVE, "Bonjour, où est mon colis ?"),
    "base64": (
        mail(b64encode("Größe".encode()), Content_Type="text/plain; charset=utf-8", Content_Transfer_Encoding="base64"),
        "Größe",
    ),
    "quoted_printable": (
        mail(
            "Gr=C3=B6=C3=9Fe =\nvon",
            Content_Type="text/plain; charset=utf-8",
            Content_Transfer_Encoding="quoted-printable",
        ),
        "Größe von",
    ),
    "iso_2022_jp": (
        mail("注文はどこですか".encode("iso-2022-jp"), Content_Type="text/plain; charset=ISO-2022-JP"),
        "注文はどこですか",
    ),
    "windows_1250": (
        mail("Gdzie są źdźbła?".encode("cp1250"), Content_Type="text/plain; charset=windows-1250"),
        "Gdzie są źdźbła?",
    ),
    "narrow_label": (mail("für 5 €".encode("cp1252"), Content_Type="text/plain; charset=iso-8859-1"), "für 5 €"),
    "no_charset_utf_8": (mail("Größe"), "Größe"),
    "ascii_that_is_latin_1": (mail("Größe".encode("latin-1"), Content_Type="text/plain; charset=us-ascii"), "Größe"),
    "junk_charset": (mail("Größe", Content_Type="text/plain; charset=x-no-such-thing"), "Größe"),
    "charset_that_is_a_codec": (mail("hello", Content_Type="text/plain; charset=base64"), "hello"),
    "nul_and_controls": (mail("a\x00b\x07c"), "abc"),
    "bidi_override": (mail("a\u202eb"), "ab"),
    "html_alone": (
        mail(
            "<style>p{}</style><p>One</p><p>Two &amp; <a href='https://x.example/a'>link</a></p>",
            Content_Type="text/html",
        ),
        "One\n\nTwo & link (https://x.example/a)",
    ),
    "hidden_preheader": (mail("<div style='display:none'>preview</div><p>Text</p>", Content_Type="text/html"), "Text"),
    "flowed": (
        mail("This goes \non here.\n\nNew", Content_Type="text/plain; format=flowed"),
        "This goes on here.\n\nNew",
    ),
    "text_picture_text": (
        several("mixed", "Content-Type: text/plain\n\nOne\n", PICTURE, "Content-Type: text/plain\n\nTwo\n"),
        "One\n\nTwo",
    ),
    "no_boundary_at_all": (mail("Hello", Content_Type="multipart/mixed"), "Hello"),
    "unended_multipart": (
        mail("--b\nContent-Type: text/plain\n\nHello", Content_Type="multipart/mixed; boundary=b"),
        "Hello",
    ),
    "banner_before_the_header": (b"CAUTION external mail\n\n" + mail("Hello"), "Hello"),
    "mbox_line": (b"From marie@example.com Mon Aug  3 2026\n" + mail("Hello"), "Hello"),
    "empty": (mail(""), ""),
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_a_person_reads(name: str) -> None:
    raw, text = TEXTS[name]
    assert message(raw).text == text
    assert message(raw.replace(b"\n", b"\r\n")).text == text


SENDERS = {
    "address_in_the_name": ("marie@example.com <thief@evil.example>", "thief@evil.example", "marie@example.com"),
    "comment": ("marie@example.com (Marie L.)", "marie@example.com", "Marie L."),
    "unquoted_comma": ("Lang, Marie <marie@example.com>", "marie@example.com", "Marie"),
    "encoded": ("=?iso-8859-1?q?J=FCrgen?= <j@example.com>", "j@example.com", "Jürgen"),
    "raw_utf_8": ("Jürgen <j@example.com>", "j@example.com", "Jürgen"),
    "upper_case": ("<Marie@EXAMPLE.com>", "marie@example.com", ""),
    "punycode": ("x@bücher.example", "x@xn--bcher-kva.example", ""),
    "nested_comments": ("(" * 3000 + "x <marie@example.com>", "marie@example.com", None),
}


@pytest.mark.parametrize("name", SENDERS)
def test_who_wrote(name: str) -> None:
    given_, address, shown = SENDERS[name]
    sender = message(mail(From=given_)).sender
    assert sender.value == address
    assert shown is None or sender.name == shown
    assert sender.verified_by is None


def test_without_from_whoever_is_to_be_answered_wrote() -> None:
    assert message(mail(From="", Reply_To="marie@example.com")).sender.value == "marie@example.com"


def test_a_mail_of_nobody_is_shown_and_cannot_be_answered() -> None:
    first, second = message(mail(From="")), message(mail("Another", From=""))
    assert first.sender.value != second.sender.value
    assert Context.decode(first.reply_context).to == ""


@pytest.mark.parametrize("from_", ["Support@shop.example", "noreply@shop.example"])
def test_behind_a_shops_form_is_whoever_is_to_be_answered_and_they_are_not_verified(from_: str) -> None:
    result = "mx.shop.example; dmarc=pass header.from=shop.example"
    raw = mail(From=from_, Reply_To="Marie <marie@example.com>", Authentication_Results=result)
    found = message(raw, form_senders=["noreply@shop.example"])
    assert (found.sender.value, found.sender.name) == ("marie@example.com", "Marie")
    assert found.sender.verified_by is None
    alone = message(mail(From=from_, Authentication_Results=result), form_senders=["noreply@shop.example"])
    assert alone.sender.value == from_.lower()


def test_elsewhere_an_answers_address_is_nobodys_identity() -> None:
    raw = mail(From="noreply@shop.example", Reply_To="marie@example.com")
    assert message(raw).sender.value == "noreply@shop.example"


PASS = "mx.shop.example; dmarc=pass header.from=example.com"
ENVELOPE = '; dmarc=pass header.from=example.com; ("@evil.example'
HELO = "smtp.helo=x;dmarc=pass;y"
VERIFIED = {
    "by_our_border": ({"Authentication_Results": PASS}, True),
    "by_another_server": ({"Authentication_Results": PASS.replace("mx.shop", "mx.evil")}, False),
    "failed": ({"Authentication_Results": PASS.replace("pass", "fail")}, False),
    "for_another_domain": ({"Authentication_Results": PASS.replace("=example", "=evil.example")}, False),
    "two_senders": ({"Authentication_Results": PASS, "From": "a@evil.example, marie@example.com"}, False),
    "two_headers": ({"Authentication_Results": PASS, "From": "marie@example.com\nFrom: a@evil.example"}, False),
    "nothing_said": ({}, False),
    "in_quotes": ({"Authentication_Results": PASS.replace("example.com", '"example.com"')}, True),
    "in_comments": ({"Authentication_Results": PASS.replace("pass", "pass (p=NONE (sp=NONE); dis=NONE)")}, True),
    "forged_in_quotes": ({"Authentication_Results": f'mx.shop.example; spf=pass smtp.mailfrom="{ENVELOPE}'}, False),
    "forged_in_a_comment": ({"Authentication_Results": f'mx.shop.example; spf=pass (of "x){ENVELOPE} it)'}, False),
    "forged_beside": ({"Authentication_Results": f"mx.shop.example; spf=pass {HELO}; dmarc=fail"}, False),
}


@pytest.mark.parametrize("name", VERIFIED)
def test_a_sender_is_verified_by_our_own_border_alone(name: str) -> None:
    headers, verified = VERIFIED[name]
    assert (message(mail(**headers)).sender.verified_by == "dmarc") is verified


def test_a_forged_result_below_that_of_our_border_counts_for_nothing() -> None:
    both = f"{PASS.replace('pass', 'fail')}\nAuthentication-Results: {PASS}"
    assert message(mail(Authentication_Results=both)).sender.verified_by is None


# threads


def test_a_mail_and_its_follow_up_are_one_thread_of_their_sender() -> None:
    first = message(mail())
    second = message(mail(Message_ID="<m2@example.com>", In_Reply_To="<m1@example.com>", References="<m1@example.com>"))
    other = message(mail(From="paul@example.com", Message_ID="<m3@example.com>", References="<m1@example.com>"))
    assert first.thread == second.thread
    assert other.thread != first.thread


def test_an_answer_to_a_mail_of_ours_is_of_its_thread_whoever_writes_it() -> None:
    for headers in ({"References": f"<m1@example.com> {OURS}"}, {"In_Reply_To": OURS}, {"References": f"{OURS} <x@y>"}):
        assert message(mail(From="paul@example.com", Message_ID="<m9@example.com>", **headers)).thread == THREAD


def test_an_id_of_ours_in_an_encoded_word_is_found() -> None:
    encoded = f"=?utf-8?b?{b64encode(OURS.encode()).decode()}?="
    assert message(mail(In_Reply_To=encoded)).thread == THREAD


def test_a_forged_id_of_ours_leads_nowhere() -> None:
    forged = OURS.replace(THREAD, THREAD[::-1])
    assert message(mail(References=forged)).thread not in (THREAD, THREAD[::-1])


def test_the_same_mail_by_another_way_has_the_same_key_and_other_words_another() -> None:
    relayed = b"Received: from a by b; Mon, 03 Aug 2026 08:31:00 +0000\n\tfor c\nX-Spam: no\n" + mail()
    assert message(relayed).keys == message(mail()).keys
    assert message(mail("Other words")).keys != message(mail()).keys
    assert message(mail(Message_ID="")).keys == message(mail(Message_ID="")).keys


def test_message_ids_that_are_none_are_taken_as_they_are() -> None:
    assert message(mail(Message_ID="\n <a b@c>")).keys[0].startswith("mail:<ab@c>:")
    assert message(mail(Message_ID="no-brackets@c")).keys[0].startswith("mail:<no-brackets@c>:")


def test_a_date_is_believed_only_near_the_arrival() -> None:
    assert message(mail()).occurred_at == datetime(2026, 8, 3, 8, 30, tzinfo=UTC)
    for odd in ("Mon, 01 Jan 2001 00:00:00 +0000", "junk", "", "Mon, 03 Aug 2099 00:00:00 +9999"):
        assert message(mail(Date=odd)).occurred_at == AT
    assert message(mail(Date="Mon, 03 Aug 2026 08:00:00 -0000")).occurred_at == AT - timedelta(hours=1)


# answers


def test_everybody_who_had_the_mail_gets_the_answer_but_we_ourselves() -> None:
    found = context(mail(To="support@shop.example, Paul <paul@example.com>", Cc="eva@example.com"))
    assert (found.to, found.to_name, found.cc) == (
        "marie@example.com",
        "Marie L.",
        ["paul@example.com", "eva@example.com"],
    )


def test_an_answer_goes_where_the_sender_wants_it() -> None:
    assert context(mail(Reply_To="desk@example.com")).to == "desk@example.com"


def test_a_mail_to_five_thousand_is_answered_to_its_sender_alone() -> None:
    crowd = ",\n ".join(f"Person {n} <p{n}@example.com>" for n in range(5000))
    started = time.perf_counter()
    found = context(mail(To=crowd))
    assert (found.to, found.cc) == ("marie@example.com", [])
    assert time.perf_counter() - started < 2


# files


def test_the_page_is_kept_without_what_runs_and_the_mail_as_it_came() -> None:
    (item,) = seen(ALTERNATIVE)
    page, original = item.data.attachments
    assert [a.kind for a in (page, original)] == ["html", "mail"]
    content = {file.sha256: file.content for file in item.files}
    assert b"<b>mon colis</b>" in content[page.sha256]
    assert b"script" not in content[page.sha256]
    assert content[original.sha256] == ALTERNATIVE


FILES = {
    "picture_in_the_page": (
        several("related", "Content-Type: text/html\n\n<img src='cid:x@y'>\n", b"Content-ID: <x@y>\n" + PICTURE),
        ["a.png"],
    ),
    "path_as_a_name": (
        several(
            "mixed",
            'Content-Type: application/pdf\nContent-Disposition: attachment; filename="../../etc/x.pdf"\n\n%PDF-1\n',
        ),
        ["x.pdf"],
    ),
    "name_by_rfc_2231": (
        several(
            "mixed", "Content-Type: text/csv\nContent-Disposition: attachment; filename*=UTF-8''%E2%82%AC.csv\n\n1\n"
        ),
        ["€.csv"],
    ),
    "name_that_does_not_decode": (
        several("mixed", "Content-Type: text/csv\nContent-Disposition: attachment; filename*=UTF-8''%FF%FE.csv\n\n1\n"),
        ["\ufffd\ufffd.csv"],
    ),
    "encoded_name": (several("mixed", 'Content-Type: text/csv; name="=?utf-8?q?=E2=82=AC?=.csv"\n\n1\n'), ["€.csv"]),
    "no_name": (several("mixed", "Content-Type: application/pdf\n\n%PDF-1\n"), ["part-2.pdf"]),
    "tnef": (several("mixed", "Content-Type: application/ms-tnef; name=winmail.dat\n\nx\n"), ["winmail.dat"]),
    "unknown_type": (several("mixed", "Content-Type: x-strange/thing; name=a.strange\n\nx\n"), ["a.strange"]),
    "mail_in_a_mail": (
        several("mixed", b"Content-Type: message/rfc822\n\n" + mail("Inner words", Subject="Inner")),
        ["Inner.eml"],
    ),
    "calendar": (
        several(
            "mixed",
            "Content-Type: text/plain\n\nHi\n",
            "Content-Type: text/calendar; method=REQUEST\n\nBEGIN:VCALENDAR\n",
        ),
        ["part-3.ics"],
    ),
    "signed": (
        several(
            "signed", "Content-Type: text/plain\n\nHi\n", "Content-Type: application/pgp-signature; name=s.asc\n\nx\n"
        ),
        ["s.asc"],
    ),
    "encrypted": (
        several(
            "encrypted",
            "Content-Type: application/pgp-encrypted\n\nVersion: 1\n",
            "Content-Type: application/octet-stream; name=e.asc\n\nx\n",
        ),
        ["part-1.bin", "e.asc"],
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_what_a_mail_carries(name: str) -> None:
    raw, expected = FILES[name]
    assert names(raw) == expected


def test_a_mail_in_a_mail_keeps_its_words_to_itself() -> None:
    assert message(FILES["mail_in_a_mail"][0]).text == ""


def test_a_file_is_what_its_bytes_say() -> None:
    raw = several("mixed", PICTURE.replace(b"image/png", b"application/pdf"))
    (found,) = [a for a in message(raw).attachments if a.name == "a.png"]
    assert (found.kind, found.media_type, found.size) == ("image", "image/png", len(PNG))


# machines


MACHINES = {
    "out_of_office": ({"Auto_Submitted": "auto-replied"}, True, True),
    "exchange_out_of_office": (
        {"Subject": "Automatische Antwort: Colis", "X_Auto_Response_Suppress": "All"},
        True,
        True,
    ),
    "autoresponder": ({"X_Autoreply": "yes"}, True, True),
    "precedence": ({"Precedence": "auto_reply"}, True, True),
    "mail_system": ({"From": "MAILER-DAEMON@mx.example"}, True, True),
    "a_shops_form": ({"Auto_Submitted": "auto-generated"}, False, True),
    "newsletter": ({"List_Unsubscribe": "<https://x.example>", "Precedence": "bulk"}, False, True),
    "silence_alone": ({"X_Auto_Response_Suppress": "DR, OOF, AutoReply"}, False, False),
    "subject_alone": ({"Subject": "Automatic reply wanted"}, False, False),
    "a_person": ({"Auto_Submitted": "no"}, False, False),
}


@pytest.mark.parametrize("name", MACHINES)
def test_what_a_machine_wrote_is_told_apart(name: str) -> None:
    headers, is_automatic, is_silent = MACHINES[name]
    raw = mail(**headers)
    assert (message(raw).automatic, context(raw).automatic) == (is_automatic, is_silent)


def test_our_own_mail_that_comes_round_is_nothing() -> None:
    assert seen(mail(Message_ID=OURS)) == []
    assert seen(mail(X_Loop="support@shop.example")) == []
    assert seen(mail(Message_ID=OURS.replace(REFERENCE, REFERENCE[::-1]))) != []


def a_report(original: str, **headers: str) -> bytes:
    return several(
        "report; report-type=delivery-status",
        "Content-Type: text/plain\n\nIt did not arrive.\n",
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"
        "Final-Recipient: rfc822; marie@example.com\nAction: failed\nStatus: 5.1.1\n",
        f"Content-Type: message/rfc822\n\nMessage-ID: {original}\nSubject: Re: Colis\n\nHello\n",
        **{"From": "MAILER-DAEMON@mx.example", **headers},
    )


def test_a_bounce_is_a_receipt_of_the_part() -> None:
    (item,) = seen(a_report(OURS))
    assert isinstance(item.data, ReceiptReceived)
    assert (item.data.reference, item.data.state, item.data.code) == (REFERENCE, "failed", "5.1.1")
    assert item.lane == "marie@example.com"


def test_a_bounce_of_somebody_elses_mail_or_of_a_bounce_is_shown_and_nothing_more() -> None:
    for original in ("<x@elsewhere.example>", "<bounce.1@mx.example>"):
        assert message(a_report(original)).automatic


def test_a_delay_and_a_copy_that_came_back_are_shown_in_the_thread_of_the_mail() -> None:
    delay = a_report(OURS).replace(b"failed", b"delayed").replace(b"5.1.1", b"4.4.1")
    copy = a_report(f"{OURS}\nTo: paul@example.com\nCc: marie@example.com")
    for raw in (delay, copy):
        assert (message(raw).automatic, message(raw).thread) == (True, THREAD)


# bounds


def test_a_mail_of_twenty_five_megabytes_is_read_whole() -> None:
    big = EmailMessage()
    big["From"], big["To"], big["Subject"] = "marie@example.com", "support@shop.example", "Big"
    big.set_content("See the film")
    big.add_attachment(b"\x00\x01" * 9_000_000, "video", "mp4", filename="film.mp4")
    started = time.perf_counter()
    found = message(big.as_bytes())
    assert (found.text, found.attachments[0].size) == ("See the film", 18_000_000)
    assert time.perf_counter() - started < 20
    assert len(msgspec.json.encode(found)) < 10_000


def test_trees_that_are_too_deep_or_too_wide_are_cut() -> None:
    deep = b"".join(b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000))
    assert message(b"From: a@example.com\nSubject: Deep\n" + deep + b"\nHello").subject == "Deep"
    wide = several("mixed", *(f"Content-Type: text/x-n; name=f{n}\n\n{n}\n" for n in range(2000)))
    assert len(names(wide)) == 100
    page = "<div>" * 20_000 + "Hello"
    assert message(mail(page, Content_Type="text/html")).text == "Hello"


def test_long_words_fit_on_the_bus() -> None:
    found = message(
        mail("ä" * 3_000_000, Subject="s" * 100_000, References=" ".join(f"<{n}@x.example>" for n in range(5000)))
    )
    assert len(msgspec.json.encode(found)) < 600_000


def test_bytes_that_are_no_mail_are_a_bad_item() -> None:
    for raw in (b"", b"\x00\xff" * 100, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\n\n\n"):
        (bad,) = seen(raw)
        assert isinstance(bad, BadItem)
        assert (bad.code, bad.raw, bad.address) == ("no_mail", raw, INBOX.address)


CORPUS = [raw for raw, *_ in (*TEXTS.values(), *FILES.values())] + [a_report(OURS), ALTERNATIVE, mail(References=OURS)]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_any_mangled_mail_is_items_or_a_bad_item(data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from(CORPUS))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(raw)))
        cut = data.draw(st.integers(0, 60))
        raw = raw[:place] + data.draw(st.binary(max_size=30)) + raw[place + cut :]
    found = seen(raw)
    assert found == seen(raw)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=500))
def test_any_bytes_are_items_or_a_bad_item(raw: bytes) -> None:
    seen(b"From: marie@example.com\nSubject: x\nContent-Type: " + raw)
    seen(raw)
