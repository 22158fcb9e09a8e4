"""How the console reads the live stream: whatever pieces it comes in, and wherever it breaks off."""

from playwright.async_api import Browser, Route, expect

from tests.console.desk import desk, writes
from tests.e2e.running import Running

EVENTS = "id: 7\nevent: begin\ndata: {}\n\n: heartbeat\n\nid: 8\r\nevent: changed\r\ndata: {\ndata:  }\r\n\r\n"
AT_EVERY_PLACE = """async (text) => {
  const { Parser } = await import('/console/stream.js');
  const seen = new Set();
  for (let place = 0; place <= text.length; place += 1) {
    const told = [];
    const parser = new Parser((event) => told.push(event));
    parser.push(text.slice(0, place));
    parser.push(text.slice(place));
    seen.add(JSON.stringify(told));
  }
  return [...seen].map((each) => JSON.parse(each));
}"""


async def test_events_are_the_same_wherever_they_are_cut_into_pieces(it: Running, opened: Browser) -> None:
    page = (await desk(opened, it.url)).page
    await page.goto(f"{it.url}/console/")
    assert await page.evaluate(AT_EVERY_PLACE, EVENTS) == [
        [{"id": "7", "name": "begin", "data": "{}"}, {"id": "8", "name": "changed", "data": "{\n }"}]
    ]


async def test_a_stream_that_asks_for_another_look_gets_one_and_goes_on_from_there(
    it: Running, opened: Browser
) -> None:
    anna = await desk(opened, it.url)
    asked: list[str | None] = []

    async def broken(route: Route) -> None:
        asked.append(route.request.headers.get("last-event-id"))
        if len(asked) == 1:
            await it.there("anna")
            await writes(it, "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.")
            body = 'id: 1\nevent: resync\ndata: {"seq":1}\n\n'
            await route.fulfill(status=200, content_type="text/event-stream", body=body)
        else:
            await route.continue_()

    await anna.page.route("**/v1/stream", broken)
    await anna.sign_in("anna")
    await expect(anna.page.get_by_text("s to accept").first).to_be_visible(timeout=30_000)
    await expect(anna.page.locator(".banner")).to_be_hidden()
    assert asked[:2] == [None, "1"]
