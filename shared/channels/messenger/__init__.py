"""Facebook Messenger, both ways. One account (a Meta app) has many pages; a page is an inbox."""

from datetime import timedelta

from shared.channels.contract import Channel
from shared.channels.messenger.examine import examine
from shared.channels.messenger.inbound import receive
from shared.channels.messenger.media import locate
from shared.channels.messenger.outbound import MEDIA_LIMIT, TEXT_LIMIT, render, send
from shared.channels.messenger.rules import may_write
from shared.channels.meta.webhooks import verify

channel = Channel(
    name="messenger",
    address_kind="messenger",
    live=True,
    verify=verify,
    receive=receive,
    render=render,
    send=send,
    locate=locate,
    examine=examine,
    may_write=may_write,
    text_limit=TEXT_LIMIT,
    media_limit=MEDIA_LIMIT,
    body_limit=4_000_000,
    answer_within=timedelta(seconds=3),
    # Every own message comes back as an echo within seconds; a chat loses more by silence than by a repetition.
    proof_within=timedelta(minutes=2),
    resend_unproven=True,
)
