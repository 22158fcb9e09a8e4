"""Our requests and the tables' answers, held against Mirakl's own OpenAPI document where that is at hand."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from jsonschema import Draft202012Validator

from tests.channels.tables import Table, tables

FOLDER = os.environ.get("DRAGOMAN_VENDOR_SPECS")
if FOLDER is None:
    reason = "set DRAGOMAN_VENDOR_SPECS to the folder of the vendors' documents, with mirakl/seller_api.json in it"
    pytest.skip(reason, allow_module_level=True)

DOCUMENT = Path(FOLDER) / "mirakl" / "seller_api.json"
PATHS = {
    "/api/inbox/threads": "/api/inbox/threads",
    "/api/orders": "/api/orders",
    "message": "/api/inbox/threads/{thread_id}/message",
    "thread": "/api/inbox/threads/{thread_id}",
}
# Said in the document's prose on seek and offset pagination, not among the parameters.
PAGING = {"/api/inbox/threads": {"limit", "page_token"}, "/api/orders": {"max", "offset"}}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DOCUMENT.read_text("utf-8"))
    return found


def exchanges() -> Iterator[Any]:
    """Every request of the tables with the answer to it."""
    for direction in ("inbound", "outbound", "ask"):
        for table in tables(direction, "mirakl"):
            for n, (request, answer) in enumerate(_calls(table)):
                yield pytest.param(request, answer, table.data.get("not_as_documented"), id=f"{direction}-{table}-{n}")


def _calls(table: Table) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    if "calls" in table.data:
        return [(call["request"], call["answer"]) for call in table.data["calls"]]
    return [(table.data["request"], table.data["vendor_answer"])] if "request" in table.data else []


def path_of(request: dict[str, Any]) -> str:
    path = urlsplit(request["url"]).path
    return PATHS.get(path) or PATHS["message" if path.endswith("/message") else "thread"]


def operation(document: dict[str, Any], request: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"][path_of(request)][request["method"].lower()]
    return found


def errors(document: dict[str, Any], schema: dict[str, Any], value: Any) -> list[str]:
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value) if not _is_known(e)]


def _is_known(error: Any) -> bool:
    return _is_null_by_example(error) or _is_of_an_excerpt(error)


def _is_null_by_example(error: Any) -> bool:
    """The document calls this date a text, and shows it as null in its own examples."""
    return error.instance is None and list(error.path)[-1:] == ["shop_reply_needed_since"]


def _is_of_an_excerpt(error: Any) -> bool:
    """An order has dozens of required fields; the tables show those that we read."""
    return error.validator == "required" and list(error.path)[:1] == ["orders"]


@pytest.mark.parametrize(("request_", "answer", "odd"), list(exchanges()))
def test_our_requests_are_as_documented(
    document: dict[str, Any], request_: dict[str, Any], answer: Any, odd: Any
) -> None:
    found = operation(document, request_)
    given = dict(parse_qsl(urlsplit(request_["url"]).query))
    known = {p["name"]: p["schema"] for p in found["parameters"] if p["in"] == "query"}
    assert set(given) <= set(known) | PAGING.get(path_of(request_), set())
    assert given["shop_id"].isdigit()
    if request_["method"] == "POST":
        _check_parts(document, found, request_["body"])


def _check_parts(document: dict[str, Any], found: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    schema = found["requestBody"]["content"]["multipart/form-data"]["schema"]
    (message,) = [part for part in parts if part["name"] == "message_input"]
    files = [part["body"] for part in parts if part["name"] == "files"]
    given = {"message_input": message["body"]} | ({"files": files} if files else {})
    assert errors(document, schema, given) == []
    assert {part["name"] for part in parts} <= set(schema["properties"])
    assert message["content-type"] == "application/json"
    assert all(part["filename"] for part in parts if part is not message)


@pytest.mark.parametrize(("request_", "answer", "odd"), list(exchanges()))
def test_the_answers_of_the_tables_are_as_documented_or_say_how_not(
    document: dict[str, Any], request_: dict[str, Any], answer: dict[str, Any], odd: str | None
) -> None:
    responses = operation(document, request_)["responses"]
    if str(answer["status"]) not in responses:
        # The document declares no error.
        assert answer["status"] >= 400
        return
    schema = responses[str(answer["status"])]["content"]["application/json"]["schema"]
    found = errors(document, schema, answer["body"])
    assert bool(found) == bool(odd), found
