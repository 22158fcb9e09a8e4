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
# When it was written, when it reached us, and which it is.
TimelinePlace = tuple[datetime, datetime, UUID]


def write_cursor(*place: datetime | UUID) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode()


def read_cursor(cursor: str | None) -> Place | None:
    """Raises Problem 400 for a cursor that is not one of ours."""
    place: Place | None = _read(cursor, Place)
    return place


def read_timeline_cursor(cursor: str | None) -> TimelinePlace | None:
    """As `read_cursor`, for a timeline."""
    place: TimelinePlace | None = _read(cursor, TimelinePlace)
    return place


def _read(cursor: str | None, form: Any) -> Any:
    if cursor is None:
        return None
    try:
        place = msgspec.json.decode(base64.urlsafe_b64decode(cursor.encode()), type=form)
    except (ValueError, msgspec.DecodeError):
        raise _not_ours() from None
    if any(at.tzinfo is None or not EARLIEST <= at <= LATEST for at in place[:-1]):
        raise _not_ours()
    return place


def _not_ours() -> Problem:
    return Problem(400, "bad_cursor", "The cursor is not one of ours; begin without one")


def next_cursor(rows: Sequence[dict[str, Any]], limit: int, *at: str) -> str | None:
    """The cursor of the next page, None on the last."""
    return write_cursor(*(rows[-1][name] for name in at), rows[-1]["id"]) if len(rows) == limit else None
