"""Identifiers: UUIDv7 for what we make, uuid5 for what must come out the same whenever it is computed again."""

from functools import lru_cache
from uuid import UUID

import uuid_utils

# Names our ids of outside facts; changing it would make every known message new.
NAMESPACE = uuid_utils.UUID("6d1f6a52-6f0e-5f0b-9a41-0d2a9c0f7d11")


def new_id() -> UUID:
    """A fresh UUIDv7: ids made later sort later."""
    return UUID(int=uuid_utils.uuid7().int)


def derived_id(*parts: object) -> UUID:
    """The same parts give the same id, in every process and for ever."""
    return UUID(int=uuid_utils.uuid5(NAMESPACE, "\x1f".join(map(_text_of, parts))).int)


# Those of brands and inboxes are in every event, and writing one costs as much as finding it five times.
text_of_id = lru_cache(maxsize=10_000)(UUID.__str__)


def _text_of(part: object) -> str:
    return text_of_id(part) if isinstance(part, UUID) else str(part)
