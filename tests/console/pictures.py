"""`python -m tests.console.pictures`: the pictures of docs/console.md anew, from the product itself."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.async_api import Browser, expect

from tests import servers
from tests.console.browser import HOW_TO_GET, browser, chromium
from tests.console.desk import PHONE, Desk, desk, writes
from tests.e2e.running import Running, running, until

IMAGES = Path(__file__).parents[2] / "docs" / "images"
WAITING = [
    ("200", "p1", "Gdzie jest moja paczka? Czekam już dwa tygodnie."),
    ("200", "p2", "¿Dónde está mi pedido? Lo espero desde hace dos semanas."),
    ("300", "p3", "Var är min beställning? Jag har väntat i två veckor."),
    ("300", "p4", "Mijn pakket is beschadigd aangekomen, wat moet ik nu doen?"),
]
ORDER, PARCEL = "FR-20417-A", "CP 4421 7781 FR"


async def draw(it: Running, opened: Browser) -> None:
    """An agent's morning: one customer with a history, an offer, and what waits on the floor."""
    await _history(it)
    claire = await desk(opened, it.url, {"width": 1280, "height": 760})
    await claire.sign_in("claire")
    await claire.come_to_work()
    await _asks(it, "Camille Durand", "Bonjour, et pour l’échange, combien de temps faut-il compter ?")
    await writes(it, "Bonjour, votre lampe est-elle disponible en blanc ? Merci.", psid="p9")
    cards = claire.page.locator(".card", has_text="Camille Durand")
    await expect(cards).to_have_count(2)
    await cards.first.locator("a").click()
    await claire.button("Resolve").wait_for()
    await claire.page.get_by_role("button", name="Accept", exact=False).first.wait_for()
    await claire.text.fill("Bonjour Madame Durand, comptez cinq jours ouvrés à partir du dépôt du colis.")
    await _quiet(claire)
    await claire.page.screenshot(path=IMAGES / "console-conversation.png")
    await claire.page.emulate_media(color_scheme="dark")
    await claire.page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    await claire.page.screenshot(path=IMAGES / "console-phone.png")
    for page, psid, text in WAITING:
        await writes(it, text, psid=psid, page=page)
    await it.there("bernd", "giulia", "emily", "sanne")
    sam = await desk(opened, it.url, {"width": 1280, "height": 760})
    await sam.sign_in("sam", "#/floor")
    await sam.page.get_by_role("cell", name="nobody is there").first.wait_for()
    await _quiet(sam)
    await sam.page.screenshot(path=IMAGES / "console-floor.png")


async def _history(it: Running) -> None:
    """What Camille wrote before, and what became of it."""
    await it.there("claire")
    await _asks(it, "Camille Durand", "Bonjour, la lampe de bureau est arrivée avec l’abat-jour fendu.")

    async def held() -> Any:
        items = (await it.get("/v1/conversations?agent=me", "claire")).json()["items"]
        return items[0] if items else None

    item: Any = await until(held, 30)
    path = f"/v1/conversations/{item['id']}"
    await it.post(f"{path}/reply", "claire", {"text": f"Bonjour Madame Durand, voici l’étiquette de retour {PARCEL}."})
    await it.post(f"{path}/notes", "claire", {"text": "Second broken lampshade this week: asked the warehouse."})

    async def taken() -> bool:
        messages = (await it.get(path, "claire")).json()["messages"]
        return any(message["state"] == "accepted" for message in messages)

    await until(taken, 30)
    await it.http.put(f"{it.url}/v1/presence", json={"status": "away"}, headers={"Authorization": "Bearer dev-claire"})


async def _asks(it: Running, customer: str, text: str) -> None:
    await it.control("mirakl/messages", {"shop": "2001", "customer": customer, "order": ORDER, "text": text})


async def _quiet(at: Desk) -> None:
    await at.page.evaluate("document.getElementById('notices').replaceChildren()")
    await expect(at.page.locator(".notice")).to_have_count(0)


async def main(executable: str) -> None:
    IMAGES.mkdir(exist_ok=True)
    with servers.postgres() as postgres, TemporaryDirectory() as folder:
        await postgres.prepare()
        async with (
            postgres.database() as url,
            running(url, Path(folder)) as it,
            browser(executable) as opened,
        ):
            await draw(it, opened)


if __name__ == "__main__":
    found = chromium()
    if found is None:
        sys.exit(HOW_TO_GET)
    asyncio.run(main(found))
