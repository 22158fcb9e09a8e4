"""Identifiers: UUIDv7 for what we make, uuid5 for what must come out the same whenever it is computed again."""

from uuid import UUID

import uuid_utils

# Names our ids of outside facts; changing it would make every known message new.
NAMESPACE = uuid_utils.UUID("6d1f6a52-6f0e-5f0b-9a41-0d2a9c0f7d11")


def new_id() -> UUID:
    """A fresh UUIDv7: ids made later sort later."""
    return UUID(int=uuid_utils.uuid7().int)


def derived_id(*parts: object) -> UUID:
    """The same parts give the same id, in every process and for ever."""
    return UUID(int=uuid_utils.uuid5(NAMESPACE, "\x1f".join(map(str, parts))).int)
