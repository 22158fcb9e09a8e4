"""Marketplaces on Mirakl, both ways: one account is a key at one operator's instance, a shop is an inbox."""

from datetime import timedelta

from shared.channels.contract import Channel
from shared.channels.mirakl.examine import examine
from shared.channels.mirakl.inbound import poll
from shared.channels.mirakl.media import locate
from shared.channels.mirakl.outbound import MEDIA_LIMIT, TEXT_LIMIT, ask, render, send

channel = Channel(
    name="mirakl",
    address_kind="mirakl",
    live=False,
    poll=poll,
    render=render,
    send=send,
    ask=ask,
    locate=locate,
    examine=examine,
    text_limit=TEXT_LIMIT,
    media_limit=MEDIA_LIMIT,
    # The files go along with the text.
    call_within=timedelta(seconds=95),
    # There is no idempotency key, but the thread can be read.
    resend_unproven=False,
    reopen_within=timedelta(days=30),
)
