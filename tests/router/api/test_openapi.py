"""The API's description of itself is complete and true."""

from typing import Any

import jsonschema
import pytest

from tests.router.api.conftest import Client

UNLOCKED = {
    "addNote",
    "withdrawReply",
    "replayReply",
    "replayDead",
    "uploadAttachment",
    "createApiKey",
    "requestCallback",
    "withdrawCallback",
    "createWebhook",
    "rotateWebhookSecret",
    "enableWebhook",
    "disableWebhook",
    "testWebhook",
    "replayAlerts",
}
# What whoever has no token yet may ask.
PUBLIC = {"getSignIn"}


@pytest.fixture
async def document(api: Client) -> dict[str, Any]:
    answer = await api.http.get("/v1/openapi.json")
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(method, operation) for path in document["paths"].values() for method, operation in path.items()]


def required(operation: dict[str, Any]) -> set[str]:
    return {p["name"] for p in operation.get("parameters", ()) if p["in"] == "header" and p["required"]}


async def test_every_operation_has_a_name_a_tag_and_its_problems(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(ids) == len(set(ids))
    for _, operation in operations(document):
        assert operation["tags"]
        if operation["operationId"] in PUBLIC:
            assert "security" not in operation
            continue
        assert operation["security"]
        problems = {s: r for s, r in operation["responses"].items() if not s.startswith("2")}
        assert problems.keys() >= {"401", "403", "422", "429", "503"}
        for problem in problems.values():
            assert list(problem["content"]) == ["application/problem+json"]
            assert problem["content"]["application/problem+json"]["schema"]["$ref"].endswith("/ProblemDocument")


async def test_every_change_documents_what_it_needs(document: dict[str, Any]) -> None:
    for method, operation in operations(document):
        if method != "post":
            continue
        needed = {"Idempotency-Key"} if operation["operationId"] in UNLOCKED else {"Idempotency-Key", "If-Match"}
        assert required(operation) == needed, operation["operationId"]
        assert operation["responses"].keys() >= {"400", "404", "409"}
        assert ("412" in operation["responses"], "428" in operation["responses"]) == ("If-Match" in needed,) * 2


async def test_every_answer_has_an_example_and_every_example_its_form(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    def validate(example: object, schema: dict[str, Any]) -> None:
        jsonschema.validate(example, schema | {"components": document["components"]})

    for _, operation in operations(document):
        success = next(r for s, r in operation["responses"].items() if s.startswith("2"))
        if list(success["content"]) == ["text/event-stream"]:
            continue
        name = success["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[1]
        assert schemas[name]["examples"], name
    for name, schema in schemas.items():
        for example in schema.get("examples", ()):
            assert example.keys() <= schema["properties"].keys(), name
            validate(example, schema)
        for field in schema["properties"].values():
            for example in field.get("examples", ()):
                validate(example, field)
    for _, operation in operations(document):
        for response in operation["responses"].values():
            for media in response["content"].values():
                if "example" in media:
                    validate(media["example"], media["schema"])
