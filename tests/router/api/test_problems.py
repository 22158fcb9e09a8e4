"""Whatever is wrong, the answer is a problem document that says what, and repeats nothing."""

import asyncio
import base64
import logging
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from shared.ids import new_id
from tests.router.api.conftest import Client
from tests.router.world import World


def check(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["status"], document["code"]) == (status, status, code)
    return document


async def test_unknown_paths_and_methods(api: Client) -> None:
    check(await api.get("/v1/nowhere"), 404, "not_found")
    refused = await api.http.delete("/v1/me", headers=api.bearer("anna"))
    check(refused, 405, "method_not_allowed")
    assert refused.headers["allow"] == "GET"
    check(await api.get("/v1/conversations/7"), 422, "invalid_request")


@pytest.mark.parametrize(
    "text",
    ["", "   \n", "a\x00b", "x" * 50_001, "\u2003", None, 7, ["Hallo"], "\ud800"],
    ids=["nothing", "blanks", "NUL", "too long", "wide blank", "null", "number", "list", "half a character"],
)
async def test_a_text_that_is_none_is_named_by_its_field(api: Client, text: object) -> None:
    path = await api.held()
    body = msgspec.json.encode({"text": text}) if text != "\ud800" else b'{"text": "\\ud800"}'
    for action in ("reply", "notes"):
        headers = {**api.bearer("anna"), "Idempotency-Key": action, "If-Match": "*", "Content-Type": "application/json"}
        document = check(await api.http.post(f"{path}/{action}", content=body, headers=headers), 422, "invalid_request")
        assert [error["where"] for error in document["errors"]] == ["body.text"]


async def test_values_are_never_repeated(api: Client) -> None:
    path = await api.held()
    asked: list[tuple[str, object]] = [
        ("reply", {"text": ["secret"]}),
        ("reply", "secret"),
        ("decline", {"reason": "secret" * 100}),
        ("resolve", {"reason": "secret\x00"}),
        ("transfer", {"agent_id": "secret"}),
        ("language", {"language": "secret"}),
    ]
    for action, body in asked:
        answer = await api.post(f"{path}/{action}", body=body)
        check(answer, 422, "invalid_request")
        assert "secret" not in answer.text
    assert "secret" not in (await api.get("/v1/conversations?language=secret&cursor=secret")).text


@pytest.mark.parametrize("body", [b"{", b"\xff\xfe", b"[" * 100_000, b'{"text": 1e999}', b"null", b""])
async def test_a_body_that_cannot_be_read(api: Client, body: bytes) -> None:
    path = await api.held()
    headers = {**api.bearer("anna"), "Idempotency-Key": "k", "If-Match": "*", "Content-Type": "application/json"}
    answer = await api.http.post(f"{path}/reply", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("says_its_length", [True, False])
async def test_a_body_that_is_too_large_is_not_read_to_its_end(api: Client, says_its_length: bool) -> None:
    sent = 0

    async def pieces() -> Any:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b"x" * 100_000

    headers = {**api.bearer("anna"), "Idempotency-Key": "k", "Content-Type": "application/json"}
    if says_its_length:
        headers["Content-Length"] = "10000000"
    for action in ("reply", "accept"):
        path = f"/v1/conversations/{new_id()}/{action}"
        sent = 0
        check(await api.http.post(path, content=pieces(), headers=headers), 413, "content_too_large")
        assert sent <= 11


@pytest.mark.parametrize(
    "cursor",
    [
        "nothing",
        "%00",
        "ä",
        "=",
        ["2026-11-23T09:00:00", str(new_id())],
        ["2026-11-23T09:00:00Z", "7"],
        ["0001-01-01T00:00:00+14:00", str(new_id())],
        ["9999-12-31T23:59:59-14:00", str(new_id())],
        ["9999-12-31T23:59:59.999999Z", str(new_id())],
        {"at": "2026-11-23T09:00:00Z"},
    ],
)
async def test_a_cursor_that_somebody_tampered_with(api: Client, w: World, cursor: object) -> None:
    await w.fetch("UPDATE config.agent SET role = 'admin' WHERE handle = 'sam'")
    await w.fetch("UPDATE config.revision SET n = n + 1")
    await api.received()
    customer = await w.value("SELECT id FROM router.customer")
    given = cursor if isinstance(cursor, str) else base64.urlsafe_b64encode(msgspec.json.encode(cursor)).decode()
    for listing in ("/v1/conversations", f"/v1/customers/{customer}/timeline", "/v1/dead"):
        check(await api.get(f"{listing}?cursor={given}", "sam"), 400, "bad_cursor")


async def test_a_change_says_what_it_needs(api: Client) -> None:
    path = await api.offered("anna")
    check(await api.post(f"{path}/accept", etag=None), 428, "no_if_match")
    check(await api.http.post(f"{path}/accept", headers=api.bearer("anna") | {"If-Match": "*"}), 400,
          "no_idempotency_key")  # fmt: skip
    for stale in ('"1"', 'W/"1"', "1", '"1", "2"', ""):
        refused = await api.post(f"{path}/accept", etag=stale)
        check(refused, 412, "changed")
    assert (await api.post(f"{path}/accept", etag=f'"1", {refused.headers["etag"]}')).status_code == 200


async def test_a_lock_that_somebody_holds_too_long_is_a_conflict(api: Client, w: World) -> None:
    path = await api.offered("anna")
    async with w.router.transaction() as tx:
        await tx.fetch("SELECT FROM router.conversation FOR UPDATE")
        refused = await asyncio.wait_for(api.post(f"{path}/accept"), 10)
    check(refused, 409, "busy")
    assert refused.headers["retry-after"] == "1"
    assert (await api.post(f"{path}/accept")).status_code == 200


async def test_a_database_that_is_away_is_said_with_when_to_come_back(api: Client, w: World) -> None:
    await w.api.close()
    refused = await api.get("/v1/conversations")
    check(refused, 503, "unavailable")
    assert refused.headers["retry-after"] == "5"


async def test_what_nobody_thought_of_shows_no_traceback_and_logs_no_words(
    api: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> Any:
        raise ZeroDivisionError("secret")

    path = await api.held()
    chat = replace(api.parts.channels["chat"], may_write=broken)
    api.app.state.api = replace(api.parts, channels={"chat": chat})
    with caplog.at_level(logging.ERROR):
        failed = await api.get(path)
    check(failed, 500, "internal")
    assert "secret" not in failed.text
    assert "Traceback" not in failed.text
    assert [record.getMessage() for record in caplog.records] == ["a request failed: ZeroDivisionError"]
