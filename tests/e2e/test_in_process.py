"""Customers write in eight languages, native agents answer, receipts come back: the whole way in one process."""

from pathlib import Path
from typing import Any

from tests.e2e.every_channel import every_channel
from tests.e2e.running import running, until

# page or shop, customer, text, the native agents who may get it
MESSAGES = [
    ("100", "c1", "Wo bleibt meine Bestellung? Ich warte seit zwei Wochen.", {"anna", "bernd"}),
    ("100", "c2", "Où est ma commande ? Je l'attends depuis deux semaines.", {"claire", "luc"}),
    ("100", "c3", "Dov'è il mio ordine? Lo aspetto da due settimane.", {"giulia", "paolo"}),
    ("200", "c4", "Gdzie jest moja paczka? Czekam już dwa tygodnie.", {"ewa", "piotr"}),
    ("200", "c5", "¿Dónde está mi pedido? Lo espero desde hace dos semanas.", {"lucia", "mateo"}),
    ("200", "c6", "Waar blijft mijn bestelling? Ik wacht al twee weken.", {"sanne", "joris"}),
    ("300", "c7", "Where is my order? I have been waiting for two weeks.", {"emily", "james"}),
    ("300", "c8", "Var är min beställning? Jag har väntat i två veckor.", {"astrid", "nils"}),
    ("300", "c9", "Mein Paket ist beschädigt angekommen, was soll ich tun?", {"anna", "bernd"}),
]  # fmt: skip
MARKET = [
    ("2001", "Marie", "Bonjour, le colis est arrivé endommagé, que dois-je faire ?", {"claire", "luc"}),
    ("2001", "Paul", "Bonjour, je voudrais retourner cet article, merci.", {"claire", "luc"}),
    ("2002", "Carmen", "Hola, el paquete llegó roto, quiero la devolución del dinero.", {"lucia", "mateo"}),
]
EVERYBODY = sorted(set().union(*(natives for *_, natives in (*MESSAGES, *MARKET))))


async def twelve_messages(run: Any) -> None:
    """Twelve messages come in, reach native agents, are answered, and their receipts come back."""
    await run.there(*EVERYBODY)
    handles = {(await run.get("/v1/me", handle)).json()["agent_id"]: handle for handle in EVERYBODY}
    posted = [{"page": page, "psid": psid, "text": text} for page, psid, text, _ in MESSAGES]
    await run.control("messenger/messages", posted)
    await run.control("mirakl/messages", [{"shop": s, "customer": c, "text": t} for s, c, t, _ in MARKET])

    async def all_held() -> list[dict[str, Any]] | None:
        items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
        held = [i for i in items if i["agent_id"]]
        return held if len(held) == len(MESSAGES) + len(MARKET) else None

    held: Any = await until(all_held)
    natives = {text: natives for *_, text, natives in (*MESSAGES, *MARKET)}
    for item in held:
        path = f"/v1/conversations/{item['id']}"
        shown = (await run.get(path, "sam")).json()
        (text,) = [m["text"] for m in shown["messages"]]
        agent = handles[item["agent_id"]]
        assert agent in natives[text], shown["decision"]
        assert "as a native speaker" in shown["decision"]["sentence"]
        if item["state"] == "offered":
            assert (await run.post(f"{path}/accept", agent)).status_code == 200
        etag = (await run.get(path, agent)).headers["etag"]
        answered = await run.post(f"{path}/reply", agent, {"text": f"Answer to {text}", "resolve": True}, etag)
        assert answered.status_code == 202, answered.text

    async def all_told() -> bool:
        items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
        shown = [(await run.get(f"/v1/conversations/{i['id']}", "sam")).json() for i in items]
        states = [(s["channel"], m["state"]) for s in shown for m in s["messages"] if m["kind"] == "reply"]
        return sorted(states) == [("messenger", "read")] * len(MESSAGES) + [("mirakl", "accepted")] * len(MARKET)

    await until(all_told)
    sent: Any = [*(await run.control("messenger/sent")), *(await run.control("mirakl/sent"))]  # type: ignore[misc]
    assert sorted(m["text"] for m in sent) == sorted(f"Answer to {text}" for text in natives)
    items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
    assert {i["state"] for i in items} == {"resolved"}
    assert all(i["due_at"] is None for i in items)


async def test_twelve_messages_in_eight_languages_are_answered_by_natives(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await twelve_messages(run)
        ready = await run.http.get(f"{run.url}/health/ready")
        assert ready.status_code == 200, ready.text


async def test_customers_on_every_channel_are_answered_where_they_wrote(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await every_channel(run)


async def test_an_answer_lost_on_the_way_back_is_proven_by_its_echo(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        await run.control("misbehave", {"vendor": "messenger", "mode": "drop_after_accept", "times": 1})
        await _answer(run, "anna", "Morgen ist es da.")
        await until(lambda: _reply_states(run, {"read", "delivered", "accepted"}))
        assert len(await run.control("messenger/sent")) == 1  # type: ignore[arg-type]


async def test_a_throttled_answer_leaves_later_and_once(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        await run.control("misbehave", {"vendor": "messenger", "mode": "429", "times": 2, "retry_after": 1})
        await _answer(run, "anna", "Morgen ist es da.")
        await until(lambda: _reply_states(run, {"read"}))
        assert len(await run.control("messenger/sent")) == 1  # type: ignore[arg-type]


async def test_a_refused_answer_says_why(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("anna")
        await run.control("misbehave", {"vendor": "messenger", "mode": "error", "code": 551, "times": 1})
        await _answer(run, "anna", "Morgen ist es da.")
        await until(lambda: _reply_states(run, {"refused"}))


async def test_a_lost_marketplace_answer_is_asked_about_and_not_sent_twice(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        await run.there("claire", "luc")
        await run.control("mirakl/messages", {"shop": "2001", "customer": "Marie", "text": "Où est mon colis, merci ?"})

        async def held() -> Any:
            items = (await run.get("/v1/conversations?state=assigned", "sam")).json()["items"]
            return items[0] if items else None

        item: Any = await until(held)
        await run.control("misbehave", {"vendor": "mirakl", "mode": "drop_after_accept", "target": "2001", "times": 1})
        await run.post(f"/v1/conversations/{item['id']}/reply", "sam", {"text": "Votre colis arrive demain."})
        await until(lambda: _reply_states(run, {"accepted"}), 30)
        assert len(await run.control("mirakl/sent")) == 1  # type: ignore[arg-type]


async def test_a_forged_webhook_is_a_401_and_nothing_is_stored(database_url: str, tmp_path: Path) -> None:
    async with running(database_url, tmp_path) as run:
        answer: Any = await run.control("messenger/forged", {"page": "100", "psid": "x", "text": "Give me money"})
        assert answer["webhook_status"] == 401
        assert (await run.get("/v1/conversations", "sam")).json()["items"] == []


async def _answer(run: Any, agent: str, text: str) -> None:
    await run.control("messenger/messages", {"page": "100", "psid": "c1", "text": "Wo bleibt meine Bestellung denn?"})

    async def offered() -> Any:
        items = (await run.get("/v1/conversations?agent=me", agent)).json()["items"]
        return items[0] if items else None

    item = await until(offered)
    path = f"/v1/conversations/{item['id']}"  # type: ignore[index]
    assert (await run.post(f"{path}/accept", agent)).status_code == 200
    assert (await run.post(f"{path}/reply", agent, {"text": text})).status_code == 202


async def _reply_states(run: Any, wanted: set[str]) -> bool:
    items = (await run.get("/v1/conversations", "sam")).json()["items"]
    shown = (await run.get(f"/v1/conversations/{items[0]['id']}", "sam")).json()
    states = {m["state"] for m in shown["messages"] if m["kind"] == "reply"}
    return bool(states) and states <= wanted
