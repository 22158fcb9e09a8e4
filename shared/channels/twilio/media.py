"""Where the files of messages are: at the API, for whoever has the account's credentials; from there it leads on."""

from typing import Any

from shared.accounts import Account, Inbox
from shared.channels.contract import Source
from shared.channels.twilio import wire
from shared.errors import Rejected
from shared.events import Attachment

VENDOR = ".twilio.com"


async def locate(_http: Any, attachment: Attachment, account: Account, _inbox: Inbox) -> Source:
    """The attachment's address at the API with the account's credentials, which go nowhere else.

    Raises Rejected where there is none, InboxMisconfigured without credentials.
    """
    if not attachment.url:
        raise Rejected("the attachment has no address", code="no_address")
    own = wire.api_host(account)
    # Files stay at the central host where calls go to a region's.
    hosts = {own, "api" + VENDOR} if own.endswith(VENDOR) else {own}
    return Source(url=attachment.url, headers=wire.authorization(account), hosts=frozenset(hosts))
