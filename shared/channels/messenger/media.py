"""Where the files of messages are: at addresses of the vendor's delivery network, which anybody may fetch for days."""

from typing import Any
from urllib.parse import urlsplit

from shared.accounts import Account, Inbox
from shared.channels.contract import Source
from shared.channels.meta.graph import DEFAULT_URL
from shared.errors import Rejected
from shared.events import Attachment


async def locate(_http: Any, attachment: Attachment, account: Account, _inbox: Inbox) -> Source:
    """The attachment's own address; it carries its permission in itself, so no token goes along.

    Raises Rejected where there is none.
    """
    url = urlsplit(attachment.url)
    if url.scheme not in ("http", "https"):
        raise Rejected("the attachment has no address", code="no_address")
    graph = urlsplit(str(account.settings.get("graph_url", DEFAULT_URL)))
    return Source(url=attachment.url, hosts=frozenset({graph.netloc}) if url.netloc == graph.netloc else None)
