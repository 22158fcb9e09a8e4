"""What a channel cannot carry as a file leaves as a link in the text."""

from collections.abc import Callable, Sequence

import msgspec

from shared.accounts import Inbox
from shared.channels.contract import Channel
from shared.events import Attachment, SendReply

# The file's address for a person who reads the text.
Link = Callable[[Attachment], str]


def expressible(reply: SendReply, channel: Channel, inbox: Inbox, link: Link) -> SendReply:
    """The reply with only such attachments as the inbox takes; a line of name and link for each of the others.

    Attachments that we do not hold stay as they are. Raises what `link` raises.
    """
    moved = [a for a in reply.attachments if a.sha256 and not _takes(channel, inbox, a)]
    if not moved:
        return reply
    kept = [a for a in reply.attachments if a not in moved]
    text = "\n".join([*([reply.text, ""] if reply.text else []), *_lines(moved, link)])
    return msgspec.structs.replace(reply, text=text, attachments=kept)


def _takes(channel: Channel, inbox: Inbox, attachment: Attachment) -> bool:
    limit = channel.media_limit_of(inbox) if channel.media_limit_of else channel.media_limit
    fits = (attachment.size or 0) <= limit.get(attachment.kind, -1)
    return fits and (not channel.media_types or attachment.media_type in channel.media_types)


def _lines(attachments: Sequence[Attachment], link: Link) -> list[str]:
    """The link stands at the end of its line, so that no letter is taken for a part of it."""
    return [f"{a.name}: {link(a)}" if a.name else link(a) for a in attachments]
