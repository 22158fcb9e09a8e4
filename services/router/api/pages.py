"""Keyset pages: a cursor is the last row's place, so pages neither skip nor repeat while rows come and go."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query

from services.router.api.problems import Problem

Limit = Annotated[int, Query(ge=1, le=200, description="Rows of a page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]


def write_cursor(at: datetime, id_: UUID) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([at, id_])).decode()


def read_cursor(cursor: str | None) -> tuple[datetime, UUID] | None:
    """Raises Problem 400 for a cursor that is not one of ours."""
    if cursor is None:
        return None
    try:
        value = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=tuple[datetime, UUID])
    except (ValueError, msgspec.DecodeError):
        raise Problem(400, "bad_cursor", "The cursor is not one of ours; begin without one") from None
    if value[0].tzinfo is None:
        raise Problem(400, "bad_cursor", "The cursor is not one of ours; begin without one")
    return value


def next_cursor(rows: Sequence[dict[str, Any]], limit: int, at: str) -> str | None:
    """The cursor of the next page, None on the last."""
    return write_cursor(rows[-1][at], rows[-1]["id"]) if len(rows) == limit else None
