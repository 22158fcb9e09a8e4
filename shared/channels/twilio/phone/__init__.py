"""Telephone lines by Twilio Voice: an agent is called, hears who waits, and is connected with the customer.

Who rings the line themselves is called back.
"""

from functools import partial

from shared.channels.contract import Calls, Channel
from shared.channels.twilio.examine import examine
from shared.channels.twilio.phone.inbound import receive, verify
from shared.channels.twilio.phone.outbound import follow, hang_up, may_write, place, render, send

channel = Channel(
    name="phone",
    address_kind="phone",
    live=True,
    verify=verify,
    receive=receive,
    render=render,
    send=send,
    examine=partial(examine, calls="voice"),
    calls=Calls(place=place, follow=follow, hang_up=hang_up),
    may_write=may_write,
    text_limit=0,
    # Nobody does anything else while they talk.
    weight=2,
)
