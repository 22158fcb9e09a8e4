"""Keyset pages: a cursor is the last row's place, so pages neither skip nor repeat while rows come and go."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import Query

from services.router.api.problems import Problem
from services.router.store import screens

Limit = Annotated[int, Query(ge=1, le=200, description="Rows of a page")]
Cursor = Annotated[str | None, Query(max_length=500, description="`next` of the page before")]
# Nothing of ours happened before; beyond either, an instant may have no place in the database's calendar.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), screens.NEVER

Place = tuple[datetime, UUID]


def write_cursor(at: datetime, id_: UUID) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode([at, id_])).decode()


def read_cursor(cursor: str | None) -> Place | None:
    """Raises Problem 400 for a cursor that is not one of ours."""
    if cursor is None:
        return None
    try:
        at, id_ = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=Place)
    except (ValueError, msgspec.DecodeError):
        raise _not_ours() from None
    if at.tzinfo is None or not EARLIEST <= at <= LATEST:
        raise _not_ours()
    return at, id_


def _not_ours() -> Problem:
    return Problem(400, "bad_cursor", "The cursor is not one of ours; begin without one")


def next_cursor(rows: Sequence[dict[str, Any]], limit: int, at: str) -> str | None:
    """The cursor of the next page, None on the last."""
    return write_cursor(rows[-1][at], rows[-1]["id"]) if len(rows) == limit else None
