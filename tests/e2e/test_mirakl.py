"""A marketplace's buyer sends a picture and gets a file back: in the thread itself, for links would be filtered."""

import base64
from pathlib import Path
from typing import Any

from tests.e2e.every_channel import PICTURE
from tests.e2e.running import running, until

# The vendor tells no type; the bytes do.
FILE = {"name": "cassé.png", "content": base64.b64encode(PICTURE).decode()}


async def test_files_go_both_ways_and_a_lost_answer_is_not_sent_twice(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("claire")
        text = "Bonjour, le colis est arrivé endommagé, que dois-je faire ?"
        await run.control("mirakl/messages", {"shop": "2001", "customer": "Marie", "text": text, "files": [FILE]})

        async def held() -> str | None:
            items = (await run.get("/v1/conversations?agent=me", "claire")).json()["items"]
            return f"/v1/conversations/{items[0]['id']}" if items else None

        path = str(await until(held))

        async def messages(kind: str) -> list[dict[str, Any]]:
            return [m for m in (await run.get(path, "claire")).json()["messages"] if m["kind"] == kind]

        async def stored() -> Any:
            (message,) = await messages("inbound")
            (attachment,) = message["attachments"]
            return attachment if attachment["state"] == "stored" else None

        picture: Any = await until(stored)
        shown = await run.http.get(picture["href"])
        assert (shown.status_code, shown.headers["content-type"], shown.content) == (200, "image/png", PICTURE)
        assert picture["name"] == FILE["name"]

        await run.control("misbehave", {"vendor": "mirakl", "operation": "M12", "mode": "drop_after_accept"})
        back = {"sha256": picture["sha256"], "name": "bon de retour.png"}
        body = {"text": "Voici le bon de retour.", "attachments": [back]}
        answered = await run.post(f"{path}/reply", "claire", body)
        assert answered.status_code == 202, answered.text

        async def accepted() -> bool:
            return [m["state"] for m in await messages("reply")] == ["accepted"]

        await until(accepted, 30)
        (sent,) = await run.control("mirakl/sent")  # type: ignore[misc]
        assert (sent["text"], sent["files"]) == ("Voici le bon de retour.", ["bon de retour.png"])
        # Our own message comes back by the next poll, and is known.
        assert len(await messages("inbound")) == 1
