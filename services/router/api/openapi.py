"""The API's description of itself: what FastAPI derives, and what it cannot know."""

from typing import Any

from fastapi import FastAPI

from services.router.api.problems import ProblemDocument

REF = "#/components/schemas/{model}"
# Their absence has an answer of its own, so to FastAPI they are optional.
REQUIRED = ("If-Match", "Idempotency-Key")
VERSIONED = (REF.format(model="ConversationDocument"), REF.format(model="Changed"))
REPLAYED = {"description": "`true` where this is the answer of an earlier request", "schema": {"type": "string"}}
ETAG = {"description": "The version, for `If-Match`", "schema": {"type": "string"}}


class Documented(FastAPI):
    """Its OpenAPI document says which headers a change needs and what a problem looks like."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = _completed(super().openapi())
        return self.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    problem = ProblemDocument.model_json_schema(ref_template=REF)
    schemas = document["components"]["schemas"]
    schemas |= problem.pop("$defs", {}) | {"ProblemDocument": problem}
    for path in document["paths"].values():
        for operation in path.values():
            _complete(operation)
    return document


def _complete(operation: dict[str, Any]) -> None:
    needed = [parameter for parameter in operation.get("parameters", ()) if parameter["name"] in REQUIRED]
    for parameter in needed:
        parameter["required"] = True
        schema = parameter["schema"]
        schema |= next(choice for choice in schema.pop("anyOf") if choice["type"] != "null")
    success = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
    headers = success.setdefault("headers", {})
    if any(parameter["name"] == "Idempotency-Key" for parameter in needed):
        headers["Idempotency-Replayed"] = REPLAYED
    shown = success["content"].get("application/json", {"schema": {}})["schema"]
    if shown.get("$ref") in VERSIONED:
        headers["ETag"] = ETAG
