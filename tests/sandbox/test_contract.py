"""The marketplace's stand-in against the vendor's own seller OpenAPI, where DRAGOMAN_VENDOR_SPECS names its folder."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from services.sandbox.commands import File, MiraklMessage
from tests.sandbox.conftest import World
from tests.sandbox.test_mirakl import WRONG_ANSWERS

FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time", raises=ValueError)
def is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@pytest.fixture(scope="module")
def contract() -> Any:
    folder = os.environ.get("DRAGOMAN_VENDOR_SPECS")
    if not folder:
        pytest.skip("DRAGOMAN_VENDOR_SPECS names no folder with mirakl/seller_api.json (Mirakl's seller OpenAPI)")
    return json.loads((Path(folder) / "mirakl" / "seller_api.json").read_text("utf-8"))


def validator(contract: Any, schema: str) -> Draft202012Validator:
    schemas = {name: _nullable(value) for name, value in contract["components"]["schemas"].items()}
    whole = {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": schemas}}
    return Draft202012Validator(whole, format_checker=FORMATS)


def _nullable(schema: Any) -> Any:
    """The contract says only in words which fields may be null."""
    properties = {
        name: value | {"type": [value["type"], "null"]}
        if "type" in value and "Null when" in value.get("description", "")
        else value
        for name, value in schema.get("properties", {}).items()
    }
    return schema | {"properties": properties}


def a_lively_thread(world: World) -> str:
    file = File(name="photo.jpg", content=b"a")
    message = MiraklMessage(shop="2001", customer="Marie", text="Bonjour", order="o-1-A", channel="FR", files=(file,))
    thread = str(world.sandbox.mirakl_writes(message)["thread_id"])
    for sender in ("operator", "shop", "customer"):
        more = MiraklMessage(shop="2001", customer="Marie", text="Bonjour", thread=thread, sender=sender)  # type: ignore[arg-type]
        world.sandbox.mirakl_writes(more)
    return thread


async def test_every_answer_fits_its_schema(contract: Any, world: World) -> None:
    thread = a_lively_thread(world)
    for _ in range(10):
        world.sandbox.mirakl_writes(MiraklMessage(shop="2001", customer="Paul", text="Bonjour"))
    for schema, path, query in [
        ("M11_Response_200", "/api/inbox/threads", {"limit": 10}),
        ("M11_Response_200", "/api/inbox/threads", {"with_messages": "true"}),
        ("M10_Response_200", f"/api/inbox/threads/{thread}", {}),
        ("OR11_Response_200", "/api/orders", {"order_ids": "o-1-A"}),
    ]:
        answer = await world.mirakl(path, **query)
        assert answer.status_code == 200
        validator(contract, schema).validate(answer.json())
    answered = await world.answer(thread)
    assert answered.status_code == 201
    validator(contract, "M12_Response_201").validate(answered.json())
    unread = (await world.mirakl(f"/api/inbox/threads/{thread}")).json()
    assert unread["metadata"]["shop_reply_needed_since"] is None
    validator(contract, "M10_Response_200").validate(unread)


async def test_what_the_contract_refuses_is_refused_and_its_example_is_taken(contract: Any, world: World) -> None:
    allowed = validator(contract, "M12_Request_MultipartFormData_MessageInput")
    thread = a_lively_thread(world)
    refused = [message for message in WRONG_ANSWERS.values() if not allowed.is_valid(message)]
    assert len(refused) >= 7
    assert [(await world.answer(thread, message)).status_code for message in refused] == [400] * len(refused)
    operation = contract["paths"]["/api/inbox/threads/{thread_id}/message"]["post"]
    content = operation["requestBody"]["content"]["multipart/form-data"]
    example = content["examples"]["multipart/form-data-auto"]["value"]["message_input"]
    # The example's id is a placeholder, and an operator has none.
    message = example | {"to": [{"type": recipient["type"]} for recipient in example["to"]]}
    assert (await world.answer(thread, message)).status_code == 201
