"""An agent at the console: a page of a browser, and what it complained about."""

from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page

from tests.e2e.running import Running, until

WIDE = {"width": 1360, "height": 820}
PHONE = {"width": 390, "height": 844}


class Desk:
    """`complaints` are errors of the page's scripts and of its console, and requests to anywhere else."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.complaints: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", self._said)
        page.on("request", lambda request: self.asked.append(request.url))

    def _said(self, said: ConsoleMessage) -> None:
        # That a request was refused is told to the agent, and may be as it should.
        if said.type == "error" and not said.text.startswith("Failed to load resource: the server responded"):
            self.complaints.append(said.text)

    async def sign_in(self, handle: str, place: str = "#/") -> None:
        await self.page.goto(f"{self.url}/console/{place}")
        await self.page.get_by_label("Agent’s handle").fill(handle)
        await self.button("Sign in").click()
        await self.page.get_by_role("button", name="Sign out").wait_for()

    async def come_to_work(self) -> None:
        await self.page.get_by_role("switch", name="Present").click()
        await self.page.get_by_role("switch", name="Present", checked=True).wait_for()

    async def accept(self) -> None:
        """The offer, once it is there."""
        await self.page.get_by_role("button", name="Accept", exact=False).first.click()
        await self.button("Transfer").wait_for()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def text(self) -> Locator:
        return self.page.get_by_role("textbox", name="Your answer")

    @property
    def messages(self) -> Locator:
        return self.page.get_by_role("list", name="Messages, oldest first")


async def desk(browser: Browser, url: str, size: dict[str, int] = WIDE, **options: Any) -> Desk:
    """A fresh one: nothing of another desk's session is in it."""
    context = await browser.new_context(viewport=size, **options)  # type: ignore[arg-type]
    return Desk(await context.new_page(), url)


async def writes(it: Running, text: str, psid: str = "4711", page: str = "100", **more: object) -> None:
    """A customer, on Messenger."""
    await it.control("messenger/messages", {"page": page, "psid": psid, "text": text, **more})


async def conversation_of(it: Running, channel: str) -> dict[str, Any]:
    """The only one of a channel, as a supervisor sees it."""

    async def found() -> dict[str, Any] | None:
        items = (await it.get("/v1/conversations?limit=100", "sam")).json()["items"]
        return next((item for item in items if item["channel"] == channel), None)

    shown: Any = await until(found)
    return shown
