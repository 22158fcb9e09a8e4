"""Files: asked for by id when they come, uploaded before they leave.

Source: Meta for Developers, "WhatsApp Cloud API - Media", Graph API v25.0.
"""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import Source, Try
from shared.channels.http import calling
from shared.channels.meta.graph import DEFAULT_URL, answer_of, bearer, root
from shared.channels.whatsapp.verdicts import VERDICTS
from shared.errors import Rejected, Unavailable
from shared.events import Attachment

TOKEN = "token"  # noqa: S105 - the secret's name
# Most bytes of each kind, and the media types that are taken; everything else leaves as a link.
MEDIA_LIMIT = {"image": 5_000_000, "audio": 16_000_000, "video": 16_000_000, "file": 100_000_000}
OFFICE = "application/vnd.openxmlformats-officedocument"
MEDIA_TYPES = frozenset(
    {
        "image/jpeg", "image/png", "audio/aac", "audio/amr", "audio/mpeg", "audio/mp4", "audio/ogg", "video/mp4",
        "video/3gpp", "text/plain", "application/pdf", "application/msword", "application/vnd.ms-excel",
        "application/vnd.ms-powerpoint", f"{OFFICE}.wordprocessingml.document", f"{OFFICE}.spreadsheetml.sheet",
        f"{OFFICE}.presentationml.presentation",
    }
)  # fmt: skip
# Where the vendor keeps files; the token goes nowhere else.
HOSTS = ("facebook.com", "fbsbx.com", "whatsapp.net")
# What an upload may take altogether; nothing has been sent by then.
UPLOAD_WITHIN = 55.0


async def locate(http: httpx.AsyncClient, attachment: Attachment, account: Account, inbox: Inbox) -> Source:
    """The file's address of the next five minutes, with the token that it needs.

    Raises Rejected for a file that is gone or elsewhere, and what VERDICTS says.
    """
    if not attachment.external_id.isascii() or not attachment.external_id.isalnum():
        raise Rejected("the attachment has no media id", code="no_address")
    headers = bearer(account.secret(TOKEN))
    query = {"phone_number_id": inbox.address}
    with calling(sent=False):
        response = await http.get(f"{root(account)}/{attachment.external_id}", params=query, headers=headers)
    try:
        url = answer_of(response, VERDICTS, sent=False).get("url")
    except Rejected:
        # An id lives a week; of what became of it the vendor says nothing.
        raise Rejected("the vendor does not have the file any more", code="gone") from None
    if not isinstance(url, str):
        raise Unavailable("the vendor does not say where the file is", code="no_address")
    return Source(url=url, headers=headers, hosts=_near(url, account))


def _near(url: str, account: Account) -> frozenset[str] | None:
    """The configured host where the file is there, None for one of the vendor's. Raises Rejected for any other."""
    try:
        where = urlsplit(url)
        host = (where.hostname or "").lower()
    except ValueError:
        raise Rejected("the file has no usable address", code="bad_address") from None
    configured = urlsplit(str(account.settings.get("graph_url", DEFAULT_URL)))
    if where.netloc and where.netloc == configured.netloc and where.scheme == configured.scheme:
        return frozenset({configured.netloc})
    if where.scheme == "https" and any(host == own or host.endswith(f".{own}") for own in HOSTS):
        return None
    raise Rejected("the file is not at the vendor's own host", code="foreign_host")


async def upload(
    http: httpx.AsyncClient, stored: Mapping[str, Any], attempt: Try, account: Account, inbox: Inbox
) -> str:
    """The vendor's id of a file that we hold. Nothing is sent by it, so no failure leaves anything in doubt."""
    if attempt.files is None:
        raise Rejected("nothing can read the file", code="attachment_without_bytes")
    attachment = msgspec.convert(stored, Attachment)
    content = await attempt.files.read(attachment)
    try:
        async with asyncio.timeout(UPLOAD_WITHIN):
            with calling(sent=False):
                response = await http.post(
                    f"{root(account)}/{inbox.address}/media",
                    data={"messaging_product": "whatsapp", "type": attachment.media_type},
                    files={"file": (attachment.name or "file", content, attachment.media_type)},
                    headers=bearer(account.secret(TOKEN)),
                )
    except TimeoutError:
        raise Unavailable("the upload took too long", code="slow_upload") from None
    media_id = answer_of(response, VERDICTS, sent=False).get("id")
    if not isinstance(media_id, str) or not media_id:
        raise Unavailable("the vendor took a file without giving its id", code="no_media_id")
    return media_id
