"""Roles and scopes: what a caller may do at all, before it is asked of which brand and with which conversation."""

from collections.abc import Mapping
from typing import Literal

Role = Literal["agent", "supervisor", "admin", "brand"]
# To look; to act; to ask for a customer to be called back; dead letters and keys.
Scope = Literal["read", "write", "callbacks", "admin"]

SCOPES_OF: Mapping[str, frozenset[Scope]] = {
    "agent": frozenset({"read", "write"}),
    "supervisor": frozenset({"read", "write", "callbacks"}),
    "admin": frozenset({"read", "write", "callbacks", "admin"}),
    # A shop's own server.
    "brand": frozenset({"read", "callbacks"}),
}
