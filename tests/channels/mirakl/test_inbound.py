"""Polling Mirakl beyond the payload tables: cursors, overlap, what is asked seldom, bodies that mean harm."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from shared.accounts import Account, Inbox
from shared.channels.contract import Item, Page
from shared.channels.http import instant
from shared.channels.mirakl import channel
from shared.channels.mirakl.inbound import plain
from shared.clock import utc_now
from shared.errors import AccountBroken, DragomanError, InboxMisconfigured, Throttled, Unavailable
from shared.events import MessageReceived
from tests.channels.mirakl.marketplace import DROPPED, listening
from tests.channels.mirakl.sample import ACCOUNT, INBOX, THREAD
from tests.channels.tables import Vendor
from tests.watched import watched

BUYER = {"type": "CUSTOMER", "id": "8812", "display_name": "Marie L."}
ORDERS = {"status": 200, "body": {"orders": [{"order_id": "C-1", "customer": {"locale": "nl_BE"}}], "total_count": 1}}


def a_thread(updated: str = "2026-08-03T08:30:00Z", order: str = "", **changes: Any) -> dict[str, Any]:
    message = {
        "id": "m-1",
        "body": "Bonjour",
        "date_created": updated,
        "from": {"type": "CUSTOMER_USER", "display_name": "Marie L."},
        "to": [],
    }
    thread = {
        "id": THREAD,
        "topic": {"type": "FREE_TEXT", "value": "Colis"},
        "entities": [{"type": "MMP_ORDER", "id": order, "label": order}] if order else [],
        "authorized_participants": [BUYER],
        "date_updated": updated,
        "metadata": {"total_count": 1},
        "messages": [message],
    }
    return thread | changes


def a_page(*threads: Any, token: str | None = None) -> dict[str, Any]:
    return {"status": 200, "body": {"data": list(threads), "next_page_token": token}}


async def polled(
    *answers: dict[str, Any], cursor: str = "", inbox: Inbox = INBOX, account: Account = ACCOUNT
) -> tuple[list[Page], list[httpx.URL]]:
    vendor = Vendor(answers)
    async with vendor.client() as http:
        pages = [page async for page in channel.poll(http, account, inbox, cursor)]
    return pages, [httpx.URL(request["url"]) for request in vendor.requests]


async def test_the_first_poll_has_no_bound() -> None:
    _, (url,) = await polled(a_page())
    assert dict(url.params) == {"shop_id": "2001", "with_messages": "true", "limit": "50"}


@pytest.mark.parametrize(
    ("minutes", "since"), [(None, "08:50:00"), (0, "09:00:00"), (90, "07:30:00"), ("2.5", "08:57:30")]
)
async def test_the_overlap_is_the_inboxs(minutes: Any, since: str) -> None:
    inbox = replace(INBOX, settings={} if minutes is None else {"overlap_minutes": minutes})
    _, (url,) = await polled(a_page(), cursor="2026-08-03T09:00:00+00:00", inbox=inbox)
    assert url.params["updated_since"] == f"2026-08-03T{since}Z"


@pytest.mark.parametrize("minutes", ["soon", None, 1e300, [10]])
async def test_an_overlap_that_is_no_time_is_a_misconfiguration(minutes: Any) -> None:
    with pytest.raises(InboxMisconfigured):
        await polled(
            a_page(), cursor="2026-08-03T09:00:00+00:00", inbox=replace(INBOX, settings={"overlap_minutes": minutes})
        )


@pytest.mark.parametrize("url", [None, "", "market-prod.mirakl.net", 7])
async def test_an_account_without_its_instance_is_misconfigured(url: Any) -> None:
    with pytest.raises(InboxMisconfigured):
        await polled(a_page(), account=replace(ACCOUNT, settings={"url": url}))


async def test_an_address_may_end_in_a_slash() -> None:
    _, (url,) = await polled(a_page(), account=replace(ACCOUNT, settings={"url": "https://market.example/"}))
    assert url.path == "/api/inbox/threads"


async def test_the_cursor_never_goes_back() -> None:
    cursor = "2026-08-03T09:00:00+00:00"
    pages, _ = await polled(a_page(a_thread("2026-08-03T08:55:00Z")), cursor=cursor)
    assert [page.cursor for page in pages] == [cursor]


async def test_a_date_ahead_of_time_does_not_make_everything_else_old() -> None:
    before = utc_now()
    (page,), _ = await polled(a_page(a_thread("2999-01-01T00:00:00Z")))
    assert page.cursor is not None
    assert before <= instant(page.cursor) <= utc_now()


async def test_only_the_last_page_carries_the_highest_date() -> None:
    newest, older = a_thread("2026-08-03T08:30:00Z"), a_thread("2026-08-03T08:00:00Z")
    pages, urls = await polled(a_page(newest, token="t=2&x/y+z"), a_page(older))
    assert [page.cursor for page in pages] == [None, "2026-08-03T08:30:00+00:00"]
    assert urls[1].params["page_token"] == "t=2&x/y+z"
    # Where the token holds no bounds of its own, the first request's still hold.
    assert dict(urls[1].params) | dict(urls[0].params) == dict(urls[1].params)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        ({"status": 401, "body": ""}, AccountBroken),
        ({"status": 403, "body": ""}, AccountBroken),
        ({"status": 429, "body": ""}, Throttled),
        ({"status": 500, "body": ""}, Unavailable),
        (DROPPED, Unavailable),
    ],
)
async def test_trouble_on_the_way_to_a_long_thread_stops_before_the_cursor(
    answer: dict[str, Any], error: type[DragomanError]
) -> None:
    long = a_thread(metadata={"total_count": 101})
    async with listening(a_page(long), answer) as marketplace, httpx.AsyncClient() as http:
        with pytest.raises(error):
            assert [page async for page in channel.poll(http, marketplace.account, INBOX, "")] == []


async def test_a_wait_that_the_platform_does_not_name_is_half_a_minute() -> None:
    with pytest.raises(Throttled) as caught:
        await polled({"status": 429, "body": ""})
    assert caught.value.retry_after == timedelta(seconds=30)


async def test_an_order_is_asked_for_once_by_an_account() -> None:
    vendor = Vendor([a_page(a_thread(order="C-1")), ORDERS, a_page(a_thread(order="C-1"))])
    async with vendor.client() as http:
        for _ in range(2):
            (page,) = [page async for page in channel.poll(http, ACCOUNT, INBOX, "")]
            (item,) = page.items
            assert isinstance(item, Item)
            assert isinstance(item.data, MessageReceived)
            assert item.data.locale == "nl-BE"
    assert len(vendor.requests) == 3


async def test_the_orders_of_a_page_are_asked_for_in_one_call_that_shows_them_all() -> None:
    # The platform shows ten where nothing is said.
    threads = [a_thread(order=f"C-{n}", id=f"t-{n}") for n in range(50)]
    _, urls = await polled(a_page(*threads), ORDERS)
    assert len(urls) == 2
    assert len(urls[1].params["order_ids"].split(",")) == 50
    assert urls[1].params["max"] == "100"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
async def test_a_poll_does_without_the_orders(status: int) -> None:
    (page,), _ = await polled(a_page(a_thread(order="C-1")), {"status": status, "body": ""})
    assert [type(item) for item in page.items] == [Item]
    assert page.cursor == datetime(2026, 8, 3, 8, 30, tzinfo=UTC).isoformat()


# bodies


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("Bonjour", "Bonjour"),
        ("a<br>b<BR/>c<br />d", "a\nb\nc\nd"),
        ("<p>a</p><p>b</p>", "a\nb"),
        ("a<div>b</div>c", "a\nb\nc"),
        ("<table><tr><td>Prix</td><td>12 &euro;</td></tr></table>", "Prix  12 €"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ('<a href="https://x.example/?a=1&amp;b=2">lien</a>', "lien"),
        ("Tom &amp; Jerry &lt;3 &#233;t&eacute;", "Tom & Jerry <3 été"),
        ("&lt;b&gt;gras&lt;/b&gt;", "<b>gras</b>"),
        ("1 < 2 > 0, x<y", "1 < 2 > 0, x<y"),
        ("<marie@example.com>", "<marie@example.com>"),
        ("<grand> ou <petit>", "<grand> ou <petit>"),
        ("a<!-- b -->c", "ac"),
        ("<![if x]>a", "<![if x]>a"),
        ("a\x00b\ud83d", "ab?"),
        ("", ""),
    ],
)
def test_a_body_is_read_as_its_words_and_lines(body: str, text: str) -> None:
    assert plain(body) == text


@pytest.mark.parametrize(
    "seed", ["<", "<a", "<a x=", "<a x='", "</", "<!--", "<![", "<br", "<p>", "&", "&lt", "\r", "\n ", " a=", "<a a"]
)
def test_no_body_takes_long_to_read(seed: str) -> None:
    body = (seed * 50_000)[:50_000]
    started = time.perf_counter()
    plain(body)
    plain(f"<a {body}")
    assert time.perf_counter() - started < 0.5


async def test_a_thread_of_long_bodies_does_not_hold_the_loop() -> None:
    messages = a_thread()["messages"] * 100
    thread = a_thread(messages=[message | {"id": str(n), "body": "<p>" * 16_000} for n, message in enumerate(messages)])
    content = json.dumps(a_page(thread)["body"]).encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=content))
    async with httpx.AsyncClient(transport=transport) as http, watched() as held:
        (page,) = [page async for page in channel.poll(http, ACCOUNT, INBOX, "")]
    assert len(page.items) == 100
    assert held.busiest < 0.2
