"""Webhooks over the API: only for admins of all that they tell of, secrets shown on purpose, everything replayable."""

from datetime import timedelta
from typing import Any

import pytest

from services.router.domain.signing import is_secret, secret_of
from services.router.store import webhooks as store
from services.router.webhooks import Webhooks
from shared.guard import Trusted
from tests.router.api.conftest import Client
from tests.router.test_webhooks import VAULT, alerts, handled, missed
from tests.router.world import id_of

HOOK = {"handle": "operations", "url": "https://alerts.example/hook"}


@pytest.fixture
async def admin(api: Client) -> str:
    """Of every brand."""
    return await api.key("root", "admin", "shop", "other")


async def created(api: Client, admin: str, **more: Any) -> str:
    """Its path."""
    answer = await api.post("/v1/webhooks", admin, HOOK | more)
    assert answer.status_code == 201, answer.text
    return f"/v1/webhooks/{answer.json()['id']}"


async def test_a_webhook_is_made_read_and_deleted_and_its_secret_is_no_part_of_it(api: Client, admin: str) -> None:
    path = await created(api, admin, events=["deadline.missed"], brands=[str(id_of("shop"))])
    shown = await api.get(path, admin)
    assert shown.json().items() >= {"enabled": True, "events": ["deadline.missed"], "waiting": 0}.items()
    assert (await api.get("/v1/webhooks", admin)).json()["items"] == [shown.json()]
    (secret,) = (await api.get(f"{path}/secret", admin)).json()["secrets"]
    assert is_secret(secret)
    assert "whsec_" not in shown.text
    # Neither in what is kept for a repeated request, nor in the table.
    assert (
        await api.world.value("SELECT count(*) FROM router.idempotency WHERE position('whsec_' IN body::text) > 0") == 0
    )
    assert secret.encode() not in (await api.world.value("SELECT sealed FROM config.webhook"))[0]
    actions = [row["action"] for row in await api.world.fetch("SELECT action FROM router.audit ORDER BY id")]
    assert actions == ["webhook.created", "webhook.secret_read"]
    assert (await api.post("/v1/webhooks", admin, HOOK)).status_code == 409
    assert (await api.http.delete(path, headers=api.bearer(admin))).status_code == 200
    assert (await api.get(path, admin)).status_code == 404


async def test_a_rotated_secret_signs_beside_the_one_before(api: Client, admin: str) -> None:
    own = secret_of(b"o" * 24)
    path = await created(api, admin, secret=own)
    for _ in range(2):
        assert (await api.post(f"{path}/rotate", admin)).status_code == 200
    first, second = (await api.get(f"{path}/secret", admin)).json()["secrets"]
    assert own not in (first, second)
    assert len({first, second}) == 2


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"url": "http://alerts.example/hook"}, 422),
        ({"url": "https://10.0.0.1/hook"}, 422),
        ({"url": "https://me:word@alerts.example/hook"}, 422),
        ({"url": "file:///etc/passwd"}, 422),
        ({"events": ["deadline.mist"]}, 422),
        ({"secret": "whsec_short"}, 422),
        ({"brands": [str(id_of("nobody"))]}, 404),
        ({"handle": "Not A Handle"}, 422),
        ({"surprise": 1}, 422),
    ],
    ids=str,
)
async def test_what_cannot_be_meant_is_refused_and_not_quoted(
    api: Client, admin: str, more: dict[str, Any], status: int
) -> None:
    answer = await api.post("/v1/webhooks", admin, HOOK | more)
    assert answer.status_code == status
    assert "word" not in answer.text
    assert "short" not in answer.text
    assert await api.world.value("SELECT count(*) FROM config.webhook") == 0


async def test_an_admin_of_one_brand_neither_sees_nor_makes_what_tells_of_others(api: Client, admin: str) -> None:
    path = await created(api, admin)
    some = await api.key("some", "admin", "shop")
    for answer in (
        await api.get(path, some),
        await api.get(f"{path}/secret", some),
        await api.get(f"{path}/deliveries", some),
        await api.post(f"{path}/test", some),
        await api.post("/v1/webhooks", some, HOOK | {"handle": "mine"}),
        await api.post("/v1/webhooks", some, HOOK | {"handle": "mine", "brands": [str(id_of("other"))]}),
    ):
        assert answer.status_code == 404
    assert (await api.get("/v1/webhooks", some)).json()["items"] == []
    own = await api.post("/v1/webhooks", some, HOOK | {"handle": "mine", "brands": [str(id_of("shop"))]})
    assert own.status_code == 201
    assert (await api.get("/v1/webhooks", "anna")).status_code == 403


async def test_what_failed_is_seen_and_sent_again_by_id_or_by_time(api: Client, admin: str) -> None:
    w = api.world
    path = await created(api, admin)
    webhooks = Webhooks(w.router, w.cache, VAULT, Trusted(), "https://dragoman.example")
    await missed(w, 3)
    await handled(w, webhooks, *await alerts(w))
    assert (await api.post(f"{path}/disable", admin, {"reason": "moving"})).json().items() >= {
        "enabled": False, "reason": "moving", "failed": 3,
    }.items()  # fmt: skip
    assert (await api.post(f"{path}/replay", admin, {"since": w.clock.at.isoformat()})).status_code == 409
    assert (await api.post(f"{path}/test", admin)).status_code == 409
    assert (await api.post(f"{path}/enable", admin)).json()["enabled"]
    page = (await api.get(f"{path}/deliveries?state=failed&limit=2", admin)).json()
    assert [(item["state"], item["reason"]) for item in page["items"]] == [("failed", "disabled")] * 2
    rest = (await api.get(f"{path}/deliveries?state=failed&limit=2&cursor={page['next']}", admin)).json()
    assert len({item["event_id"] for item in page["items"] + rest["items"]}) == 3
    event_id = page["items"][0]["event_id"]
    assert (await api.post(f"{path}/replay", admin, {"event_id": event_id})).json() == {"alerts": 1}
    assert (await api.post(f"{path}/replay", admin, {"event_id": str(id_of("none"))})).status_code == 404
    earlier = (w.clock.at - timedelta(hours=2)).isoformat()
    until = (w.clock.at - timedelta(hours=1)).isoformat()
    assert (await api.post(f"{path}/replay", admin, {"since": earlier, "until": until})).json() == {"alerts": 0}
    assert (await api.post(f"{path}/replay", admin, {"since": earlier})).json() == {"alerts": 2}
    for body in ({}, {"event_id": event_id, "since": earlier}, {"since": "2026-11-23T09:00:00"}):
        assert (await api.post(f"{path}/replay", admin, body)).status_code == 422
    assert (await api.get(path, admin)).json().items() >= {"waiting": 3, "failed": 0}.items()


async def test_a_test_is_a_delivery_like_any_other(api: Client, admin: str) -> None:
    path = await created(api, admin)
    event_id = (await api.post(f"{path}/test", admin)).json()["event_id"]
    (item,) = (await api.get(f"{path}/deliveries", admin)).json()["items"]
    assert (item["event_id"], item["event"], item["state"]) == (event_id, "webhook.test", "waiting")
    async with api.world.router.transaction() as tx:
        (claimed,) = await store.claim(tx, [], 3, 3, timedelta(seconds=60))
    assert claimed["body"].startswith(b'{"type":"webhook.test"')
