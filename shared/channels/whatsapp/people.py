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
    contact = _contact_of(phone, user_id, contacts)
    number = id_ = ""
    for value in (phone, user_id, contact.get("wa_id"), contact.get("user_id")):
        if not value or value in (number[1:], id_):
            continue
        if not isinstance(value, str):
            raise BadPayload("a person's id is not a text", code="not_text")
        match = PHONE.fullmatch(value)
        if match:
            number = number or f"+{match[1]}"
        else:
            id_ = id_ or clean(value)
    if not number and not id_:
        raise BadPayload("the item does not say who it is from", code="no_sender")
    return Person(number, id_, _name_of(contact))


def _contact_of(phone: Any, user_id: Any, contacts: Contacts) -> Mapping[str, Any]:
    found = contacts.get(phone) if isinstance(phone, str) else None
    if found is None and isinstance(user_id, str):
        found = contacts.get(user_id)
    return found or {}


def _name_of(contact: Mapping[str, Any]) -> str:
    """As they call themselves, else their user name."""
    profile = contact.get("profile")
    if not isinstance(profile, dict):
        return ""
    name = profile.get("name") or profile.get("username")
    return clean(name) if isinstance(name, str) else ""


def contacts_of(value: Mapping[str, Any]) -> Contacts:
    """A request's contacts by each of their ids; their order says nothing about the messages."""
    found: dict[str, Mapping[str, Any]] = {}
    contacts = value.get("contacts")
    for contact in contacts if isinstance(contacts, list) else ():
        if isinstance(contact, dict):
            for id_ in (contact.get("wa_id"), contact.get("user_id")):
                if isinstance(id_, str):
                    found[id_] = contact
    return found
