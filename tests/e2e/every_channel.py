"""A customer on every channel: each is heard, answered by a native where they wrote, and the vendor got it once."""

import base64
from datetime import UTC, datetime
from typing import Any

from tests.e2e.running import Running, until

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
# Who is called back, and the telephone that answers.
INA = "+493023125123"
# What the stand-ins are told that customers do; the channel it comes by, its text, and the natives who may answer it.
WRITTEN: list[tuple[str, str, dict[str, Any], set[str]]] = [
    ("messenger", "messenger/messages", {"page": "100", "psid": "c1", "text": "Wo bleibt meine Bestellung denn nun?"},
     {"anna", "bernd"}),
    ("whatsapp", "whatsapp/messages",
     {"number": "106540352242901", "phone": "+4915123456001", "type": "image", "media_type": "image/png",
      "text": "Das Paket ist beschädigt angekommen, was soll ich jetzt tun?",
      "file": {"name": "kaputt.png", "content": base64.b64encode(PICTURE).decode()}}, {"anna", "bernd"}),
    ("twilio_whatsapp", "twilio/messages",
     {"to": "+447700900110", "from": "+447700900555", "by": "whatsapp",
      "text": "Where is my order? I have been waiting for two weeks."}, {"emily", "james"}),
    ("twilio_sms", "twilio/messages",
     {"to": "+4917604069011", "from": "+4915123456002", "by": "sms", "text": "Ist mein Paket schon unterwegs zu mir?"},
     {"anna", "bernd"}),
    ("email", "email/messages",
     {"to": "support@alpenlicht.example", "sender": "camille@customers.sandbox.invalid", "subject": "Commande",
      "text": "Bonjour, où est ma commande ? Je l'attends depuis deux semaines."}, {"claire", "luc"}),
    ("mirakl", "mirakl/messages",
     {"shop": "2002", "customer": "Carmen", "text": "Hola, el paquete llegó roto, quiero la devolución del dinero.",
      "files": [{"name": "roto.png", "content": base64.b64encode(PICTURE).decode()}]},
     {"lucia", "mateo"}),
]  # fmt: skip
# As far as each vendor tells of a reply.
LAST_STATES = {
    "messenger": {"read"}, "whatsapp": {"read"}, "twilio_whatsapp": {"delivered", "read"}, "twilio_sms": {"delivered"},
    "email": {"accepted"}, "mirakl": {"accepted"},
}  # fmt: skip
AGENTS = sorted({"anna", "bernd"}.union(*(natives for *_, natives in WRITTEN)))


async def every_channel(run: Running) -> None:
    """Seven customers, six who write and one who is called."""
    await run.there(*AGENTS)
    handles = {(await run.get("/v1/me", handle)).json()["agent_id"]: handle for handle in AGENTS}
    for _, path, body, _ in WRITTEN:
        await run.control(path, body)
    await run.control("phone/telephones", {"number": INA, "talks": 42})
    callback = await _wished(run)

    done: dict[str, dict[str, Any]] = {}

    async def all_answered() -> bool:
        for item in await _conversations(run):
            if item["agent_id"] and item["id"] not in done:
                done[item["id"]] = await _answered(run, item, handles)
        return len(done) == len(WRITTEN) + 1

    await until(all_answered, 60)
    assert sorted(shown["channel"] for shown in done.values()) == sorted([*LAST_STATES, "phone"])

    async def all_told() -> bool:
        shown = [await _shown(run, id_) for id_ in done]
        replies = [(s["channel"], m["state"]) for s in shown for m in s["messages"] if m["kind"] == "reply"]
        return len(replies) == len(WRITTEN) and all(state in LAST_STATES[channel] for channel, state in replies)

    await until(all_told, 60)
    wish = await until(lambda: _called(run, callback), 60)
    assert wish["outcome"] == "talked"  # type: ignore[index]
    await _vendors_got_each_once(run)
    for channel in ("whatsapp", "mirakl"):
        await _the_picture_is_shown(run, channel)


async def _wished(run: Running) -> str:
    """A wish to be called, by somebody for whom it is noon now; its id."""
    behind = datetime.now(UTC).hour - 12
    body = {"phone": INA, "language": "de", "zone": f"Etc/GMT{behind:+d}", "text": "Bitte um Rückruf."}
    for brand in (await run.get("/v1/me", "sam")).json()["brands"]:
        answer = await run.post("/v1/callback-requests", "sam", {**body, "brand_id": brand})
        if answer.status_code == 202:
            return str(answer.json()["id"])
    raise AssertionError(answer.text)


async def _called(run: Running, callback: str) -> dict[str, Any] | None:
    shown: dict[str, Any] = (await run.get(f"/v1/callback-requests/{callback}", "sam")).json()
    return shown if shown["state"] == "done" and shown["outcome"] else None


async def _conversations(run: Running) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
    return found


async def _shown(run: Running, id_: str) -> dict[str, Any]:
    found: dict[str, Any] = (await run.get(f"/v1/conversations/{id_}", "sam")).json()
    return found


async def _answered(run: Running, item: dict[str, Any], handles: dict[str, str]) -> dict[str, Any]:
    """Whoever it came to is a native speaker, takes it and answers; of a callback, takes it."""
    path, agent = f"/v1/conversations/{item['id']}", handles[item["agent_id"]]
    shown = await _shown(run, item["id"])
    natives = {channel: natives for channel, _, _, natives in WRITTEN} | {"phone": {"anna", "bernd"}}
    assert agent in natives[shown["channel"]], shown["decision"]
    if item["state"] == "offered":
        assert (await run.post(f"{path}/accept", agent)).status_code == 200
    if shown["channel"] != "phone":
        body = {"text": f"Answer by {shown['channel']}", "resolve": True}
        answer = await run.post(f"{path}/reply", agent, body)
        assert answer.status_code == 202, answer.text
    return shown


async def _vendors_got_each_once(run: Running) -> None:
    sent: list[str] = []
    for vendor in ("messenger", "whatsapp", "twilio", "email", "mirakl"):
        carried: Any = await run.control(f"{vendor}/sent")
        sent += [message["text"] for message in carried]
    assert sorted(sent) == sorted(f"Answer by {channel}" for channel in LAST_STATES)
    agent, customer = await run.control("phone/calls")  # type: ignore[misc]
    assert customer["to"] == INA
    assert agent["errors"] == customer["errors"] == []


async def _the_picture_is_shown(run: Running, channel: str) -> None:
    (item,) = [item for item in await _conversations(run) if item["channel"] == channel]

    async def stored() -> Any:
        (attachment,) = [a for m in (await _shown(run, item["id"]))["messages"] for a in m["attachments"]]
        return attachment if attachment["state"] == "stored" else None

    picture: Any = await until(stored, 30)
    answer = await run.http.get(picture["href"])
    assert (answer.status_code, answer.content) == (200, PICTURE)
