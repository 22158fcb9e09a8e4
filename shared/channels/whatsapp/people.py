"""Who a WhatsApp user is: by phone number, by business-scoped id, or by both.

Source: Meta for Developers, "WhatsApp Business Platform - Business-scoped user IDs", 2026.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.channels.text import clean
from shared.errors import BadPayload
from shared.events import Address

# Users may hide their number; what is no number is a business-scoped id, wherever it stands.
PHONE = re.compile(r"\+?([0-9]{5,20})")
PHONE_KIND, USER_KIND = "phone", "whatsapp"

Contacts = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Person:
    """`phone` in E.164, `user_id` business-scoped; one of them may be empty."""

    phone: str = ""
    user_id: str = ""
    name: str = ""

    @property
    def peer(self) -> str:
        """How we address them: what replies go to, and what receipts of them name."""
        return self.phone or self.user_id

    @property
    def addresses(self) -> Sequence[Address]:
        """The number first, for it is the same on every channel."""
        known = [(PHONE_KIND, self.phone), (USER_KIND, self.user_id)]
        return [Address(kind=k, value=v, name=self.name, verified_by="channel") for k, v in known if v]


def person(phone: Any, user_id: Any, contacts: Contacts) -> Person:
    """With what the request's contacts add. Raises BadPayload where nothing names anybody."""
    given = [value for value in (phone, user_id) if value is not None]
    contact = next((contacts[value] for value in given if isinstance(value, str) and value in contacts), {})
    profile = contact.get("profile")
    profile = profile if isinstance(profile, dict) else {}
    name = next((n for n in (profile.get("name"), profile.get("username")) if isinstance(n, str) and n), "")
    found = {"phone": "", "user_id": ""}
    for value in (*given, contact.get("wa_id"), contact.get("user_id")):
        if not isinstance(value, str | None):
            raise BadPayload("a person's id is not a text", code="not_text")
        number = PHONE.fullmatch(value or "")
        kind = "phone" if number else "user_id"
        found[kind] = found[kind] or (f"+{number[1]}" if number else clean(value or ""))
    if not found["phone"] and not found["user_id"]:
        raise BadPayload("the item does not say who it is from", code="no_sender")
    return Person(**found, name=clean(name))


def contacts_of(value: Mapping[str, Any]) -> Contacts:
    """A request's contacts by each of their ids; their order says nothing about the messages."""
    found: dict[str, Mapping[str, Any]] = {}
    contacts = value.get("contacts")
    for contact in contacts if isinstance(contacts, list) else ():
        if isinstance(contact, dict):
            ids = (contact.get("wa_id"), contact.get("user_id"))
            found |= {id_: contact for id_ in ids if isinstance(id_, str)}
    return found
