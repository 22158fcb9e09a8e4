"""A customer's HTML that tries what mails try: nothing of it runs, loads, or leaves its frame."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from tests.console.desk import Desk, conversation_of, desk, writes
from tests.e2e.running import Running, until

HOSTILE = """<!doctype html><html><head><title>Reklamation</title>
<script src="{elsewhere}/script.js"></script><link rel="stylesheet" href="{elsewhere}/style.css">
<meta http-equiv="refresh" content="0; url={elsewhere}/refresh"><base href="{elsewhere}/base/"></head>
<body onload="parent.owned = 1" background="{elsewhere}/background.png">
<h1>Der Tisch ist kaputt</h1>
<script>parent.owned = 2; top.location = '{elsewhere}/top'</script>
<p style="background: url({elsewhere}/style.png)" onclick="parent.owned = 3">Ich möchte mein <b>Geld</b> zurück.</p>
<img src="{elsewhere}/pixel.gif" alt="Logo"><img src="//{host}/pixel2.gif"><img srcset="{elsewhere}/set.png 1x">
<img src="x" onerror="parent.owned = 4"><svg onload="parent.owned = 5"><image href="{elsewhere}/svg.png"/></svg>
<iframe src="{elsewhere}/frame"></iframe><object data="{elsewhere}/object"></object><embed src="{elsewhere}/embed">
<video src="{elsewhere}/video" poster="{elsewhere}/poster" autoplay></video>
<audio src="{elsewhere}/audio" autoplay></audio>
<form action="{elsewhere}/form"><input name="password"><button>Sign in again</button></form>
<a href="javascript:parent.owned = 6">here</a> <a href="https://shop.example/return">our return</a>
<math><mtext><table><mglyph><style><img src onerror="parent.owned = 7"></style></mglyph></table></mtext></math>
<noscript><p title="</noscript><img src=x onerror=parent.owned=8>"></noscript>
</body></html>"""


@pytest.fixture
async def elsewhere() -> AsyncIterator["Elsewhere"]:
    found = Elsewhere()
    server = await asyncio.start_server(found.answer, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


class Elsewhere:
    """A server of whoever wrote the mail; it only listens who comes."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[bytes] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readline())
        writer.close()


async def test_a_mail_that_tries_scripts_and_pictures_from_elsewhere_can_do_nothing(
    it: Running, opened: Browser, elsewhere: Elsewhere
) -> None:
    sam = await _reading(it, opened, elsewhere)
    frame = sam.page.frame_locator("iframe.mail")
    await expect(frame.get_by_role("heading", name="Der Tisch ist kaputt")).to_be_visible()
    await expect(sam.page.get_by_text("pictures on other servers were not loaded")).to_be_visible()
    await frame.get_by_text("Geld").click()
    await expect(frame.get_by_role("link", name="our return")).to_have_attribute("rel", "noopener noreferrer nofollow")
    assert await frame.get_by_role("link", name="here").count() == 0
    assert await frame.locator("script, style, form, input, button, svg, video, object, iframe").count() == 0
    await _nothing_happened(sam, elsewhere)


async def test_the_frame_holds_also_without_the_sieve(it: Running, opened: Browser, elsewhere: Elsewhere) -> None:
    """The walls behind the sieve, tried by taking the sieve out."""
    sam = await _reading(it, opened, elsewhere, has_sieve=False)
    frame = sam.page.frame_locator("iframe.mail")
    await expect(frame.get_by_role("heading", name="Der Tisch ist kaputt")).to_be_visible()
    assert await frame.locator("script").count() > 0
    await frame.get_by_text("Geld").click()
    await frame.get_by_role("link", name="here").click()
    await _nothing_happened(sam, elsewhere)


async def _reading(it: Running, opened: Browser, elsewhere: Elsewhere, *, has_sieve: bool = True) -> Desk:
    """A supervisor who has the hostile mail before them, formatted."""
    host = elsewhere.url.removeprefix("http://")
    await _with_file(it, HOSTILE.format(elsewhere=elsewhere.url, host=host).encode())
    sam = await desk(opened, it.url)
    if not has_sieve:
        await sam.page.route("**/console/mail.js", _without_sieve)
    await sam.sign_in("sam")
    found = await conversation_of(it, "messenger")
    await sam.page.goto(f"{it.url}/console/#/c/{found['id']}")
    await sam.button("Show it formatted").click()
    return sam


async def _without_sieve(route: Route) -> None:
    answer = await route.fetch()
    source, sieve = await answer.text(), "clean(page.body)"
    assert sieve in source
    await route.fulfill(response=answer, body=source.replace(sieve, "0"))


async def _nothing_happened(sam: Desk, elsewhere: Elsewhere) -> None:
    assert await sam.page.evaluate("typeof owned") == "undefined"
    assert await sam.page.title() == "Dragoman"
    assert sam.page.url.startswith(f"{sam.url}/console/#/c/")
    assert elsewhere.asked == []
    sandbox = str(await sam.page.locator("iframe.mail").get_attribute("sandbox"))
    assert "allow-scripts" not in sandbox
    assert "allow-same-origin" not in sandbox


async def test_words_are_words_whatever_is_in_them(it: Running, opened: Browser) -> None:
    text = "<img src=x onerror=alert(1)> <script>alert(2)</script> مرحبا &amp; \u202eevil"
    await writes(it, text)
    found = await conversation_of(it, "messenger")
    sam = await desk(opened, it.url)
    await sam.sign_in("sam", f"#/c/{found['id']}")
    await expect(sam.messages.locator(".words")).to_have_text(text)
    assert await sam.messages.locator(".words img, .words script").count() == 0
    assert sam.complaints == []


async def _with_file(it: Running, content: bytes) -> None:
    """A conversation in which this file was sent."""
    await it.there("anna")
    await writes(it, "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.")

    async def offered() -> Any:
        items = (await it.get("/v1/conversations?agent=me", "anna")).json()["items"]
        return items[0] if items else None

    mine: Any = await until(offered)
    path = f"/v1/conversations/{mine['id']}"
    assert (await it.post(f"{path}/accept", "anna")).status_code == 200
    headers = {"Authorization": "Bearer dev-anna", "Idempotency-Key": "file"}
    address = f"{it.url}/v1/attachments?brand_id={mine['brand_id']}&name=mail.html"
    assert (await it.http.post(address, content=content, headers=headers)).status_code == 201
    named = {"sha256": hashlib.sha256(content).hexdigest(), "name": "mail.html"}
    assert (await it.post(f"{path}/reply", "anna", {"attachments": [named]})).status_code == 202
