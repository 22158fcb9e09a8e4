"""An alert's whole way: forged webhooks at one end, a signed call to the operators' receiver at the other."""

import asyncio
import json
from pathlib import Path

from standardwebhooks import Webhook

from services.ingest.rejected import SUSPICIOUS_PER_MINUTE
from tests.e2e.running import running, until
from tests.router.test_webhooks import Receiver


async def test_forged_webhooks_become_a_signed_alert(database_url: str, tmp_path: Path) -> None:
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server, running(database_url, tmp_path, webhook_hosts=[receiver.url]) as run:
        made = await run.post("/v1/webhooks", "ada", {"handle": "operations", "url": receiver.url})
        assert made.status_code == 201, made.text
        path = f"/v1/webhooks/{made.json()['id']}"
        (secret,) = (await run.get(f"{path}/secret", "ada")).json()["secrets"]
        for _ in range(SUSPICIOUS_PER_MINUTE):
            headers = {"X-Hub-Signature-256": "sha256=" + "0" * 64}
            answer = await run.http.post(f"{run.url}/hooks/messenger/sandbox-hook", content=b"{}", headers=headers)
            assert answer.status_code == 401

        async def told() -> bool:
            return bool(receiver.got)

        await until(told)
        headers, body = receiver.got[0]
        alert = Webhook(secret).verify(body, headers)
        assert alert["type"] == "account.health"
        assert alert["data"].items() >= {"state": "suspicious", "channels": ["messenger"]}.items()
        assert "Alpenlicht on Messenger" in alert["data"]["inboxes"]

        async def delivered() -> bool:
            items = (await run.get(f"{path}/deliveries?state=delivered", "ada")).json()["items"]
            return [item["event_id"] for item in items] == [headers["webhook-id"]]

        await until(delivered)
        assert json.loads(body) == alert
        figures = (await run.http.get(f"{run.url}/metrics", follow_redirects=True)).text
        assert 'dragoman_webhook_deliveries_total{outcome="delivered"}' in figures
