"""How a reply's stored files reach a vendor: by a signed link that it fetches, or as bytes."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shared.accounts import Inbox
from shared.channels.contract import Channel
from shared.channels.media import expressible
from shared.clock import utc_now
from shared.errors import Rejected
from shared.events import Attachment, SendReply
from shared.links import FETCHED_FOR, WRITTEN_FOR, Links
from shared.objects import Objects


@dataclass(frozen=True, slots=True)
class BrandFiles:
    """The `Files` of one attempt: those of its brand alone."""

    links: Links
    objects: Objects
    brand_id: UUID
    now: Callable[[], datetime] = utc_now

    def link(self, attachment: Attachment) -> str:
        """Works for a day, without credentials. Raises Rejected for what is not stored."""
        return self.links.of(self.brand_id, attachment, self.now() + FETCHED_FOR)

    async def read(self, attachment: Attachment) -> bytes:
        """Raises Rejected where the brand has no such file, Unavailable while the store is away."""
        if not attachment.sha256:
            raise Rejected("the file is not stored", code="no_such_file")
        return await self.objects.get(self.brand_id, attachment.sha256)


def carried(reply: SendReply, channel: Channel, links: Links, inbox: Inbox, now: datetime) -> SendReply:
    """The reply as the inbox takes it; links in its text work for thirty days. Raises Rejected."""
    return expressible(reply, channel, inbox, lambda a: links.of(inbox.brand_id, a, now + WRITTEN_FOR))
