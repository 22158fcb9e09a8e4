"""Twilio's own OpenAPI document, where DRAGOMAN_VENDOR_SPECS names the folder of the vendors' documents."""

import os
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

MESSAGES = "/2010-04-01/Accounts/{AccountSid}/Messages.json"
FORMATS = FormatChecker(formats=())


@FORMATS.checks("date-time-rfc-2822", raises=(ValueError, TypeError))
def is_rfc_2822(value: object) -> bool:
    return not isinstance(value, str) or parsedate_to_datetime(value).tzinfo is not None


@cache
def twilio() -> dict[str, Any]:
    folder = os.environ.get("DRAGOMAN_VENDOR_SPECS")
    if not folder:
        pytest.skip("DRAGOMAN_VENDOR_SPECS names no folder with twilio/twilio_api_v2010.yaml (Twilio's OpenAPI)")
    with (Path(folder) / "twilio" / "twilio_api_v2010.yaml").open("rb") as file:
        # The one in C: the document has 1.5 MB.
        found: dict[str, Any] = yaml.load(file, yaml.CSafeLoader)
    return found


def errors(schema: Any, value: Any) -> list[str]:
    """What does not fit, as lines for people."""
    whole = {**_nullable(schema), "components": {"schemas": _nullable(twilio()["components"]["schemas"])}}
    found = Draft202012Validator(whole, format_checker=FORMATS).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in found]


def answer_schema(operation: Any, status: str) -> Any:
    return operation["responses"][status]["content"]["application/json"]["schema"]


def _nullable(schema: Any) -> Any:
    """OpenAPI 3.0 says `nullable` where JSON Schema names null as a type."""
    if isinstance(schema, list):
        return [_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _nullable(each) for name, each in schema.items()}
    if schema.get("nullable") is True and "type" in schema:
        inner["type"] = [schema["type"], "null"]
    return inner
