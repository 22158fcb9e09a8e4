"""Our requests, and the vendor's example webhooks, held against Meta's own OpenAPI document where that is at hand.

The document writes every kind of message as `allOf` of two closed objects, which nothing could fit; here each is read
as one object with the properties of both.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from shared.channels.contract import BadItem, Item
from shared.channels.whatsapp import channel
from tests.channels.tables import Table, a_hook, tables
from tests.channels.whatsapp.sample import ACCOUNT

FOLDER = os.environ.get("DRAGOMAN_VENDOR_SPECS")
if FOLDER is None:
    reason = "set DRAGOMAN_VENDOR_SPECS to the folder of the vendors' documents, with meta/business-messaging-api in it"
    pytest.skip(reason, allow_module_level=True)

DOCUMENT = Path(FOLDER) / "meta" / "business-messaging-api_v23.0.yaml"
MESSAGES = "/{Version}/{Phone-Number-ID}/messages"
# Younger than the document (business-scoped user ids), or said in the vendor's prose alone.
NOT_IN_THE_DOCUMENT = {"biz_opaque_callback_data", "recipient"}
# What the document's example webhooks hold.
MESSAGE, SILENT = ["MessageReceived"], list[str]()
EXAMPLES = {
    "Text Message": MESSAGE,
    "Text Message with Context (Product Inquiry)": MESSAGE,
    "Text Message from Click to WhatsApp Ad": MESSAGE,
    "Reaction Message": MESSAGE,
    "Image Message": MESSAGE,
    "Location Message": MESSAGE,
    "Contact Sharing Message": MESSAGE,
    "Unsupported Message": ["Unrecognised"],
    "Button Message": MESSAGE,
    "Interactive List Reply Message": MESSAGE,
    "Interactive Button Reply Message": MESSAGE,
    "Order Message": MESSAGE,
    "System Message": ["IdentityChanged"],
    "Group Create Message": SILENT,
    "Group Settings Update": SILENT,
    "Group Remove Participants": SILENT,
}
OUTBOUND = [table for table in tables("outbound", "whatsapp") if "request" in table.data]


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(DOCUMENT.read_text("utf-8"), Loader=loader)
    return found


def schema_of(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """A message's kind as one closed object."""
    schemas = document["components"]["schemas"]
    (name,) = [ref["$ref"].rpartition("/")[2] for ref in schemas["Message"]["oneOf"] if _is(schemas, ref, kind)]
    base, own = schemas["BaseMessageProperties"], schemas[name]["allOf"][1]
    younger = {name: {"type": "string"} for name in NOT_IN_THE_DOCUMENT}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": base["properties"] | own["properties"] | younger,
        "required": [*base["required"], *own["required"]],
    }


def _is(schemas: dict[str, Any], ref: dict[str, str], kind: str) -> bool:
    own = schemas[ref["$ref"].rpartition("/")[2]]["allOf"][1]
    return kind in own["properties"]["type"]["enum"]


def errors(document: dict[str, Any], schema: dict[str, Any], value: Any) -> Iterator[str]:
    validator = Draft202012Validator({**schema, "components": document["components"]})
    return (f"{error.json_path}: {error.message}" for error in validator.iter_errors(value))


@pytest.mark.parametrize("table", OUTBOUND, ids=str)
def test_our_messages_are_as_documented(document: dict[str, Any], table: Table) -> None:
    request = table.data["request"]
    assert request["method"].lower() in document["paths"][MESSAGES]
    body = dict(request["body"])
    if "recipient" in body:
        # Where there is no number the younger field stands in its place.
        assert "to" not in body
        body["to"] = "19505550005"
    assert list(errors(document, schema_of(document, body["type"]), body)) == []


def test_the_check_finds_what_is_wrong(document: dict[str, Any]) -> None:
    good = next(table for table in OUTBOUND if table.name == "text").data["request"]["body"]
    for change in (
        {"to": 5}, {"text": {"body": 5}}, {"text": {"words": "a"}}, {"mood": "good"}, {"recipient_type": "crowd"},
        {"context": {"message_id": 1}},
    ):  # fmt: skip
        assert list(errors(document, schema_of(document, "text"), good | change))


@pytest.mark.parametrize("table", OUTBOUND, ids=str)
def test_the_answers_of_the_tables_are_as_documented(document: dict[str, Any], table: Table) -> None:
    answer = table.data["vendor_answer"]
    if answer["status"] != 200 or not isinstance(answer["body"], dict) or "error" in answer["body"]:
        return
    schema = {"$ref": "#/components/schemas/MessageResponsePayload"}
    assert list(errors(document, schema, answer["body"])) == []


def test_every_webhook_of_the_documents_examples_is_read(document: dict[str, Any]) -> None:
    """By example: the schemas of messages in and out have the same names there, and those out are what is left."""
    content = document["paths"]["/whatsapp/webhooks"]["post"]["requestBody"]["content"]["application/json"]
    found: dict[str, list[str]] = {}
    for name, example in content["examples"].items():
        items = channel.receive(a_hook(example["value"]), ACCOUNT).items
        assert not [item for item in items if isinstance(item, BadItem)], name
        found[name] = [type(item.data).__name__ for item in items if isinstance(item, Item)]
    assert found == EXAMPLES
