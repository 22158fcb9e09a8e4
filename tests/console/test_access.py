"""Accessible to everybody: no serious finding of axe on any screen, by day and by night."""

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, expect

from tests.console.desk import PHONE, WIDE, desk, writes
from tests.e2e.running import Running


async def findings(page: Page, where: str) -> list[str]:
    """Serious and critical ones, each with the elements that it is about."""
    # What fades in has no colour of its own yet.
    await page.evaluate("Promise.allSettled(document.getAnimations().map((each) => each.finished))")
    found = await Axe().run(page)
    return [
        f"{where}: {violation['id']} {[node['target'] for node in violation['nodes']]}"
        for violation in found.response["violations"]
        if violation["impact"] in ("serious", "critical")
    ]


async def test_no_screen_has_a_serious_finding(it: Running, opened: Browser) -> None:
    found: list[str] = []
    german, french = "Wo bleibt meine Bestellung denn?", "Où est ma commande ? Je l'attends depuis deux semaines."
    for scheme, size, agent, text in (("light", WIDE, "anna", german), ("dark", PHONE, "claire", french)):
        one = await desk(opened, it.url, size, color_scheme=scheme)
        await one.page.goto(f"{it.url}/console/")
        await one.button("Sign in").wait_for()
        found += await findings(one.page, f"{scheme} sign in")
        await one.sign_in(agent)
        await one.come_to_work()
        await writes(it, text, psid=agent)
        await one.page.get_by_role("button", name="Decline", exact=False).first.wait_for()
        found += await findings(one.page, f"{scheme} queue")
        await one.accept()
        await one.text.fill("Ihr Paket ist unterwegs.")
        await one.button("Send").click()
        await expect(one.messages.get_by_text("Read", exact=True)).to_be_visible()
        found += await findings(one.page, f"{scheme} conversation")
        await one.button("Transfer").click()
        await one.page.get_by_role("dialog").wait_for()
        found += await findings(one.page, f"{scheme} dialog")
        await one.button("Cancel").click()
        await one.button("Note").click()
        found += await findings(one.page, f"{scheme} note")
        await one.page.goto(f"{it.url}/console/#/floor")
        await one.page.get_by_role("heading", name="Queues by language").wait_for()
        found += await findings(one.page, f"{scheme} floor")
    assert found == []
