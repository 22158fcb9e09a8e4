"""A customer writes a mail, is answered, and the answer threads; what comes back finds its part."""

from pathlib import Path
from typing import Any

from tests.e2e.running import Running, running, until

SUPPORT = "support@alpenlicht.example"
TEXT = "Guten Tag, wo bleibt meine Bestellung? Ich warte seit zwei Wochen."


async def conversations(run: Running, count: int = 1) -> list[dict[str, Any]]:
    async def there() -> Any:
        items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
        return items if len(items) == count else None

    found: Any = await until(there, 30)
    return [(await run.get(f"/v1/conversations/{item['id']}", "sam")).json() for item in found]


async def messages(run: Running, count: int) -> list[dict[str, Any]]:
    async def there() -> Any:
        shown = (await conversations(run))[0]["messages"]
        return shown if len(shown) == count else None

    found: Any = await until(there, 30)
    return found


async def writes(run: Running, **mail: Any) -> str:
    answer: Any = await run.control("email/messages", {"to": SUPPORT, "subject": "Paket", "text": TEXT} | mail)
    return str(answer[0]["message_id"])


async def replied(run: Running, text: str, *, resolve: bool = False) -> None:
    """By whoever holds the conversation."""
    await run.there("anna", "bernd")

    async def held() -> bool:
        (now,) = await conversations(run)
        return bool(now["state"] == "assigned")

    await until(held, 30)
    (shown,) = await conversations(run)
    done = await run.post(f"/v1/conversations/{shown['id']}/reply", "sam", {"text": text, "resolve": resolve})
    assert done.status_code == 202, done.text


async def answered(run: Running, text: str, count: int = 1) -> dict[str, Any]:
    """The reply as the mail server accepted it."""
    await replied(run, text, resolve=True)

    async def sent() -> Any:
        mails: Any = await run.control("email/sent")
        return mails[-1] if len(mails) == count else None

    found: Any = await until(sent, 30)

    async def accepted() -> bool:
        (now,) = await conversations(run)
        return all(m["state"] in ("accepted", "failed") for m in now["messages"] if m["kind"] == "reply")

    await until(accepted)
    return dict(found)


async def test_a_mail_is_answered_and_the_exchange_stays_one(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        files = [{"name": "foto.png", "content": "iVBORw0KGgo="}]
        first = await writes(run, name="Marie Köhler", html=f"<p>{TEXT}</p>", charset="iso-8859-1", files=files)
        (shown,) = await conversations(run)
        (message,) = shown["messages"]
        assert (shown["channel"], shown["subject"], message["text"]) == ("email", "Paket", TEXT)
        assert [a["kind"] for a in message["attachments"]] == ["image", "html", "mail"]
        picture = await run.http.get(message["attachments"][0]["href"])
        assert picture.content == b"\x89PNG\r\n\x1a\n"
        original = await run.http.get(message["attachments"][2]["href"])
        assert first.encode() in original.content

        mail = await answered(run, "Morgen ist es da.")
        assert (mail["headers"]["In-Reply-To"], mail["headers"]["References"]) == (first, first)
        assert (mail["subject"], mail["text"], mail["rcpt_to"]) == (
            "Re: Paket", "Morgen ist es da.", ["marie@customers.sandbox.invalid"],
        )  # fmt: skip

        quote = "\n> ".join(["Am Mo., 3. Aug. 2026 um 10:00 Uhr schrieb Alpenlicht <x@y.example>:\n", mail["text"]])
        second = await writes(run, text=f"Vielen Dank, das ging schnell!\n\n{quote}", answers=mail["message_id"])
        # A mail's own time has no fractions, so within a second it stands before what it answers.
        texts = {message["text"] for message in await messages(run, 3)}
        assert texts == {TEXT, "Morgen ist es da.", "Vielen Dank, das ging schnell!"}
        mail = await answered(run, "Sehr gern.", 2)
        assert mail["headers"]["In-Reply-To"] == second
        assert mail["headers"]["References"].split()[0] == first


async def test_a_mail_program_that_names_only_what_it_answers_stays_in_the_exchange(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as run:
        await writes(run)
        mail = await answered(run, "Morgen ist es da.")
        await writes(run, text="Und wann genau?", headers={"In-Reply-To": mail["message_id"]})
        await messages(run, 3)


async def test_a_bounce_comes_back_to_its_reply_and_nothing_more_is_sent_there(
    database_url: str, tmp_path: Path
) -> None:
    async with running(database_url, tmp_path) as run:
        await writes(run)
        await answered(run, "Morgen ist es da.")
        await run.control("email/bounces", {"status": "5.1.1"})

        async def failed() -> Any:
            (shown,) = await conversations(run)
            states = {m["state"]: shown["state"] for m in shown["messages"] if m["kind"] == "reply"}
            return states.get("failed")

        assert await until(failed, 30) != "resolved"
        await replied(run, "Noch einmal")

        async def refused() -> bool:
            (now,) = await conversations(run)
            return "refused" in [m["state"] for m in now["messages"]]

        await until(refused, 30)
        assert len(await run.control("email/sent")) == 1  # type: ignore[arg-type]


async def test_an_absence_notice_is_shown_and_opens_nothing_again(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await writes(run)
        mail = await answered(run, "Morgen ist es da.")
        await writes(
            run,
            subject="Automatische Antwort: Paket",
            text="Ich bin bis Montag nicht im Haus.",
            answers=mail["message_id"],
            headers={"Auto-Submitted": "auto-replied"},
        )
        (notice,) = [m for m in await messages(run, 3) if m["reason"] == "written by a machine"]
        assert notice["text"] == "Ich bin bis Montag nicht im Haus."
        (shown,) = await conversations(run)
        assert (shown["state"], shown["due_at"]) == ("resolved", None)


async def test_a_store_that_drops_renumbers_and_forgets_costs_no_mail(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.control("email/misbehave", {"imap": {"mode": "drop"}})
        await writes(run, sender="a@customers.sandbox.invalid")
        await conversations(run, 1)
        await run.control("email/misbehave", {"imap": {"mode": "garble", "times": 2}})
        await writes(run, sender="b@customers.sandbox.invalid")
        await conversations(run, 2)
        await run.control("email/renumbered", {"address": SUPPORT})
        await writes(run, sender="c@customers.sandbox.invalid")
        shown = await conversations(run, 3)
        assert [len(one["messages"]) for one in shown] == [1, 1, 1]


async def test_two_addresses_of_one_brand_are_two_inboxes_and_one_customer(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await writes(run)
        await writes(run, to="retours@alpenlicht.example", text="Bonjour, je voudrais retourner cet article, merci.")
        shown = await conversations(run, 2)
        assert len({one["inbox_id"] for one in shown}) == 2
        assert len({one["customer_id"] for one in shown}) == 1
        assert sorted(one["language"] for one in shown) == ["de", "fr"]
