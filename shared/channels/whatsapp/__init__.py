"""WhatsApp Cloud API, both ways. One account (a Meta app with its system user) has many numbers, each an inbox."""

from datetime import timedelta

from shared.channels.contract import Channel
from shared.channels.meta.webhooks import verify
from shared.channels.whatsapp.examine import examine
from shared.channels.whatsapp.inbound import receive
from shared.channels.whatsapp.media import MEDIA_LIMIT, MEDIA_TYPES, locate
from shared.channels.whatsapp.outbound import TEXT_LIMIT, render, send
from shared.channels.whatsapp.rules import may_write

channel = Channel(
    name="whatsapp",
    address_kind="phone",
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
    media_types=MEDIA_TYPES,
    body_limit=4_000_000,
    answer_within=timedelta(seconds=3),
    # Statuses carry our reference and come within seconds; a chat loses more by silence than by a repetition.
    proof_within=timedelta(minutes=2),
    resend_unproven=True,
    # A file is uploaded before its message leaves.
    call_within=timedelta(seconds=95),
)
