"""What a vendor's request leads to: safe before its 2xx, or a clear refusal; never a lost neighbour."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.ingest.hooks import Hooks
from services.ingest.outlet import Outlet
from services.ingest.spool import Spool
from shared.accounts import Account, Directory, Inbox
from shared.channels import messenger
from shared.errors import Unavailable
from shared.events import DeadLetter, Record, decode
from shared.ids import derived_id
from shared.objects import FolderStore, Objects

SECRET = "app-secret"
BRAND, INBOX, ACCOUNT = derived_id("b"), derived_id("i"), derived_id("a")
PAGE = Inbox(id=INBOX, brand_id=BRAND, account_id=ACCOUNT, channel="messenger", address="100")
META = Account(
    id=ACCOUNT, channel="messenger", secrets={"app_secret": [SECRET], "verify_token": ["v"]}, inboxes={"100": PAGE}
)
DIRECTORY = Directory(1, {ACCOUNT: META}, {"token": META}, {INBOX: PAGE})


class Bus:
    """Keeps what it gets, and can be away or slow: an edge of ingest, not a part of it."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.away = False
        self.slow = 0.0
        self.error: Exception | None = None

    async def publish(self, records: Sequence[Record]) -> None:
        await asyncio.sleep(self.slow)
        if self.away:
            raise Unavailable
        if self.error is not None:
            raise self.error
        self.records += records


class Front:
    """The hooks app with a client and everything behind it."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.bus = Bus()
        self.spool = Spool(folder, limits.pop("spool_limit", 10_000_000))
        self.spool.open()
        self.objects: Objects = FolderStore(folder.parent / f"{folder.name}-media")
        self.stopping = asyncio.Event()
        self.directory = DIRECTORY
        self.hooks = Hooks(
            limits.pop("channels", (messenger.channel,)),
            lambda: self.directory,
            Outlet(self.bus, self.spool, self.objects),  # type: ignore[arg-type]
            stopping=self.stopping,
            in_flight=limits.pop("in_flight", 512),
            bytes_in_flight=limits.pop("bytes_in_flight", 10_000_000),
        )
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(self.hooks), base_url="http://hooks")

    async def post(self, body: bytes, *, token: str = "token", secret: str = SECRET, **more: Any) -> httpx.Response:
        headers = signature(body, secret)
        return await self.http.post(f"/hooks/messenger/{token}", content=body, headers=headers, **more)


def signature(body: bytes, secret: str = SECRET) -> dict[str, str]:
    """The header that the vendor signs with."""
    return {"x-hub-signature-256": f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"}


@pytest.fixture
async def front(tmp_path: Path) -> Any:
    made = Front(tmp_path)
    async with made.http:
        yield made
    made.spool.close()


def item(mid: str, text: str = "Hallo", page: str = "100", psid: str = "p") -> dict[str, Any]:
    at = 1_790_000_000_000
    return {
        "sender": {"id": psid}, "recipient": {"id": page}, "timestamp": at, "message": {"mid": mid, "text": text},
    }  # fmt: skip


def body(*items: Any, page: str = "100") -> bytes:
    return json.dumps({"object": "page", "entry": [{"id": page, "time": 1, "messaging": list(items)}]}).encode()


def letters(front: Front) -> list[DeadLetter]:
    return [d for r in front.bus.records if isinstance(d := decode(r).data, DeadLetter)]


async def test_a_signed_message_is_on_the_bus_before_its_200(front: Front) -> None:
    answer = await front.post(body(item("m1")))
    assert (answer.status_code, answer.text) == (200, "EVENT_RECEIVED")
    (record,) = front.bus.records
    assert (record.topic, record.key, record.headers["ce_inboxid"]) == ("inbound", f"{INBOX}:p", str(INBOX))


async def test_the_same_request_again_gives_the_same_event(front: Front) -> None:
    await front.post(body(item("m1")))
    await front.post(body(item("m1")))
    first, second = front.bus.records
    assert first.headers["ce_id"] == second.headers["ce_id"]


async def test_the_handshake_gives_the_challenge_as_it_came(front: Front) -> None:
    query = {"hub.mode": "subscribe", "hub.verify_token": "v", "hub.challenge": "1158201444"}
    answer = await front.http.get("/hooks/messenger/token", params=query)
    assert (answer.status_code, answer.text) == (200, "1158201444")
    wrong = await front.http.get("/hooks/messenger/token", params=query | {"hub.verify_token": "x"})
    assert wrong.status_code == 401


@pytest.mark.parametrize(
    ("what", "status"),
    [("forged", 401), ("unsigned", 401), ("unknown token", 404), ("put", 405), ("not json", 400), ("too large", 413)],
)
async def test_a_bad_request_is_refused_and_nothing_of_it_is_stored(front: Front, what: str, status: int) -> None:
    url = "/hooks/messenger/token"
    signed = body(item("m1", text="a secret word"))
    answer = await {
        "forged": lambda: front.post(signed, secret="another"),
        "unsigned": lambda: front.http.post(url, content=signed),
        "unknown token": lambda: front.post(signed, token="guess"),
        "put": lambda: front.http.put(url, content=signed),
        "not json": lambda: front.post(b'{"object": "page"'),
        "too large": lambda: front.post(b"x" * 4_000_001),
    }[what]()
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret word" not in answer.text
    assert [r for r in front.bus.records if r.topic != "dead"] == []


async def test_a_bad_item_and_an_unknown_page_hold_nobody_back(front: Front) -> None:
    broken = {"sender": {"id": "p"}, "recipient": {"id": "100"}, "timestamp": "soon", "message": {"mid": "m2"}}
    sent = json.loads(body(item("m1"), broken, item("m3")))
    sent["entry"].append({"id": "999", "time": 1, "messaging": [item("m4", page="999")]})
    answer = await front.post(json.dumps(sent).encode())
    assert answer.status_code == 200
    assert [r.topic for r in front.bus.records] == ["inbound", "dead", "inbound", "dead"]
    assert [letter.code for letter in letters(front)] == ["broken_item", "unknown_inbox"]


async def test_while_the_bus_is_away_events_wait_on_disk_in_their_order(front: Front) -> None:
    front.bus.away = True
    for n in range(3):
        assert (await front.post(body(item(f"m{n}")))).status_code == 200
    assert front.spool.waiting == 3
    front.bus.away = False
    assert (await front.post(body(item("m3")))).status_code == 200
    assert front.bus.records == [], "a new event of the same key goes behind what waits"
    assert (await front.post(body(item("other", psid="q")))).status_code == 200
    assert len(front.bus.records) == 1, "another key need not wait"
    assert await front.spool.drain(front.bus) == 4  # type: ignore[arg-type]
    mids = [json.loads(r.value)["keys"][0] for r in front.bus.records if r.key.endswith(":p")]
    assert mids == [f"message:m{n}" for n in range(4)]


async def test_a_slow_bus_is_given_up_in_time_for_the_vendor(front: Front) -> None:
    front.bus.slow = 60
    async with asyncio.timeout(3):
        assert (await front.post(body(item("m1")))).status_code == 200
    assert front.spool.waiting == 1


async def test_with_bus_and_spool_full_the_vendor_is_asked_to_come_again(tmp_path: Path) -> None:
    front = Front(tmp_path, spool_limit=10)
    front.bus.away = True
    answer = await front.post(body(item("m1")))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")


async def test_too_many_at_once_and_going_down_are_503_at_once(tmp_path: Path) -> None:
    front = Front(tmp_path, in_flight=2)
    front.bus.slow = 0.5
    answers = await asyncio.gather(*(front.post(body(item(f"m{n}", psid=f"p{n}"))) for n in range(6)))
    assert sorted(a.status_code for a in answers) == [200, 200, 503, 503, 503, 503]
    front.stopping.set()
    assert (await front.post(body(item("late")))).status_code == 503


async def test_a_body_that_is_torn_off_leaves_nothing(front: Front) -> None:
    messages = [{"type": "http.request", "body": b'{"obj', "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/hooks/messenger/token", "headers": [], "query_string": b""}
    await front.hooks(scope, receive, send)
    assert (sent, front.bus.records) == ([], [])


async def test_a_burst_of_forged_requests_is_told_once_and_samples_keep_no_body(front: Front) -> None:
    for _ in range(45):
        await front.post(body(item("m1", text="give me money")), secret="forged")
    alerts = [r for r in front.bus.records if r.topic == "alerts"]
    assert len(alerts) == 1
    shown = await front.http.get("/hooks/messenger/token/rejected")
    samples = shown.json()
    assert (shown.status_code, len(samples)) == (200, 20)
    assert {(sample["method"], sample["reason"]) for sample in samples} == {("POST", "wrong_signature")}
    assert "money" not in shown.text
    for path in ("/hooks/messenger/other/rejected", "/hooks/messenger/token/other", "/hooks/messenger/token/a/b"):
        assert (await front.http.get(path)).status_code == 404
    assert (await front.http.post("/hooks/messenger/token/rejected")).status_code == 405


async def test_what_is_too_large_for_the_bus_is_a_dead_letter_and_holds_nobody_back(front: Front) -> None:
    large = item("m2", text="x" * 1_500_000)
    assert (await front.post(body(item("m1"), large, item("m3")))).status_code == 200
    assert [r.topic for r in front.bus.records] == ["inbound", "dead", "inbound"]
    assert max(len(r.value) for r in front.bus.records) < 1_000_000
    assert letters(front)[0].code == "too_large"


async def test_a_webhook_with_a_thousand_messages_is_one_publish(front: Front) -> None:
    entries = body(*(item(f"m{n}", psid=f"p{n}") for n in range(1000)))
    assert (await front.post(entries)).status_code == 200
    assert len(front.bus.records) == 1000
