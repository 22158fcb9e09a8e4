"""The channels that there are: a new one is its folder, one line here, and its payload tables."""

from shared.channels import email, messenger, mirakl, twilio, whatsapp
from shared.channels.contract import Channel
from shared.channels.twilio import phone
from shared.errors import InboxMisconfigured

CHANNELS: tuple[Channel, ...] = (
    messenger.channel, mirakl.channel, whatsapp.channel, twilio.whatsapp, twilio.sms, email.channel,
    phone.channel,
)  # fmt: skip
_BY_NAME = {channel.name: channel for channel in CHANNELS}


def channel(name: str) -> Channel:
    """Raises InboxMisconfigured for a name that no channel has."""
    found = _BY_NAME.get(name)
    if found is None:
        raise InboxMisconfigured(f"there is no channel {name!r}; there are {', '.join(_BY_NAME)}", code="no_channel")
    return found
