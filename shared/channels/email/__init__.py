"""E-mail, both ways: one account is a log-in with a mail server, an inbox an address of it, perhaps a folder."""

from datetime import timedelta

from shared.channels.contract import Channel
from shared.channels.email.compose import FILES_LIMIT
from shared.channels.email.examine import examine
from shared.channels.email.inbound import read
from shared.channels.email.lines import connect
from shared.channels.email.outbound import TEXT_LIMIT, may_write, render, send
from shared.channels.email.polling import BODY_LIMIT, poll
from shared.channels.email.smtp import CALL_WITHIN

channel = Channel(
    name="email",
    address_kind="email",
    live=False,
    connect=connect,
    poll=poll,
    read=read,
    render=render,
    send=send,
    examine=examine,
    may_write=may_write,
    text_limit=TEXT_LIMIT,
    media_limit=dict.fromkeys(("image", "audio", "video", "file", "mail", "html"), FILES_LIMIT),
    body_limit=BODY_LIMIT,
    # Nothing proves that a server took a mail whose answer was lost, and no customer wants it twice: a person decides.
    proof_within=timedelta(minutes=15),
    resend_unproven=False,
    call_within=timedelta(seconds=CALL_WITHIN),
    suppresses=frozenset(
        {
            "no_such_address", "domain_takes_no_mail", "mailbox_disabled",
            "5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4",
        }
    ),
    reopen_within=timedelta(days=14),
)  # fmt: skip
