"""What agents do at the console, from the first look to the customer's receipt, in a real browser."""

import asyncio
import os
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, urlsplit

from playwright.async_api import Browser, Route, expect

from tests.console.desk import PHONE, conversation_of, desk, writes
from tests.console.line import line
from tests.e2e.running import Running, until

QUESTION, ANSWER = "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.", "Ihr Paket ist unterwegs."
# How long the line is down; the real length is 20 s, which takes a patient run.
OFFLINE = float(os.environ.get("DRAGOMAN_TEST_OFFLINE", "2"))

expect.set_options(timeout=30_000)


async def test_an_agent_signs_in_accepts_answers_and_sees_it_read(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    await anna.sign_in("anna")
    await expect(anna.page.get_by_text("You are away, so nothing is given to you.")).to_be_visible()
    await anna.button("I am here").click()
    await expect(anna.page.get_by_text("You hold nothing, and nothing is held out to you.")).to_be_visible()
    await writes(it, QUESTION)
    await expect(anna.page.get_by_text("s to accept").first).to_be_visible()
    await anna.accept()
    await expect(anna.page.get_by_text("answers in German as a native speaker").first).to_be_visible()
    await expect(anna.page.get_by_text("Open for").first).to_be_visible()
    await anna.text.fill(ANSWER)
    await expect(anna.page.get_by_text(f"{len(ANSWER)} of 2000")).to_be_visible()
    await anna.button("Send").click()
    await expect(anna.messages.get_by_text("Read", exact=True)).to_be_visible()
    await expect(anna.text).to_have_value("")
    assert [sent["text"] for sent in await it.control("messenger/sent")] == [ANSWER]  # type: ignore[attr-defined]
    assert all(url.startswith(it.url) for url in anna.asked)
    assert anna.complaints == []


async def test_twenty_seconds_offline_lose_no_word_and_nothing_is_sent_twice(it: Running, opened: Browser) -> None:
    async with line(it.url) as wire:
        anna = await desk(opened, wire.url)
        await anna.sign_in("anna")
        await anna.come_to_work()
        await writes(it, QUESTION)
        await anna.accept()
        await anna.text.fill(ANSWER)
        await expect(anna.button("Send")).to_be_enabled()
        wire.cut()
        down = asyncio.create_task(asyncio.sleep(OFFLINE))
        await expect(anna.page.get_by_text("Offline. What you see was true at")).to_be_visible()
        await writes(it, "Hallo? Ist da jemand?")
        await anna.button("Send").click()
        await expect(anna.page.locator(".notice.wrong")).to_contain_text("No connection. Nothing is lost")
        await down
        await expect(anna.text).to_have_value(ANSWER)
        wire.mend()
        await expect(anna.page.locator(".banner")).to_be_hidden()
        await expect(anna.messages.get_by_text("Hallo? Ist da jemand?")).to_be_visible()
        await expect(anna.text).to_have_value(ANSWER)
        await anna.button("Send").click()
        await expect(anna.messages.get_by_text(ANSWER)).to_be_visible()
        await until(lambda: _sent(it))
        assert await _sent(it) == [ANSWER]


async def test_an_answer_whose_confirmation_was_lost_leaves_once(it: Running, opened: Browser) -> None:
    async with line(it.url) as wire:
        anna = await desk(opened, wire.url)
        await anna.sign_in("anna")
        await anna.come_to_work()
        await writes(it, QUESTION)
        await anna.accept()
        await anna.text.fill(ANSWER)
        wire.lose_answer_to(b"/reply HTTP/1.1")
        await anna.button("Send").click()
        await expect(anna.page.locator(".notice.wrong")).to_contain_text("it will not be done twice")
        await until(lambda: _sent(it))
        wire.mend()
        await expect(anna.page.locator(".banner")).to_be_hidden()
        await expect(anna.text).to_have_value(ANSWER)
        async with anna.page.expect_response("**/reply") as told:
            await anna.button("Send").click()
        answer = await told.value
        assert (answer.status, answer.headers.get("idempotency-replayed")) == (202, "true")
        await expect(anna.text).to_have_value("")
        assert await _sent(it) == [ANSWER]


async def test_a_change_meanwhile_is_shown_first_and_the_draft_stays(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    await anna.sign_in("anna")
    await anna.come_to_work()
    await writes(it, QUESTION)
    await anna.accept()
    await anna.text.fill(ANSWER)
    await expect(anna.button("Send")).to_be_enabled()
    # Nothing tells this console any more, until it sends what rests on what it saw.
    blind = ["to every change"]

    async def look(route: Route) -> None:
        await (route.abort() if blind else route.continue_())

    async def send(route: Route) -> None:
        blind.clear()
        await route.continue_()

    await anna.page.route("**/v1/stream", lambda route: route.abort())
    await anna.page.route("**/v1/conversations/*", look)
    await anna.page.route("**/v1/conversations/*/reply", send)
    found = await conversation_of(it, "messenger")
    noted = await it.post(f"/v1/conversations/{found['id']}/notes", "sam", {"text": "The parcel came back to us"})
    assert noted.status_code == 201
    await anna.page.evaluate("dispatchEvent(new Event('offline'))")
    await expect(anna.page.locator(".banner")).to_be_visible()
    await anna.button("Send").click()
    await expect(anna.page.locator(".notice.wrong")).to_contain_text("It has changed since you")
    await expect(anna.messages.get_by_text("The parcel came back to us")).to_be_visible()
    await expect(anna.messages.get_by_text("Sam Duarte")).to_be_visible()
    await expect(anna.text).to_have_value(ANSWER)
    assert await _sent(it) == []
    await anna.button("Send").click()
    await until(lambda: _sent(it))


async def test_a_closed_window_explains_itself_and_opens_when_the_customer_writes(it: Running, opened: Browser) -> None:
    ewa = await desk(opened, it.url)
    await ewa.sign_in("ewa")
    await ewa.come_to_work()
    long_ago = (datetime.now(UTC) - timedelta(hours=30)).isoformat()
    await writes(it, "Gdzie jest moja paczka? Czekam już dwa tygodnie.", page="200", at=long_ago)
    await ewa.accept()
    await expect(ewa.page.locator(".permission")).to_contain_text("wait until they write")
    await ewa.text.fill("Jutro.")
    await expect(ewa.button("Send")).to_be_disabled()
    await ewa.button("Note").click()
    await ewa.page.get_by_role("textbox", name="Note for colleagues").fill("Trzeba zadzwonić")
    await ewa.button("Add note").click()
    await expect(ewa.messages.get_by_text("Trzeba zadzwonić")).to_be_visible()
    await writes(it, "Halo, czy ktoś tam jest?", page="200")
    await expect(ewa.page.locator(".permission")).to_contain_text("Open for")
    await expect(ewa.text).to_have_value("Jutro.")
    await expect(ewa.button("Send")).to_be_enabled()


async def test_everything_can_be_done_by_the_keyboard_alone(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    keys = anna.page.keyboard
    await anna.page.goto(it.url)
    await expect(anna.page.get_by_label("Agent’s handle")).to_be_focused()
    await keys.type("anna")
    await keys.press("Enter")
    await anna.page.get_by_role("button", name="Sign out").wait_for()
    await keys.press("p")
    await expect(anna.page.get_by_role("switch", name="Present", checked=True)).to_be_visible()
    await writes(it, QUESTION)
    await expect(anna.page.locator("#urgent")).to_contain_text("Press A to accept")
    await keys.press("a")
    await expect(anna.button("Transfer")).to_be_visible()
    await keys.press("r")
    await expect(anna.text).to_be_focused()
    await keys.type(ANSWER)
    await expect(anna.button("Send")).to_be_enabled()
    await keys.press("Control+Enter")
    await expect(anna.messages.get_by_text(ANSWER)).to_be_visible()
    await keys.press("Escape")
    await keys.press("?")
    await expect(anna.page.get_by_role("dialog", name="Shortcuts")).to_be_visible()
    await keys.press("Escape")
    await keys.press("e")
    await expect(anna.page.get_by_role("dialog", name="Resolve")).to_be_visible()
    await keys.press("Enter")
    await expect(anna.page.get_by_text("You hold nothing")).to_be_visible()
    await anna.page.reload()
    await anna.page.get_by_role("button", name="Sign out").wait_for()
    await keys.press("Tab")
    await expect(anna.page.get_by_role("link", name="To the content")).to_be_focused()
    await keys.press("Enter")
    await expect(anna.page.locator("main")).to_be_focused()
    assert anna.complaints == []


async def test_a_phone_shows_one_place_at_a_time_and_nothing_is_cut_off(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url, PHONE, has_touch=True)
    await anna.sign_in("anna")
    await anna.come_to_work()
    await writes(it, QUESTION)
    await anna.page.get_by_text("s to accept").first.wait_for()
    widths = [await _overflow(anna.page)]
    await anna.accept()
    await expect(anna.page.get_by_role("navigation", name="Conversations")).to_be_hidden()
    widths.append(await _overflow(anna.page))
    await anna.page.get_by_role("link", name="Back to my queue").click()
    await expect(anna.page.get_by_role("navigation", name="Conversations")).to_be_visible()
    await anna.page.get_by_role("link", name="Floor").click()
    await anna.page.get_by_role("heading", name="Queues by language").wait_for()
    widths.append(await _overflow(anna.page))
    assert widths == [0, 0, 0]


async def test_a_supervisor_sees_who_waits_where_nobody_is_and_hands_it_on(it: Running, opened: Browser) -> None:
    sam = await desk(opened, it.url)
    await sam.sign_in("sam", "#/floor")
    await expect(sam.page.get_by_text("Nobody waits.")).to_be_visible()
    await writes(it, "Gdzie jest moja paczka? Czekam już dwa tygodnie.", page="200")
    await expect(sam.page.get_by_role("row", name="Polish").first).to_contain_text("nobody is there")
    await sam.page.get_by_role("region", name="Most urgent").get_by_role("link").click()
    await sam.button("Transfer").wait_for()
    await it.there("james")
    await sam.button("Transfer").click()
    await sam.page.get_by_role("combobox", name="To").select_option(
        label="James Whitfield (English, Polish), 4 of 4 free"
    )
    await sam.page.get_by_role("dialog").get_by_role("button", name="Transfer").click()
    await expect(sam.page.locator(".notice", has_text="Transferred.")).to_be_visible()
    found = await conversation_of(it, "messenger")
    assert (found["agent_name"], found["state"]) == ("James Whitfield", "assigned")
    assert sam.complaints == []


async def test_an_agent_signs_in_at_the_issuer_and_comes_back_to_where_they_were(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    await anna.page.goto(f"{it.url}/console/#/floor")
    await anna.page.get_by_role("button", name="Sign in at").click()
    await anna.page.wait_for_url("**/sandbox/oidc/authorize**")
    asked = dict(parse_qsl(urlsplit(anna.page.url).query))
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    await anna.page.get_by_role("button", name="Anna").click()
    await expect(anna.page.get_by_role("heading", name="Floor", exact=True)).to_be_visible()
    assert anna.page.url == f"{it.url}/console/#/floor"
    await expect(anna.page.get_by_text("Anna Krüger")).to_be_visible()
    token = (await anna.page.evaluate("JSON.parse(sessionStorage.getItem('dragoman.session'))"))["token"]
    assert token.count(".") == 2
    assert await anna.page.evaluate("localStorage.length") == 0
    assert anna.complaints == []


async def test_an_answer_of_an_issuer_that_nobody_asked_for_signs_nobody_in(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    await anna.page.goto(f"{it.url}/console/?code=stolen&state=made-up")
    await expect(anna.page.get_by_role("alert").first).to_contain_text("belongs to no question of ours")
    assert "stolen" not in anna.page.url
    assert [url for url in anna.asked if "/token" in url] == []


async def test_a_token_that_does_not_hold_any_more_leads_back_to_the_first_screen(it: Running, opened: Browser) -> None:
    anna = await desk(opened, it.url)
    await anna.page.goto(f"{it.url}/console/")
    await anna.page.get_by_label("Agent’s handle").fill("nobody")
    await anna.button("Sign in").click()
    await expect(anna.page.get_by_role("alert").first).to_contain_text("not signed in any more")
    assert await anna.page.evaluate("sessionStorage.getItem('dragoman.session')") is None
    assert await anna.page.evaluate("localStorage.length") == 0


async def _sent(it: Running) -> list[str]:
    return [sent["text"] for sent in await it.control("messenger/sent")]  # type: ignore[attr-defined]


async def _overflow(page: object) -> int:
    found: int = await page.evaluate("document.documentElement.scrollWidth - innerWidth")  # type: ignore[attr-defined]
    return max(found, 0)
