"""What the examples of all documents share."""

from typing import Any

from pydantic import ConfigDict

ID = "01936f5a-7c00-7000-8000-000000000001"

ANNA = "01936f5a-7c00-7000-8000-00000000000a"

# FastAPI leaves out what is None in an example, so none is.
NEXT = "WyIyMDI2LTExLTIzVDA5OjAwOjAwWiIsIjAxOTM2ZjVhLTdjMDAtNzAwMC04MDAwLTAwMDAwMDAwMDAwMSJd"

AT, DUE = "2026-11-23T09:00:00Z", "2026-11-23T10:00:00Z"


def shown(**example: Any) -> ConfigDict:
    """The configuration of a document that shows this example of itself."""
    return ConfigDict(json_schema_extra={"examples": [example]})
