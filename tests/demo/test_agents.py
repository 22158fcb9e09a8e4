"""A simulated agent beside the product itself: it answers the demo's customers and leaves everybody else's alone."""

import asyncio
from pathlib import Path
from typing import Any

from services.demo.agents import Agent, Shift
from services.demo.api import Api
from services.demo.customers import ANSWERS, WORDS
from tests.e2e.running import Running, running, until

ORDER = "K12345-01"


OURS, OTHERS = WORDS["de"].format(order=ORDER), "Wo bleibt denn nur meine Bestellung?"


async def kinds(run: Running, words: str) -> list[str]:
    """The entries of the conversation in which somebody wrote these words, none where there is none yet."""
    for item in (await run.get("/v1/conversations", "sam")).json()["items"]:
        path = f"/v1/conversations/{item['id']}"
        if words in [m["text"] for m in (await run.get(path, "sam")).json()["messages"]]:
            return [entry["kind"] for entry in (await run.get(f"{path}/history", "sam")).json()["items"]]
    return []


async def test_an_agent_answers_the_demos_customers_and_declines_all_others(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        agent = Agent(Shift("anna", frozenset({"de"}), takes=0), Api(run.url, run.http))
        work = asyncio.create_task(agent.work())
        try:
            written = [{"page": "100", "psid": f"c{n}", "text": text} for n, text in enumerate((OURS, OTHERS))]
            await run.control("messenger/messages", written)

            async def both() -> bool:
                return "resolved" in await kinds(run, OURS) and "declined" in await kinds(run, OTHERS)

            await until(both)
        finally:
            work.cancel()
            await asyncio.wait({work})
        sent: Any = await run.control("messenger/sent")
        assert [m["text"] for m in sent] == [ANSWERS["de"].format(order=ORDER)]
        assert "assigned" not in await kinds(run, OTHERS)
