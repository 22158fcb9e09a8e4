"""Marketplaces on Mirakl, both ways: one account is a key at one operator's instance, a shop is an inbox."""

from datetime import timedelta

from shared.channels.contract import Channel
from shared.channels.mirakl.examine import examine
from shared.channels.mirakl.inbound import poll
from shared.channels.mirakl.outbound import TEXT_LIMIT, ask, render, send

channel = Channel(
    name="mirakl",
    address_kind="mirakl",
    live=False,
    poll=poll,
    render=render,
    send=send,
    ask=ask,
    examine=examine,
    text_limit=TEXT_LIMIT,
    # There is no idempotency key, but the thread can be read.
    resend_unproven=False,
    reopen_within=timedelta(days=30),
)
