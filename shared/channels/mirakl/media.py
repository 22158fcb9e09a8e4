"""Where the files of messages are: at the platform, for whoever has the key.

Source: Mirakl Marketplace APIs, seller OpenAPI document: M13 (attachment), whose path looks like a thread's.
"""

from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from shared.accounts import Account, Inbox
from shared.channels.contract import Source
from shared.channels.mirakl.inbound import address, authorization
from shared.errors import Rejected
from shared.events import Attachment


async def locate(_http: Any, attachment: Attachment, account: Account, inbox: Inbox) -> Source:
    """The attachment's address at the operator's instance with the key, which goes nowhere else.

    Raises Rejected where it has no id, InboxMisconfigured without an instance or a key.
    """
    if not attachment.external_id:
        raise Rejected("the attachment has no id", code="no_address")
    path = f"/api/inbox/threads/{quote(attachment.external_id, safe='')}/download"
    url = f"{address(account, path)}?{urlencode({'shop_id': inbox.address})}"
    return Source(url=url, headers=authorization(account), hosts=frozenset({urlsplit(url).netloc}))
