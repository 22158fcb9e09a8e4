"""Mirakl calls nobody: threads are polled with an inclusive cursor and an overlap.

Source: Mirakl Marketplace Platform, seller OpenAPI: M11 (list of threads), M10 (one thread), OR11 (orders).
"""

import html
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Item, Page
from shared.channels.http import calling, error_of_status, instant
from shared.channels.text import clean, key, read_json, write_json
from shared.errors import BadPayload, DragomanError, OutcomeUnknown, Unavailable
from shared.events import Address, Attachment, EchoReceived, MessageReceived, Unrecognised

CHANNEL = "mirakl"
LIMIT = 50
OVERLAP = timedelta(minutes=10)
RAW_LIMIT = 65_536
BREAKS = re.compile(r"<\s*(br|/p|/div|/li)\s*/?\s*>", re.IGNORECASE)
TAGS = re.compile(r"<[^>]{1,2000}>")
AUTHORS: Mapping[str, str] = {"CUSTOMER_USER": "customer", "OPERATOR_USER": "operator"}


class Context(msgspec.Struct, frozen=True):
    """Thread and recipients of an answer; opaque to everybody else."""

    thread: str
    to: list[dict[str, str]]
    v: int = 1


async def poll(http: httpx.AsyncClient, account: Account, inbox: Inbox, cursor: str) -> AsyncIterator[Page]:
    """Threads that changed since the cursor, page by page; the last page carries the new cursor.

    `updated_since` is inclusive and threads move between pages while they are read, so an overlap is read again on
    purpose and the cursor moves only at the end. Raises what `error_of_status` says.
    """
    query: dict[str, Any] = {"shop_id": inbox.address, "with_messages": "true", "limit": LIMIT}
    if cursor:
        overlap = timedelta(minutes=float(inbox.settings.get("overlap_minutes", OVERLAP.total_seconds() / 60)))
        query["updated_since"] = (instant(cursor) - overlap).isoformat().replace("+00:00", "Z")
    newest = instant(cursor) if cursor else None
    while True:
        answer = await get(http, account, "/api/inbox/threads", query)
        threads = answer.get("data")
        if not isinstance(threads, list):
            raise BadPayload("the list of threads has no `data`", code="no_data")
        items: list[Item | BadItem] = []
        locales = await _locales(http, account, inbox, threads)
        for thread in threads:
            newest = _latest(newest, thread)
            items += await _thread_items(http, account, inbox, thread, locales)
        token = answer.get("next_page_token")
        if not token:
            yield Page(items, newest.isoformat() if newest else None)
            return
        yield Page(items)
        query = {"shop_id": inbox.address, "page_token": token}


async def get(http: httpx.AsyncClient, account: Account, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a GET. Raises AccountBroken, Throttled, Unavailable, Rejected, BadPayload."""
    try:
        with calling():
            response = await http.get(
                f"{account.settings['url']}{path}",
                params=query,
                headers={"Authorization": account.secret("api_key"), "Accept": "application/json"},
            )
    except OutcomeUnknown as error:
        # A GET has no effect, so it can simply be done again.
        raise Unavailable(str(error), code=error.code) from None
    if response.status_code != 200:
        raise error_of_status(response, sent=False)
    value = read_json(response.content)
    if not isinstance(value, dict):
        raise BadPayload("the answer is not an object", code="not_an_object")
    return value


async def _locales(
    http: httpx.AsyncClient, account: Account, inbox: Inbox, threads: Iterable[Any]
) -> Mapping[str, str]:
    """The buyers' locales by order, one call a page; without them the inbox's locale holds."""
    orders = sorted({order for thread in threads if (order := _order(thread))})
    if not orders:
        return {}
    query = {"order_ids": ",".join(orders), "shop_id": inbox.address}
    try:
        answer = await get(http, account, "/api/orders", query)
    except DragomanError:
        return {}
    found = {}
    given = answer.get("orders")
    for order in given if isinstance(given, list) else ():
        customer = order.get("customer") if isinstance(order, dict) else None
        locale = customer.get("locale") if isinstance(customer, dict) else None
        if isinstance(locale, str):
            found[clean(str(order.get("order_id")))] = clean(locale).replace("_", "-")
    return found


async def _thread_items(
    http: httpx.AsyncClient, account: Account, inbox: Inbox, thread: Any, locales: Mapping[str, str]
) -> list[Item | BadItem]:
    """The thread's messages, oldest first. One that breaks the form holds nobody back."""
    try:
        thread_id, messages = _id(thread["id"]), thread.get("messages") or []
        if int((thread.get("metadata") or {}).get("total_count") or 0) > len(messages):
            # The list shows the last hundred only.
            whole = await get(http, account, f"/api/inbox/threads/{thread_id}", {"shop_id": inbox.address})
            messages = whole.get("messages") or []
        # What is no message at all breaks the form by itself, below.
        messages = sorted(messages, key=lambda m: str(m.get("date_created")) if isinstance(m, dict) else "")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return [_bad(thread, inbox, error)]
    return [_item(account, inbox, thread, thread_id, message, locales) for message in messages]


def _item(
    account: Account, inbox: Inbox, thread: dict[str, Any], thread_id: str, message: Any, locales: Mapping[str, str]
) -> Item | BadItem:
    try:
        return Item(inbox.address, thread_id, _read(account, inbox, thread, thread_id, message, locales))
    except BadPayload as error:
        return BadItem(write_json(message)[:RAW_LIMIT], error.code, str(error), inbox.address)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return _bad(message, inbox, error)


def _bad(raw: Any, inbox: Inbox, error: Exception) -> BadItem:
    # Only the class: the text may quote the customer.
    text = f"it breaks the documented form: {type(error).__name__}"
    return BadItem(write_json(raw)[:RAW_LIMIT], "broken_item", text, inbox.address)


def _read(
    account: Account, inbox: Inbox, thread: dict[str, Any], thread_id: str, message: dict[str, Any],
    locales: Mapping[str, str],
) -> MessageReceived | EchoReceived | Unrecognised:  # fmt: skip
    host = urlsplit(str(account.settings.get("url", ""))).netloc
    # Ids are unique within an instance; several shops of it may share a thread.
    message_id = _id(message["id"])
    known_by = (host, inbox.address, message_id)
    occurred_at = instant(message["date_created"])
    author = message["from"]["type"]
    raw = write_json(message)[:RAW_LIMIT]
    text = plain(message.get("body") or "")
    attachments = [_attachment(a) for a in message.get("attachments") or ()]
    if author == "SHOP_USER":
        return EchoReceived(
            channel=CHANNEL,
            keys=[key("echo", *known_by)],
            external_id=message_id,
            peer=thread_id,
            occurred_at=occurred_at,
            text=text,
            attachments=attachments,
            raw=raw,
        )
    sender = _customer(thread, host)
    if author not in AUTHORS:
        return Unrecognised(
            channel=CHANNEL,
            keys=[key("message", *known_by)],
            what=f"message of {clean(str(author))[:50]}",
            occurred_at=occurred_at,
            sender=sender,
            thread=thread_id,
            raw=raw,
        )
    order = _order(thread)
    return MessageReceived(
        channel=CHANNEL,
        keys=[key("message", *known_by)],
        sender=sender,
        author="customer" if author == "CUSTOMER_USER" else "operator",
        occurred_at=occurred_at,
        text=text,
        attachments=attachments,
        thread=thread_id,
        matter=order,
        subject=clean(str((thread.get("topic") or {}).get("value") or "")),
        locale=locales.get(order or ""),
        reply_context=msgspec.json.encode(Context(thread_id, _recipients(thread, author))),
        raw=raw,
    )


def _attachment(raw: dict[str, Any]) -> Attachment:
    size = raw.get("size")
    size = size if isinstance(size, int) and not isinstance(size, bool) else None
    return Attachment(kind="file", name=clean(str(raw.get("name", ""))), size=size, external_id=_id(raw["id"]))


def _id(value: Any) -> str:
    """An id, which may look like a number. Raises ValueError."""
    if not isinstance(value, str | int) or not str(value):
        raise ValueError("an id is missing")
    return clean(str(value))


def _customer(thread: dict[str, Any], host: str) -> Address:
    """The buyer, whoever wrote; without an id they are known by this thread alone."""
    for participant in thread.get("authorized_participants") or ():
        if participant.get("type") == "CUSTOMER":
            name = clean(str(participant.get("display_name") or ""))
            if participant.get("id"):
                value = f"{host}/{_id(participant['id'])}"
                return Address(kind=CHANNEL, value=value, name=name, verified_by="channel")
            return Address(kind=CHANNEL, value=f"{host}/thread/{_id(thread['id'])}", name=name)
    return Address(kind=CHANNEL, value=f"{host}/thread/{_id(thread['id'])}")


def _recipients(thread: dict[str, Any], author: str) -> list[dict[str, str]]:
    """Whoever wrote is answered: the operator's question must not go to the buyer."""
    wanted = "OPERATOR" if author == "OPERATOR_USER" else "CUSTOMER"
    for participant in thread.get("authorized_participants") or ():
        if participant.get("type") == wanted:
            found = {"type": wanted}
            return [found | {"id": _id(participant["id"])} if participant.get("id") else found]
    return [{"type": wanted}]


def _order(thread: Any) -> str | None:
    entities = thread.get("entities") if isinstance(thread, dict) else None
    for entity in entities if isinstance(entities, list) else ():
        if isinstance(entity, dict) and entity.get("type") == "MMP_ORDER" and entity.get("id"):
            return clean(str(entity["id"]))
    return None


def _latest(newest: datetime | None, thread: Any) -> datetime | None:
    try:
        at = instant(thread["date_updated"])
    except (KeyError, TypeError, ValueError):
        return newest
    return at if newest is None or at > newest else newest


def plain(body: str) -> str:
    """A body, which may be HTML, as text that keeps its lines."""
    if not isinstance(body, str):
        raise BadPayload("a body is not a text", code="not_text")
    return clean(html.unescape(TAGS.sub("", BREAKS.sub("\n", body)))).strip()
