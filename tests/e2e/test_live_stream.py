"""The live stream over a real connection, while a message comes in and is accepted."""

import asyncio
import json
from pathlib import Path

import httpx

from shared.trust import trust
from tests.e2e.running import Running, running, until


async def test_an_agent_follows_a_message_from_its_arrival_to_their_own_hands(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as it:
        await it.there("anna")
        told: list[tuple[str, str]] = []
        listening = asyncio.create_task(_listen(it, "anna", told))
        await until(lambda: _has(told, "begin"))
        await it.control("messenger/messages", {"page": "100", "psid": "4711", "text": "Wo bleibt meine Bestellung?"})
        await until(lambda: _has(told, "offered"))
        (mine,) = (await it.get("/v1/conversations?agent=me", "anna")).json()["items"]
        assert (await it.post(f"/v1/conversations/{mine['id']}/accept", "anna")).status_code == 200
        await until(lambda: _has(told, "assigned"))
        assert {id_ for name, id_ in told if name != "begin"} == {mine["id"]}
        pages = (await it.get("/v1/changes", "anna")).json()
        assert [change["kind"] for change in pages["items"]] == [name for name, _ in told if name != "begin"]
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_open_streams_do_not_keep_the_process_from_ending(database_url: str, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    async with asyncio.timeout(20):
        async with running(database_url, tmp_path) as it:
            listening = asyncio.create_task(_listen(it, "sam", told))
            await until(lambda: _has(told, "begin"))
        await asyncio.gather(listening, return_exceptions=True)


async def _has(told: list[tuple[str, str]], name: str) -> bool:
    return any(told_name == name for told_name, _ in told)


async def _listen(it: Running, agent: str, told: list[tuple[str, str]]) -> None:
    headers = {"Authorization": f"Bearer dev-{agent}"}
    async with (
        httpx.AsyncClient(timeout=30, trust_env=False, verify=trust()) as http,
        http.stream("GET", f"{it.url}/v1/stream", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in answer.aiter_lines():
            key, _, value = line.partition(": ")
            if key == "event":
                name = value
            elif key == "data":
                told.append((name, json.loads(value).get("conversation_id", "")))
