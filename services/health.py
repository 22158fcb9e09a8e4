"""`/health/live`, `/health/ready` and `/metrics` of any process of ours."""

from collections.abc import Callable, Sequence

import msgspec
from prometheus_client import Gauge
from starlette.types import ASGIApp, Receive, Scope, Send

READY = Gauge("dragoman_ready", "1 while nothing keeps this process from its work.")

Troubles = Callable[[], Sequence[str]]


def health(troubles: Troubles) -> ASGIApp:
    """Live while it answers; ready while nothing keeps it from its work, else 503 with the reasons."""
    READY.set_function(lambda: 0.0 if troubles() else 1.0)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        reasons = list(troubles()) if scope["path"] == "/health/ready" else []
        known = scope["path"] in ("/health/live", "/health/ready")
        status = 404 if not known else 503 if reasons else 200
        body = msgspec.json.encode({"status": "ok" if status == 200 else "not ready", "reasons": reasons})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


def switch(routes: Sequence[tuple[str, ASGIApp]], fallback: ASGIApp) -> ASGIApp:
    """The app whose prefix the path has; mounted apps' lifespans do not run, and nothing relies on them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        chosen = next((a for prefix, a in routes if path == prefix or path.startswith(prefix + "/")), fallback)
        await chosen(scope, receive, send)

    return app
