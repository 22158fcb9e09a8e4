"""Reports about mails of ours: read where they name one that we made, nothing else."""

from base64 import b64encode
from collections import deque
from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import compat32, default
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.sandbox.mail.smtp import report
from shared.channels.email.bounces import has_signals, read
from shared.channels.email.compose import message_id
from tests.channels.email.sample import ACCOUNT, INBOX
from tests.channels.tables import REFERENCE

AT = datetime(2026, 8, 3, 9, 0, tzinfo=UTC)
ID = message_id(ACCOUNT, INBOX, REFERENCE)
ACCEPTED = {
    "rcpt_to": ["Marie@example.com"],
    "mail_from": "support@shop.example",
    "queue_id": "1",
    "raw": f"From: support@shop.example\r\nMessage-ID: {ID}\r\n\r\nHello",
}

STATUS = """Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; marie@example.com
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user
"""


def seen(raw: bytes | str, policy: Any = default) -> Any:
    whole = raw.encode() if isinstance(raw, str) else raw
    return read(message_from_bytes(whole, policy=policy), ACCOUNT, AT)


def a_report(status: str, headers: str = "Content-Type: message/delivery-status", original: str = ID) -> str:
    return f"""From: MAILER-DAEMON@mx.example
To: support@shop.example
Subject: Undeliverable
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

It did not arrive.

--b
{headers}

{status}
--b
Content-Type: message/rfc822

From: support@shop.example
Message-ID: {original}

Hello
--b--
"""


@pytest.mark.parametrize("policy", [default, compat32])
def test_a_mail_that_came_back(policy: Any) -> None:
    found = seen(report(ACCEPTED, status="5.1.1", text="No such user", now=AT), policy)
    assert (found.state, found.code, found.peer) == ("failed", "5.1.1", "marie@example.com")
    assert (found.external_ids, found.reference, found.at) == ([ID], REFERENCE, AT)


def test_a_report_with_the_whole_mail_attached() -> None:
    assert seen(a_report(STATUS)).code == "5.1.1"


def test_a_status_in_base64_is_read_by_hand() -> None:
    headers = "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64"
    found = seen(a_report(b64encode(STATUS.encode()).decode(), headers))
    assert (found.state, found.code) == ("failed", "5.1.1")


def test_a_status_that_is_labelled_as_text_is_read_by_hand() -> None:
    assert seen(a_report(STATUS, "Content-Type: text/plain; charset=us-ascii")).code == "5.1.1"


def test_the_diagnosis_is_better_than_a_status_without_detail() -> None:
    assert seen(a_report(STATUS.replace("Status: 5.1.1", "Status: 5.0.0"))).code == "5.1.1"


def test_a_delay_is_no_failure() -> None:
    assert seen(a_report(STATUS.replace("failed", "delayed").replace("5.1.1", "4.4.1"))) is None


def test_a_delivery_that_is_reported() -> None:
    assert seen(a_report(STATUS.replace("failed", "delivered").replace("5.1.1", "2.0.0"))).state == "delivered"


BOTH = f"{ID}\nTo: Marie <Marie@example.com>\nCc: paul@example.com"
OF_PAUL = STATUS.replace("marie", "paul")


@pytest.mark.parametrize("kind", ["message/rfc822", "text/rfc822-headers"])
def test_a_copy_that_came_back_says_nothing_of_the_answer(kind: str) -> None:
    def about(status: str) -> Any:
        return seen(a_report(status, original=BOTH).replace("message/rfc822", kind))

    assert about(OF_PAUL) is None
    assert about(STATUS).peer == "marie@example.com"
    for first in (OF_PAUL, OF_PAUL.replace("failed", "delivered")):
        found = about(f"{first}\n{STATUS.partition(chr(10) * 2)[2]}")
        assert (found.state, found.peer) == ("failed", "marie@example.com")


def test_a_copy_that_came_back_in_words_alone_says_nothing_either() -> None:
    in_words = f"""From: MAILER-DAEMON@mx.example
Content-Type: multipart/mixed; boundary=b

--b

Hi. This is the qmail-send program at mx.example.

<%s>:
Sorry, no mailbox here by that name. (#5.1.1)

--b
Content-Type: message/rfc822

Message-ID: {BOTH}

Hello
--b--
"""
    assert seen(in_words % "marie@example.com").state == "failed"
    assert seen(in_words % "paul@example.com") is None


def test_a_forged_report_is_nothing() -> None:
    assert seen(a_report(STATUS, original=ID.replace("0b54", "0b55"))) is None
    assert seen(a_report(STATUS, original="<somebody@else.example>")) is None


def test_a_report_about_a_report_is_nothing() -> None:
    assert seen(a_report(STATUS, original="<bounce.1@mx.example>")) is None


def test_a_customers_reply_is_no_report() -> None:
    raw = f"From: marie@example.com\nIn-Reply-To: {ID}\nSubject: Re: x\n\nAction: failed\nReporting-MTA: x\n"
    assert not has_signals(message_from_bytes(raw.encode(), policy=default))
    assert seen(raw) is None


def test_an_absence_notice_is_no_report() -> None:
    raw = f"From: marie@example.com\nReturn-Path: <>\nAuto-Submitted: auto-replied\nIn-Reply-To: {ID}\n\nI am away.\n"
    assert seen(raw) is None


def test_a_report_in_words_alone_is_a_second_opinions() -> None:
    raw = f"""From: MAILER-DAEMON@mx.example (Mail Delivery Subsystem)
Subject: Returned mail
Content-Type: text/plain

Hi. This is the qmail-send program at mx.example.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<marie@example.com>:
Sorry, no mailbox here by that name. (#5.1.1)

--- Below this line is a copy of the message.

Message-ID: {ID}
"""
    found = seen(raw)
    assert (found.state, found.code, found.peer) == ("failed", "5.1.1", "marie@example.com")


def test_a_mail_that_was_opened() -> None:
    notice = f"""From: marie@example.com
Content-Type: multipart/report; report-type=disposition-notification; boundary=b

--b
Content-Type: text/plain

Opened.
--b
Content-Type: message/disposition-notification

Reporting-UA: mail.example
Final-Recipient: rfc822;marie@example.com
Original-Message-ID: {ID}
Disposition: manual-action/MDN-sent-manually; displayed
--b--
"""
    assert seen(notice).state == "read"
    assert seen(notice.replace("; displayed", "; deleted")) is None


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_whatever_is_left_of_a_report_is_read_or_nothing(data: st.DataObject) -> None:
    whole = a_report(STATUS).encode()
    place = data.draw(st.integers(0, len(whole)))
    raw = whole[:place] + data.draw(st.binary(max_size=20)) + whole[place + data.draw(st.integers(0, 40)) :]
    for policy in (default, compat32):
        message = message_from_bytes(raw, policy=policy)
        deque(message.walk(), maxlen=0)
        read(message, ACCOUNT, AT)
