"""Mirakl calls nobody: threads are polled with an inclusive cursor and an overlap.

Source: Mirakl Marketplace APIs, seller OpenAPI document: M11 (list of threads), M10 (one thread), OR11 (orders).
"""

import asyncio
import html
import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from weakref import WeakKeyDictionary

import httpx
import msgspec

from shared.accounts import Account, Inbox
from shared.channels.contract import BadItem, Item, Page
from shared.channels.http import calling, error_of_status, instant
from shared.channels.text import clean, key, read_json, write_json
from shared.clock import utc_now
from shared.errors import (
    AccountBroken,
    BadPayload,
    DragomanError,
    InboxMisconfigured,
    OutcomeUnknown,
    Rejected,
    Throttled,
    Unavailable,
)
from shared.events import Address, Attachment, EchoReceived, MessageReceived, Unrecognised

CHANNEL = "mirakl"
LIMIT = 50
OVERLAP = timedelta(minutes=10)
# The platform names no wait when it throttles.
THROTTLED_FOR = timedelta(seconds=30)
# OR11 gives ten orders where nothing is said, and a hundred at most.
ORDERS_LIMIT = 100
ORDERS_KEPT = 10_000
# What an item that breaks the documented form can make a reader raise.
BREAKS_THE_FORM = (KeyError, TypeError, ValueError, AttributeError, OverflowError)
WRITERS: Mapping[str, str] = {"CUSTOMER_USER": "CUSTOMER", "OPERATOR_USER": "OPERATOR"}

# No parser of HTML: the standard library's takes seconds for a hostile body and stops at some. Neither pattern can
# run past the next bracket, so both are linear.
TAG = re.compile(r"<(?P<end>/?)(?P<name>[a-z][a-z0-9]{0,15})(?=[\s/>])[^<>]*>", re.IGNORECASE)
COMMENT = re.compile(r"<!--[^<>]*-->")
BLOCKS = frozenset(
    ["blockquote", "center", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "pre", "table", "tr", "ul"]
)
ELEMENTS = BLOCKS | frozenset(
    ["a", "abbr", "b", "big", "body", "br", "code", "em", "font", "head", "hr", "html", "i", "img", "ins", "del",
     "meta", "s", "small", "span", "strike", "strong", "sub", "sup", "tbody", "td", "tfoot", "th", "thead", "tt", "u"]
)  # fmt: skip
# Stands where a block begins: a new line, unless one has just begun.
LINE_START = "\x00"
LINE_STARTS = re.compile(r"\n?\x00+")
BLANK_LINES = re.compile(r"\n{3,}")

# The platform writes three letters, the rest of us two; elsewhere the inbox's own country holds.
COUNTRIES: Mapping[str, str] = {
    "AUT": "AT", "BEL": "BE", "BGR": "BG", "CHE": "CH", "CYP": "CY", "CZE": "CZ", "DEU": "DE", "DNK": "DK", "ESP": "ES",
    "EST": "EE", "FIN": "FI", "FRA": "FR", "GBR": "GB", "GRC": "GR", "HRV": "HR", "HUN": "HU", "IRL": "IE", "ISL": "IS",
    "ITA": "IT", "JPN": "JP", "KOR": "KR", "LIE": "LI", "LTU": "LT", "LUX": "LU", "LVA": "LV", "MCO": "MC", "MLT": "MT",
    "NLD": "NL", "NOR": "NO", "POL": "PL", "PRT": "PT", "ROU": "RO", "SRB": "RS", "SVK": "SK", "SVN": "SI", "SWE": "SE",
    "TUR": "TR", "UKR": "UA", "USA": "US",
}  # fmt: skip


class Context(msgspec.Struct, frozen=True):
    """Thread, recipients and time of the message that an answer answers; opaque to everybody else."""

    thread: str
    to: list[dict[str, str]]
    at: datetime | None = None
    v: int = 1


@dataclass(frozen=True, slots=True)
class Buyer:
    """What an order tells of whoever placed it."""

    locale: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread of one shop at one instance, as its messages need it."""

    host: str
    shop: str
    id: str
    raw: Mapping[str, Any]
    buyer: Buyer


# By client, which is by account, then by shop and order: the platform wants OR11 called seldom.
_buyers: WeakKeyDictionary[httpx.AsyncClient, dict[tuple[str, str], Buyer]] = WeakKeyDictionary()


async def poll(http: httpx.AsyncClient, account: Account, inbox: Inbox, cursor: str) -> AsyncGenerator[Page, None]:
    """Threads that changed since the cursor, page by page; the last page carries the new cursor.

    `updated_since` is inclusive and threads move between pages while they are read, so an overlap is read again on
    purpose and the cursor moves only at the end. Raises AccountBroken, Throttled, Unavailable, Rejected, BadPayload,
    InboxMisconfigured.
    """
    query: dict[str, Any] = {"shop_id": inbox.address, "with_messages": "true", "limit": LIMIT}
    if cursor:
        query["updated_since"] = _since(cursor, inbox)
    newest = instant(cursor) if cursor else None
    tokens: set[str] = set()
    while True:
        answer = await get(http, account, "/api/inbox/threads", query)
        threads = answer.get("data")
        if not isinstance(threads, list):
            raise BadPayload("the list of threads has no `data`", code="no_data")
        items = await _items(http, account, inbox, threads)
        newest = max((at for at in (newest, *map(_updated_at, threads)) if at is not None), default=None)
        token = answer.get("next_page_token")
        if not token:
            yield Page(items, newest.isoformat() if newest else None)
            return
        yield Page(items)
        if not isinstance(token, str) or token in tokens:
            raise BadPayload("the list of threads leads back to a page of its own", code="bad_page_token")
        tokens.add(token)
        # The token's own limits win; where it has none, these still hold.
        query = query | {"page_token": token}


async def get(http: httpx.AsyncClient, account: Account, path: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a GET. Raises AccountBroken, Throttled, Unavailable, Rejected, BadPayload, InboxMisconfigured."""
    try:
        with calling():
            response = await http.get(address(account, path), params=query, headers=headers(account))
    except OutcomeUnknown as error:
        # A GET has no effect, so it can simply be done again.
        raise Unavailable(str(error), code=error.code) from None
    if response.status_code != 200:
        raise error_of(response, sent=False)
    value = read_json(response.content)
    if not isinstance(value, dict):
        raise BadPayload("the answer is not an object", code="not_an_object")
    return value


def address(account: Account, path: str) -> str:
    """Where the operator's instance answers. Raises InboxMisconfigured."""
    url = account.settings.get("url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        raise InboxMisconfigured(f"account {account.id} has no `url` of the operator's instance", code="no_url")
    return url.rstrip("/") + path


def headers(account: Account) -> dict[str, str]:
    """What every call has that is answered with JSON. Raises InboxMisconfigured."""
    return {**authorization(account), "Accept": "application/json"}


def authorization(account: Account) -> dict[str, str]:
    """The bare key, without a scheme before it. Raises InboxMisconfigured."""
    return {"Authorization": account.secret("api_key")}


def thread_path(thread_id: str) -> str:
    """The path of M10, under which M12 lies."""
    return f"/api/inbox/threads/{quote(thread_id, safe='')}"


def error_of(response: httpx.Response, *, sent: bool) -> DragomanError:
    """What a status means: the platform documents no error codes of its own."""
    if response.status_code == 403:
        return AccountBroken("the key lacks the messaging permission or this shop", code="http_403")
    error = error_of_status(response, sent=sent)
    if isinstance(error, Throttled) and error.retry_after is None:
        return Throttled(str(error), code=error.code, retry_after=THROTTLED_FOR)
    return error


def _since(cursor: str, inbox: Inbox) -> str:
    try:
        overlap = timedelta(minutes=float(inbox.settings.get("overlap_minutes", OVERLAP / timedelta(minutes=1))))
        return (instant(cursor) - overlap).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError):
        raise InboxMisconfigured(f"inbox {inbox.id}: `overlap_minutes` is no time", code="bad_overlap") from None


def _updated_at(thread: Any) -> datetime | None:
    """When the thread changed; never ahead of now, or nothing would be new until then."""
    try:
        return min(instant(thread["date_updated"]), utc_now())
    except BREAKS_THE_FORM:
        return None


async def _items(
    http: httpx.AsyncClient, account: Account, inbox: Inbox, threads: Sequence[Any]
) -> list[Item | BadItem]:
    """What the threads of one page hold. One that breaks the form holds nobody back."""
    buyers = await _buyers_of(http, account, inbox, threads)
    host = urlsplit(address(account, "")).netloc
    items: list[Item | BadItem] = []
    for raw in threads:
        try:
            buyer = buyers.get((inbox.address, _order(raw) or ""), Buyer())
            thread = Thread(host, inbox.address, _id(raw["id"]), raw, buyer)
            is_cut = _is_cut(raw)
        except BREAKS_THE_FORM as error:
            items.append(_broken(raw, inbox.address, error))
            continue
        messages = raw.get("messages") or []
        if is_cut:
            try:
                messages = await all_messages(http, account, inbox, thread.id)
            except (BadPayload, Rejected) as error:
                # Those that are in the list are shown all the same.
                items.append(_bad(raw, inbox.address, error.code, str(error)))
        for message in sorted(messages, key=_written_at):
            items.append(_item(thread, message))
            # A body of 50 000 characters may take milliseconds, and a thread has up to a thousand.
            await asyncio.sleep(0)
    return items


def _is_cut(thread: Mapping[str, Any]) -> bool:
    """Whether the list shows fewer messages than there are: it holds the last hundred at most. Raises TypeError."""
    messages = thread.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise TypeError("messages are no list")
    count = int((thread.get("metadata") or {}).get("total_count") or 0)
    return messages is None or count > len(messages)


async def all_messages(http: httpx.AsyncClient, account: Account, inbox: Inbox, thread_id: str) -> list[Any]:
    """The messages of one thread. Raises BadPayload, and what `get` raises."""
    messages = (await get(http, account, thread_path(thread_id), {"shop_id": inbox.address})).get("messages")
    if not isinstance(messages, list):
        raise BadPayload("the thread has no list of messages", code="no_messages")
    return messages


def _written_at(message: Any) -> float:
    try:
        return instant(message["date_created"]).timestamp()
    except BREAKS_THE_FORM:
        # What is no message at all breaks the form by itself, below.
        return 0.0


async def _buyers_of(
    http: httpx.AsyncClient, account: Account, inbox: Inbox, threads: Sequence[Any]
) -> Mapping[tuple[str, str], Buyer]:
    """The buyers by shop and order; one call for those orders of a page that were not asked for yet."""
    known = _buyers.setdefault(http, {})
    orders = {order for thread in threads if (order := _order(thread))}
    wanted = sorted(order for order in orders if (inbox.address, order) not in known)[:ORDERS_LIMIT]
    if not wanted:
        return known
    query = {"order_ids": ",".join(wanted), "max": ORDERS_LIMIT, "shop_id": inbox.address}
    try:
        given = (await get(http, account, "/api/orders", query)).get("orders")
    except DragomanError:
        # The key may lack that permission; without it the inbox's own locale holds.
        return known
    if len(known) > ORDERS_KEPT:
        known.clear()
    for order in given if isinstance(given, list) else ():
        if isinstance(order, dict) and isinstance(order.get("order_id"), str):
            known[inbox.address, clean(order["order_id"])] = _buyer(order.get("customer"))
    return known


def _buyer(customer: Any) -> Buyer:
    if not isinstance(customer, dict):
        return Buyer()
    locale, shipping = customer.get("locale"), customer.get("shipping_address")
    country = shipping.get("country_iso_code") if isinstance(shipping, dict) else None
    return Buyer(
        clean(locale).replace("_", "-") if isinstance(locale, str) and locale else None,
        COUNTRIES.get(country) if isinstance(country, str) else None,
    )


def _item(thread: Thread, message: Any) -> Item | BadItem:
    try:
        return Item(thread.shop, thread.id, _read(thread, message))
    except BadPayload as error:
        return _bad(message, thread.shop, error.code, str(error))
    except BREAKS_THE_FORM as error:
        return _broken(message, thread.shop, error)


def _broken(raw: Any, shop: str, error: Exception) -> BadItem:
    # Only the class: the text may quote the customer.
    return _bad(raw, shop, "broken_item", f"it breaks the documented form: {type(error).__name__}")


def _bad(raw: Any, shop: str, code: str, error: str) -> BadItem:
    return BadItem(write_json(raw), code, error, shop)


def _read(thread: Thread, message: Mapping[str, Any]) -> MessageReceived | EchoReceived | Unrecognised:
    author = message["from"]["type"]
    if author == "SHOP_USER":
        return _echo(thread, message)
    if author in WRITERS:
        return _message(thread, message)
    return Unrecognised(
        channel=CHANNEL,
        keys=[_key("message", thread, message)],
        what=f"message of {clean(str(author))[:50]}",
        occurred_at=instant(message["date_created"]),
        sender=_customer(thread),
        thread=thread.id,
        raw=write_json(message),
    )


def _message(thread: Thread, message: Mapping[str, Any]) -> MessageReceived:
    occurred_at = instant(message["date_created"])
    return MessageReceived(
        channel=CHANNEL,
        keys=[_key("message", thread, message)],
        sender=_customer(thread),
        author="customer" if message["from"]["type"] == "CUSTOMER_USER" else "operator",
        occurred_at=occurred_at,
        text=plain(message.get("body") or ""),
        attachments=_attachments(message),
        thread=thread.id,
        matter=_order(thread.raw),
        subject=clean(str((thread.raw.get("topic") or {}).get("value") or "")),
        locale=thread.buyer.locale,
        country=thread.buyer.country,
        reply_context=msgspec.json.encode(Context(thread.id, _recipients(thread, message), occurred_at)),
        raw=write_json(message),
    )


def _echo(thread: Thread, message: Mapping[str, Any]) -> EchoReceived:
    """The shop wrote: we, or somebody in the operator's back office; which of them, the platform does not tell."""
    return EchoReceived(
        channel=CHANNEL,
        keys=[_key("echo", thread, message)],
        external_id=_id(message["id"]),
        peer=thread.id,
        occurred_at=instant(message["date_created"]),
        text=plain(message.get("body") or ""),
        attachments=_attachments(message),
        raw=write_json(message),
    )


def _key(kind: str, thread: Thread, message: Mapping[str, Any]) -> str:
    # Ids are unique within an instance; several shops of it may share a thread.
    return key(kind, thread.host, thread.shop, _id(message["id"]))


def _attachments(message: Mapping[str, Any]) -> list[Attachment]:
    return [_attachment(raw) for raw in message.get("attachments") or ()]


def _attachment(raw: Mapping[str, Any]) -> Attachment:
    size = raw.get("size")
    size = size if isinstance(size, int) and not isinstance(size, bool) else None
    return Attachment(kind="file", name=clean(str(raw.get("name", ""))), size=size, external_id=_id(raw["id"]))


def _id(value: Any) -> str:
    """An id, which may look like a number. Raises ValueError."""
    if not isinstance(value, str | int) or isinstance(value, bool) or not str(value):
        raise ValueError("an id is missing")
    return clean(str(value))


def _customer(thread: Thread) -> Address:
    """The buyer, whoever wrote; without an id they are known by this thread alone."""
    participants = thread.raw.get("authorized_participants") or ()
    found: Mapping[str, Any] = next((p for p in participants if p.get("type") == "CUSTOMER"), {})
    name = clean(str(found.get("display_name") or ""))
    organization = (thread.raw.get("customer_organization") or {}).get("display_name")
    if organization:
        name = f"{name} ({clean(str(organization))})".strip()
    if found.get("id"):
        # The same buyer has another id on every instance.
        return Address(kind=CHANNEL, value=f"{thread.host}/{_id(found['id'])}", name=name, verified_by="channel")
    return Address(kind=CHANNEL, value=f"{thread.host}/thread/{thread.id}", name=name)


def _recipients(thread: Thread, message: Mapping[str, Any]) -> list[dict[str, str]]:
    """Whoever wrote, and whom else they wrote to: the operator's question must not be answered to the buyer alone."""
    writer = WRITERS[message["from"]["type"]]
    addressed = {writer, *(to["type"] for to in message.get("to") or ())} & set(WRITERS.values())
    found: dict[str, dict[str, str]] = {}
    for participant in thread.raw.get("authorized_participants") or ():
        kind = participant.get("type")
        if kind in addressed and kind not in found:
            found[kind] = {"type": kind} | ({"id": _id(participant["id"])} if participant.get("id") else {})
    return list((found or {writer: {"type": writer}}).values())


def _order(thread: Any) -> str | None:
    entities = thread.get("entities") if isinstance(thread, dict) else None
    for entity in entities if isinstance(entities, list) else ():
        if isinstance(entity, dict) and entity.get("type") == "MMP_ORDER" and entity.get("id"):
            return clean(str(entity["id"]))
    return None


def plain(body: Any) -> str:
    """A body, which may be HTML, as text that keeps its lines; what only looks like a tag stays. Raises BadPayload."""
    if not isinstance(body, str):
        raise BadPayload("a body is not a text", code="not_text")
    words = html.unescape(TAG.sub(_without_tag, COMMENT.sub("", clean(body))))
    lines = LINE_STARTS.sub("\n", words.replace("\r\n", "\n").replace("\r", "\n")).split("\n")
    return BLANK_LINES.sub("\n\n", "\n".join(line.rstrip() for line in lines)).strip()


def _without_tag(tag: re.Match[str]) -> str:
    name = tag["name"].lower()
    if name not in ELEMENTS:
        return tag[0]
    if name == "br" or (tag["end"] and name in BLOCKS):
        return "\n"
    return LINE_START if name in BLOCKS else " " if name in ("td", "th") else ""
