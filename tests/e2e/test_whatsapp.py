"""WhatsApp the whole way in one process: messages and files in, a native agent, an answer with a file, its receipts."""

import asyncio
import base64
from pathlib import Path
from typing import Any

from tests.e2e.running import Running, running, until

GERMAN, ENGLISH = "106540352242901", "106540352242902"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
TEXT = "Das Paket ist beschädigt angekommen, was soll ich jetzt tun?"


async def writes(run: Running, **message: Any) -> Any:
    return await run.control("whatsapp/messages", {"number": GERMAN, "name": "Ana Souza", **message})


async def accepted(run: Running, agent: str) -> str:
    """The path of the conversation that the agent was offered and took."""

    async def offered() -> Any:
        items = (await run.get("/v1/conversations?agent=me", agent)).json()["items"]
        return items[0] if items else None

    item: Any = await until(offered)
    path = f"/v1/conversations/{item['id']}"
    assert (await run.post(f"{path}/accept", agent)).status_code == 200
    return path


async def messages(run: Running, path: str, kind: str) -> list[dict[str, Any]]:
    return [m for m in (await run.get(path, "anna")).json()["messages"] if m["kind"] == kind]


async def test_a_picture_comes_in_and_a_file_goes_back_as_media(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        file = {"name": "kaputt.png", "content": base64.b64encode(PNG).decode()}
        sent_in = await writes(
            run, phone="+5511999998888", user_id="BR.1349", type="image", text=TEXT, file=file, media_type="image/png"
        )
        assert sent_in["webhook_status"] == 200
        path = await accepted(run, "anna")

        async def stored() -> Any:
            (message,) = await messages(run, path, "inbound")
            (attachment,) = message["attachments"]
            return attachment if attachment["state"] == "stored" else None

        picture: Any = await until(stored)
        (message,) = await messages(run, path, "inbound")
        assert message["text"] == TEXT
        shown = await run.http.get(picture["href"])
        assert (shown.status_code, shown.headers["content-type"], shown.content) == (200, "image/png", PNG)

        back = {"sha256": picture["sha256"], "name": "kaputt.png"}
        answered = await run.post(f"{path}/reply", "anna", {"text": "Das tut uns leid.", "attachments": [back]})
        assert answered.status_code == 202, answered.text

        async def read() -> bool:
            return [m["state"] for m in await messages(run, path, "reply")] == ["read"]

        await until(read)
        text, media = await run.control("whatsapp/sent")  # type: ignore[misc]
        assert (text["to"], text["text"], text["quoted"]) == ("5511999998888", "Das tut uns leid.", sent_in["ids"][0])
        assert (media["type"], list(media["content"])) == ("image", ["id"])
        requests: Any = await run.control("requests")
        assert [r["operation"] for r in requests if r["vendor"] == "whatsapp"] == [
            "media", "download", "send", "upload", "send",
        ]  # fmt: skip


async def test_ten_pictures_at_once_are_one_conversation_and_all_are_kept(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        # Told apart by what a picture may end with.
        files = [{"name": f"{n}.png", "content": base64.b64encode(PNG + bytes([n])).decode()} for n in range(10)]
        phone: dict[str, Any] = {"phone": "+5511999998888", "user_id": "BR.1349", "media_type": "image/png"}
        sent = await asyncio.gather(*(writes(run, **phone, type="image", text=TEXT, file=file) for file in files))
        assert [one["webhook_status"] for one in sent] == [200] * 10
        path = await accepted(run, "anna")

        async def stored() -> Any:
            found = [a for m in await messages(run, path, "inbound") for a in m["attachments"]]
            return found if [a["state"] for a in found] == ["stored"] * 10 else None

        pictures: Any = await until(stored)
        shown = [(await run.http.get(picture["href"])).content for picture in pictures]
        assert sorted(shown) == [PNG + bytes([n]) for n in range(10)]
        assert len((await run.get("/v1/conversations?agent=me", "anna")).json()["items"]) == 1
        requests: Any = await run.control("requests")
        assert [r["operation"] for r in requests if r["vendor"] == "whatsapp"].count("download") == 10


async def test_a_lost_answer_is_proven_by_its_status_and_not_sent_twice(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        # Nobody knows this customer's number, so the status names them in another way.
        await writes(run, user_id="BR.1349", text=TEXT)
        path = await accepted(run, "anna")
        await run.control("misbehave", {"vendor": "whatsapp", "mode": "drop_after_accept", "times": 1})
        assert (await run.post(f"{path}/reply", "anna", {"text": "Morgen ist es da."})).status_code == 202

        async def read() -> bool:
            return [m["state"] for m in await messages(run, path, "reply")] == ["read"]

        await until(read)
        (sent,) = await run.control("whatsapp/sent")  # type: ignore[misc]
        assert (sent["to"], sent["user_id"]) == ("", "BR.1349")


async def test_an_answer_that_fails_late_says_why(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        await writes(run, phone="+5511999998888", text=TEXT)
        path = await accepted(run, "anna")
        await run.control("misbehave", {"vendor": "whatsapp", "mode": "fail_later", "code": 131026})
        await run.post(f"{path}/reply", "anna", {"text": "Morgen ist es da."})

        async def failed() -> bool:
            (reply,) = await messages(run, path, "reply")
            return (reply["state"], reply["reason"]) == ("failed", "undeliverable")

        await until(failed)


async def test_numbers_of_two_brands_come_to_their_own_inboxes(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        answer: Any = await run.control(
            "whatsapp/messages", [{"number": n, "phone": "+46700000001", "text": "Hello"} for n in (GERMAN, ENGLISH)]
        )
        assert answer["webhook_status"] == 200

        async def both() -> Any:
            items = (await run.get("/v1/conversations", "sam")).json()["items"]
            return items if len(items) == 2 else None

        items: Any = await until(both)
        assert len({item["inbox_id"] for item in items}) == 2
        forged: Any = await run.control("whatsapp/forged", {"number": GERMAN, "phone": "+46700000001", "text": "x"})
        assert forged["webhook_status"] == 401
        verified: Any = await run.control("whatsapp/verification", {})
        assert verified == [{"status": 200, "is_verified": True}]
