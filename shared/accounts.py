"""Accounts and inboxes as the services use them: configuration with its secrets opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.errors import InboxMisconfigured

HOOK_TOKEN = "hook_token"  # noqa: S105 - the name of a secret, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbox:
    """One address of one brand inside an account: a page, a number, a shop, a mailbox."""

    id: UUID
    brand_id: UUID
    account_id: UUID
    channel: str
    address: str
    name: str = ""
    locale: str | None = None
    country: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One set of credentials with a vendor, and the inboxes inside it by the vendor's address."""

    id: UUID
    channel: str
    name: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    # A name may have several values at once, newest first, so that each can be rotated.
    secrets: Mapping[str, Sequence[str]] = field(default_factory=dict, repr=False)
    inboxes: Mapping[str, Inbox] = field(default_factory=dict)

    def secret(self, name: str) -> str:
        """The newest value. Raises InboxMisconfigured where there is none."""
        values = self.secrets.get(name)
        if not values:
            raise InboxMisconfigured(f"account {self.id} has no secret {name!r}", code="no_secret")
        return values[0]

    def hook_url(self, address: str) -> str:
        """Where its webhooks come, below our public address; empty where it has no token for them."""
        return next(iter(self.hook_urls(address)), "")

    def hook_urls(self, address: str) -> tuple[str, ...]:
        """All addresses that its webhooks may come to, newest first: several while the token is changed."""
        return tuple(f"{address}/hooks/{self.channel}/{token}" for token in self.secrets.get(HOOK_TOKEN, ()))


@dataclass(frozen=True, slots=True)
class Directory:
    """All accounts at one revision of the configuration."""

    revision: int
    accounts: Mapping[UUID, Account]
    by_hook_token: Mapping[str, Account]
    inboxes: Mapping[UUID, Inbox]

    def account_of(self, inbox_id: UUID) -> Account:
        """Raises InboxMisconfigured for an inbox that is not (or no longer) configured."""
        inbox = self.inboxes.get(inbox_id)
        if inbox is None:
            raise InboxMisconfigured(f"inbox {inbox_id} is not configured", code="unknown_inbox")
        return self.accounts[inbox.account_id]


EMPTY_DIRECTORY = Directory(-1, {}, {}, {})
