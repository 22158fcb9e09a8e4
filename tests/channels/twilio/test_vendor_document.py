"""Our requests and the tables' answers, held against Twilio's own OpenAPI document where that is at hand."""

from typing import Any

import pytest

from tests.channels.tables import Table, tables
from tests.vendor_documents import MESSAGES, answer_schema, errors, twilio

SENT = [t for name in ("twilio_sms", "twilio_whatsapp") for t in tables("outbound", name) if "request" in t.data]
# A made-up answer, which the vendor never gave.
BROKEN = {"created_without_an_id"}


@pytest.fixture(scope="module")
def operation() -> Any:
    return twilio()["paths"][MESSAGES]["post"]


@pytest.mark.parametrize("table", SENT, ids=str)
def test_our_requests_are_as_documented(operation: Any, table: Table) -> None:
    request = table.data["request"]
    assert request["url"].startswith("https://api.twilio.com/2010-04-01/Accounts/AC")
    (kind,) = operation["requestBody"]["content"]
    assert request["headers"]["content-type"] == kind
    schema = operation["requestBody"]["content"][kind]["schema"]
    assert set(request["body"]) <= set(schema["properties"])
    body = {name: _typed(schema["properties"][name], value) for name, value in request["body"].items()}
    assert errors(schema, body) == []


def _typed(schema: Any, value: Any) -> Any:
    """A form has no lists: a repeated name is one."""
    return [value] if schema.get("type") == "array" and isinstance(value, str) else value


@pytest.mark.parametrize("table", SENT, ids=str)
def test_the_answers_of_the_tables_are_as_documented(operation: Any, table: Table) -> None:
    answer = table.data["vendor_answer"]
    if answer["status"] != 201:
        # The document declares no error.
        assert answer["status"] >= 400
        return
    assert errors(answer_schema(operation, "201"), answer["body"]) == []
    assert table.name in BROKEN or answer["body"]["sid"]
