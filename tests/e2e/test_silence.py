"""Nothing that a run writes (logs, metrics, traces, errors) has a secret or a customer's words in it.

Everything that people write or that opens something is a word of its own here; then a whole run is searched for them.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.e2e import running
from tests.e2e.marked import NOBODY, Child, Marks, a_whole_run

AGENTS = ("anna", "bernd", "claire", "emily")
WRITTEN = {"messenger", "whatsapp", "twilio_whatsapp", "twilio_sms", "mirakl", "email"}
GERMAN = "Wo bleibt meine Bestellung denn nun, ich warte schon lange"
# A whole run beside other tests, on a machine of two cores.
PATIENCE = 60.0
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
WHATSAPP, TWILIO_WHATSAPP, SMS, LINE = "106540352242901", "+4917604069010", "+4917604069011", "+493023125100"
SUPPORT = "support@alpenlicht.example"


async def customers_write(child: Child, marks: Marks) -> None:
    """By every channel, with files, names, numbers and addresses."""
    run = child.run
    picture = {"content": base64.b64encode(PNG).decode(), "media_type": "image/png"}

    def said(channel: str) -> str:
        return f"{GERMAN}, {marks.word(f'what a customer wrote by {channel}')}?"

    name = marks.word("a customer's name")
    await run.control(
        "messenger/messages", {"page": "100", "psid": marks.word("a PSID"), "text": said("Messenger"), "name": name}
    )
    phone = marks.phone("a number on WhatsApp")
    file = {"name": f"{marks.word('the name of a file')}.png", "content": picture["content"]}
    for kind in ({"text": said("WhatsApp")}, {"type": "image", "file": file, "media_type": "image/png"}):
        await run.control("whatsapp/messages", {"number": WHATSAPP, "phone": phone, "name": name} | kind)
    by_twilio = {"to": TWILIO_WHATSAPP, "by": "whatsapp", "from": marks.phone("a number at Twilio"), "name": name}
    await run.control("twilio/messages", by_twilio | {"text": said("Twilio"), "files": [picture]})
    await run.control("twilio/messages", {"to": SMS, "from": marks.phone("a number by SMS"), "text": said("SMS")})
    shopper = {"shop": "2001", "customer": marks.word("a buyer's name"), "order": marks.word("an order")}
    await run.control("mirakl/messages", shopper | {"text": f"Où est mon colis, merci ? {said('Mirakl')}"})
    mail = {"to": SUPPORT, "sender": f"{marks.word('a mail address')}@customers.sandbox.invalid", "name": name}
    subject = marks.word("a subject")
    files = [{"name": f"{marks.word('the name of an attachment')}.png", "content": picture["content"]}]
    await run.control("email/messages", mail | {"subject": subject, "text": said("mail"), "files": files})
    await run.control("phone/rings", {"line": LINE, "caller": marks.phone("a caller's number")})
    for brand in (await run.get("/v1/me", "sam")).json()["brands"]:
        wish = {"phone": marks.phone("a number to call"), "name": name, "text": said("a callback"), "brand_id": brand}
        await run.post("/v1/callback-requests", "sam", wish | {"matter": marks.word("a matter")})


async def agents_answer(child: Child, marks: Marks) -> None:
    """All that can be written to, with notes; vendors refuse some, with the very words that they were sent."""
    run = child.run
    await run.there(*AGENTS)
    words = {vendor: marks.word(f"a reply that {vendor} refuses") for vendor in ("messenger", "whatsapp", "mirakl")}
    for vendor, word in words.items():
        code = {"messenger": 551, "whatsapp": 131026, "mirakl": 400}[vendor]
        wrong = {"vendor": vendor, "mode": "error", "code": code, "text": f"You sent {word}", "operation": "send"}
        await run.control("misbehave", wrong if vendor != "mirakl" else wrong | {"operation": "M12"})
    await run.control(
        "misbehave", {"vendor": "twilio", "mode": "error", "code": 21211, "text": f"To {words['mirakl']}"}
    )
    bad = marks.word("what a mail server says")
    await run.control("email/misbehave", {"smtp": {"stage": "dot", "answer": f"554 5.7.1 {bad} is refused"}})
    handles = {(await run.get("/v1/me", handle)).json()["agent_id"]: handle for handle in AGENTS}
    done: dict[str, str] = {}

    async def all_answered() -> bool:
        items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
        for item in items:
            if item["agent_id"] and item["id"] not in done:
                await _answer(child, marks, item, handles[item["agent_id"]], words.get(item["channel"]))
                done[item["id"]] = item["channel"]
        return set(done.values()) >= WRITTEN

    await until(all_answered)

    async def all_told() -> bool:
        replies = [m for id_ in done for m in await _messages(child, id_) if m["kind"] == "reply"]
        return not {m["state"] for m in replies} & {"queued", "sending"}

    await until(all_told)


async def _answer(child: Child, marks: Marks, item: Any, agent: str, word: str | None) -> None:
    """Twice, as the first may be refused; then it is resolved, and the agent free for the next."""
    run, path = child.run, f"/v1/conversations/{item['id']}"
    if item["state"] == "offered":
        assert (await run.post(f"{path}/accept", agent)).status_code == 200
    note = await run.post(f"{path}/notes", agent, {"text": marks.word("a note")})
    assert note.status_code == 201, note.text
    if item["channel"] in WRITTEN:
        for text in (word or marks.word("a reply"), marks.word("a reply")):
            reply = await run.post(f"{path}/reply", agent, {"text": f"Wir kümmern uns darum: {text}"})
            # To whom a poisoned mail came from nobody can write.
            assert reply.status_code in (202, 409), reply.text
    assert (await run.post(f"{path}/resolve", agent, {"reason": marks.word("a reason")})).status_code == 200


async def files_are_looked_at(child: Child, marks: Marks) -> None:
    """By signed links, good and altered; meanwhile a mail server answers what is no IMAP."""
    run = child.run
    await run.control("email/misbehave", {"imap": {"mode": "garble"}})
    await run.control("email/messages", {"to": SUPPORT, "text": f"{GERMAN}, {marks.word('a mail that is garbled')}"})

    async def stored() -> Any:
        items = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
        files = [a for i in items for m in await _messages(child, i["id"]) for a in m["attachments"]]
        links = [a["href"] for a in files if a.get("href")]
        return links if len(links) >= 3 else None

    links: Any = await until(stored)
    for link in links:
        (signature,) = parse_qs(urlsplit(link).query)["signature"]
        marks.add(signature, "the signature of a link")
        assert (await run.http.get(link)).status_code == 200
        assert (await run.http.get(link.replace(signature, signature[::-1]))).status_code >= 400


async def vendors_send_what_is_wrong(child: Child, marks: Marks) -> None:
    """Forged, malformed, to nobody, and files that cannot be fetched from addresses with a token in them."""
    run = child.run
    word = marks.word("what a forger wrote")
    await run.control("messenger/forged", {"page": "100", "psid": word, "text": word})
    await run.control("whatsapp/forged", {"number": WHATSAPP, "phone": "+4915123000000", "text": word})
    for path in ("/hooks/messenger/sandbox-hook", "/hooks/twilio_sms/sandbox-twilio-sms", f"/hooks/messenger/{word}"):
        answer = await run.http.post(f"{run.url}{path}?{word}={word}", content=word, headers={"x-word": word})
        assert answer.status_code in (400, 401, 404)
    await run.http.request("BREW", f"{run.url}/hooks/messenger/sandbox-hook", content=word)
    fetched = f"{NOBODY}/{marks.word('the path of a file')}?token={marks.word('the token of a file')}"
    away = {"mid": marks.word("a message id"), "attachments": [{"type": "image", "payload": {"url": fetched}}]}
    for body in (f'{{"object": "page", "entry": "{marks.word("what nobody can parse")}', _page({"text": word}),
                 _page({"mid": 7, "text": marks.word("a message of a wrong form")}), _page(away),
                 _page(away | {"mid": word}, page=marks.word("a page that is not configured"))):  # fmt: skip
        await _signed(child, body)
    (number,) = {marks.phone("a number whose file fails")}
    await run.control("misbehave", {"vendor": "whatsapp", "mode": "500", "operation": "download", "times": 3})
    file = {"name": "kaputt.png", "content": base64.b64encode(PNG).decode()}
    await run.control(
        "whatsapp/messages",
        {"number": WHATSAPP, "phone": number, "type": "image", "file": file, "media_type": "image/png"},
    )
    poison = marks.word("a mail that nobody can read")
    for raw in (
        f"\x00{poison}\xff",
        f"From: <{poison}\nSubject: =?{poison}?B?{poison}?=\nContent-Type: {poison}\n\n\xe9",
        f"Content-Type: multipart/mixed; boundary={poison}\nMessage-ID: {poison}\n\n--{poison}\n" * 300,
    ):
        mail = base64.b64encode(raw.encode("latin-1")).decode()
        await run.control("email/messages", {"to": SUPPORT, "raw": mail})


async def callers_are_refused(child: Child, marks: Marks) -> None:
    """Keys, tokens and words in requests that the API refuses, and alerts that cannot be posted."""
    run = child.run
    brands = (await run.get("/v1/me", "ada")).json()["brands"]
    made = await run.post("/v1/api-keys", "ada", {"name": "shop", "role": "brand", "brands": brands})
    assert made.status_code == 201, made.text
    minted: Any = await run.control("oidc/tokens", {"user": "anna"})
    known = [marks.add(made.json()["key"], "an API key"), marks.add(minted["access_token"], "a bearer token")]
    for token in (*known, marks.word("a token of nobody"), known[1][:-8] + "AAAAAAAA"):
        marks.add(token, "a bearer token")
        headers = {"Authorization": f"Bearer {token}", "If-Match": marks.word("an ETag")}
        await run.http.get(f"{run.url}/v1/me", headers=headers)
        await run.http.post(f"{run.url}/v1/conversations", headers=headers)
    (item, *_) = (await run.get("/v1/conversations?limit=100", "sam")).json()["items"]
    path, word = f"/v1/conversations/{item['id']}", marks.word("a request that is refused")
    for body in ({"text": 7, "resolve": word}, {"text": word, "attachments": word}, [word], {"text": word + "\x00"}):
        assert (await run.post(f"{path}/reply", "sam", body)).status_code == 422
    assert (await run.post(f"{path}/reply", "sam", {"text": word}, etag='"0"')).status_code == 412
    assert (await run.post(f"/v1/replies/{word}/withdraw", "sam", {"text": word})).status_code == 422
    await run.http.post(f"{run.url}/v1/{word}?{word}={word}", content=word)
    url = f"{NOBODY}/{marks.word('the address of a webhook')}"
    hook = await run.post("/v1/webhooks", "ada", {"handle": "pager", "url": url})
    assert hook.status_code == 201, hook.text
    secret = await run.get(f"/v1/webhooks/{hook.json()['id']}/secret", "ada")
    marks.add(next(iter(secret.json()["secrets"])), "the secret of a webhook")
    assert (await run.post(f"/v1/webhooks/{hook.json()['id']}/test", "ada", {})).status_code == 202


async def until(condition: Callable[[], Awaitable[object]]) -> Any:
    """Asked for a few times a second: the process that answers has better things to do."""

    async def slowly() -> object:
        await asyncio.sleep(0.2)
        return await condition()

    return await running.until(slowly, PATIENCE)


async def _messages(child: Child, conversation: str) -> list[dict[str, Any]]:
    shown = (await child.run.get(f"/v1/conversations/{conversation}", "sam")).json()
    return list(shown["messages"])


def _page(message: dict[str, Any], page: str = "100") -> str:
    at = int(time.time() * 1000)
    item = {"sender": {"id": "4712"}, "recipient": {"id": page}, "timestamp": at, "message": message}
    return json.dumps({"object": "page", "entry": [{"id": page, "time": at, "messaging": [item]}]})


async def _signed(child: Child, body: str) -> None:
    signature = hmac.new(b"sandbox-app-secret", body.encode(), hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}"}
    url = f"{child.run.url}/hooks/messenger/sandbox-hook"
    assert (await child.run.http.post(url, content=body, headers=headers)).status_code in (200, 400)


@pytest.mark.alone
async def test_nothing_that_a_run_writes_has_a_secret_or_anybodys_words_in_it() -> None:
    marks = Marks()
    marks.secrets_of_the_sample()
    scenes: Sequence[Any] = (
        customers_write, vendors_send_what_is_wrong, agents_answer, files_are_looked_at, callers_are_refused,
    )  # fmt: skip
    async with a_whole_run() as child:
        for scene in scenes:
            await scene(child, marks)
    written = child.written
    assert marks.found_in(written) == []
    # The search had something to look at.
    told = {span.name for span in child.collector.spans}
    assert told >= {"POST /hooks/{channel}/{token}", "process media", *(f"call {channel}" for channel in WRITTEN)}
    assert {400, 401, 404, 412, 422} <= {status for _, status, _ in child.refused}
    assert "dragoman_hooks_total" in written["metrics"]
    assert "WARNING" in written["stderr"]
