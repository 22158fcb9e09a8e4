"""The largest and the most tangled webhooks that a vendor could sign hold nobody else's request up for long."""

import asyncio
import gc
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.hooks import Hooks
from services.ingest.outlet import Outlet
from services.ingest.spool import Spool
from services.serving import settle
from shared.accounts import Account, Directory
from shared.channels.contract import Channel, Hook
from shared.channels.registry import channel
from shared.objects import FolderStore
from tests.channels.messenger.sample import PAGE
from tests.channels.tables import FAR_AHEAD, sample_of
from tests.channels.whatsapp.sample import NUMBER
from tests.ingest.test_hooks import Bus
from tests.watched import watched

PUBLIC_URL = "https://hooks.example.com"
SID = "SM" + "0" * 32
Make = Callable[[int], Any]


def batch_of_messenger(items: Any) -> Any:
    return {"object": "page", "entry": [{"id": PAGE, "time": 1, "messaging": items}]}


def a_message(n: int, text: str = "a") -> Any:
    return {"sender": {"id": "1"}, "recipient": {"id": PAGE}, "timestamp": n, "message": {"mid": str(n), "text": text}}


def batch_of_whatsapp(**of: Any) -> Any:
    value = {"messaging_product": "whatsapp", "metadata": {"phone_number_id": NUMBER}, **of}
    return {"object": "whatsapp_business_account", "entry": [
        {"id": "7", "changes": [{"field": "messages", "value": value}]}
    ]}  # fmt: skip


def written(n: int, **content: Any) -> Any:
    return {"from": "4917604", "id": str(n), "timestamp": "1", **(content or {"type": "text", "text": {"body": "a"}})}


def as_many(make: Make, limit: int) -> list[Any]:
    """As fit into a body."""
    return [make(n) for n in range((limit - 1000) // (len(packed(make(999_999))) + 1))]


def packed(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def form(**fields: str) -> bytes:
    known = {"MessageSid": SID, "From": "%2B491755555555", "To": "%2B15550001111"}
    return "&".join(f"{name}={value}" for name, value in (known | fields).items()).encode()


# channel, what comes: its body for a limit of so many bytes, and the answer
BODIES: Mapping[tuple[str, str], tuple[Callable[[int], bytes], int]] = {
    ("messenger", "as many messages as fit"): (lambda n: packed(batch_of_messenger(as_many(a_message, n))), 400),
    ("messenger", "as many as the vendor sends"): (
        lambda n: packed(batch_of_messenger([a_message(i, "ü" * 150) for i in range(1000)])), 200,
    ),
    ("messenger", "nothing but numbers"): (lambda n: packed(batch_of_messenger([0] * (n // 2 - 100))), 400),
    ("messenger", "entries of numbers"): (lambda n: packed({"object": "page", "entry": [0] * (n // 2 - 100)}), 400),
    ("messenger", "one text"): (lambda n: packed(batch_of_messenger([a_message(1, "ü" * (n // 6 - 100))])), 200),
    ("messenger", "a lone surrogate"): (lambda n: packed(batch_of_messenger([a_message(1, "\ud800" * (n // 7))])), 200),
    ("messenger", "brackets"): (lambda n: b"[" * n, 400),
    ("whatsapp", "as many messages as fit"): (
        lambda n: packed(batch_of_whatsapp(messages=as_many(written, n))), 400,
    ),
    ("whatsapp", "as many statuses as fit"): (
        lambda n: packed(batch_of_whatsapp(statuses=as_many(
            lambda i: {"id": str(i), "status": "read", "timestamp": "1", "recipient_id": "49"}, n))), 400,
    ),
    ("whatsapp", "as many contacts as fit"): (
        lambda n: packed(batch_of_whatsapp(messages=[written(1)], contacts=as_many(
            lambda i: {"wa_id": str(i), "profile": {"name": "a"}}, n - 500))), 200,
    ),
    ("whatsapp", "as many cards as fit"): (
        lambda n: packed(batch_of_whatsapp(messages=[written(1, type="contacts", contacts=as_many(
            lambda i: {"name": {"formatted_name": "a"}, "phones": [{"phone": "1"}]}, n - 500))])), 200,
    ),
    ("twilio_sms", "one text"): (lambda n: form(Body="a+" * (n // 2 - 100)), 200),
    ("twilio_sms", "escapes"): (lambda n: form(Body="%C3%BC" * (n // 6 - 100)), 200),
    ("twilio_sms", "broken escapes"): (lambda n: form(Body="%4" * (n // 2 - 100)), 200),
    ("twilio_sms", "zeros"): (lambda n: form(Body="%00a" * (n // 4 - 100)), 200),
    ("twilio_sms", "separators"): (lambda n: b"&" * n, 401),
}  # fmt: skip


@pytest.fixture
def settled() -> Iterator[None]:
    """The collector as it is in a service: elsewhere it looks at everything again in the middle of a large body."""
    before = gc.get_threshold()
    settle()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("name", "what"), list(BODIES))
async def test_no_body_holds_the_loop(tmp_path: Path, name: str, what: str) -> None:
    make, status = BODIES[name, what]
    it, sample = channel(name), sample_of(name)
    body = make(it.body_limit)
    assert len(body) <= it.body_limit
    path = f"/hooks/{name}/token"
    hook = sample.sign(Hook(method="POST", path=path, url=PUBLIC_URL + path, body=body, received_at=FAR_AHEAD))
    bus = Bus()
    async with hooks(it, sample.ACCOUNT, tmp_path, bus) as http, watched() as held:
        answer = await http.post(path, content=body, headers=hook.headers)
    assert answer.status_code == status, answer.text
    # What is authentic and cannot be read is kept for a person.
    assert bool(bus.records) == (status != 401)
    assert held.busiest < 0.2
    # Beside other tests the process itself waits for its turn.
    assert held.longest < 1.0


def hooks(it: Channel, account: Account, folder: Path, bus: Bus) -> httpx.AsyncClient:
    inboxes = {inbox.id: inbox for inbox in account.inboxes.values()}
    known = Directory(1, {account.id: account}, {"token": account}, inboxes)
    spool = Spool(folder, 10_000_000)
    spool.open()
    app = Hooks(
        (it,),
        lambda: known,
        Outlet(bus, spool, FolderStore(folder / "media")),  # type: ignore[arg-type]
        stopping=asyncio.Event(),
        in_flight=512,
        bytes_in_flight=10_000_000,
        public_url=PUBLIC_URL,
    )
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hooks")
