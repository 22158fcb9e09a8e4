"""Twilio's WhatsApp and SMS, both ways: one implementation, two channels. A number is an inbox, in E.164."""

from functools import partial

from shared.channels.contract import Channel
from shared.channels.twilio.examine import examine
from shared.channels.twilio.inbound import receive, verify
from shared.channels.twilio.media import locate
from shared.channels.twilio.outbound import TEXT_LIMIT, ask, render, send
from shared.channels.twilio.rules import SMS, WHATSAPP, WHATSAPP_MEDIA, WHATSAPP_MEDIA_TYPES, may_write, sms_media

# The longest that people may write, in the script that takes the most bytes of a form, and as much beside it.
BODY_LIMIT = 262_144
# The vendor keeps everything from that person until they write again. Not so `opted_out`: START ends it at the vendor,
# and is no message that would end anything here.
SUPPRESSES = frozenset({"blocked"})

whatsapp = Channel(
    name=WHATSAPP.channel,
    address_kind="phone",
    live=True,
    verify=verify,
    receive=partial(receive, product=WHATSAPP),
    render=partial(render, product=WHATSAPP),
    send=partial(send, product=WHATSAPP),
    ask=partial(ask, product=WHATSAPP),
    locate=locate,
    examine=partial(examine, calls=None),
    may_write=partial(may_write, product=WHATSAPP),
    text_limit=TEXT_LIMIT,
    media_limit=WHATSAPP_MEDIA,
    media_types=WHATSAPP_MEDIA_TYPES,
    body_limit=BODY_LIMIT,
    suppresses=SUPPRESSES,
)
sms = Channel(
    name=SMS.channel,
    address_kind="phone",
    live=True,
    verify=verify,
    receive=partial(receive, product=SMS),
    render=partial(render, product=SMS),
    send=partial(send, product=SMS),
    ask=partial(ask, product=SMS),
    locate=locate,
    examine=partial(examine, calls="sms"),
    may_write=partial(may_write, product=SMS),
    text_limit=TEXT_LIMIT,
    media_limit_of=sms_media,
    body_limit=BODY_LIMIT,
    suppresses=SUPPRESSES,
)
