"""The numbers of accounts, who may call for them, and what the vendor remembers."""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.sandbox.stand_in import Connection
from services.sandbox.state import KEPT
from services.sandbox.twilio.messages import WHATSAPP, Message


@dataclass(frozen=True, slots=True)
class Number:
    """A sender of an account: its address with the channel's prefix, and where its owner wants to be told."""

    address: str
    connection: Connection

    @property
    def account_sid(self) -> str:
        return str(self.connection.settings.get("account_sid", ""))

    @property
    def token(self) -> str:
        return self.connection.secrets["auth_token"][0]

    @property
    def hook(self) -> str:
        """As its owner should set it: any failure is tried again."""
        return f"{self.connection.hook_url}#rc=5&rp=all"

    @property
    def service(self) -> str:
        return str(self.connection.inboxes[self.address.removeprefix(WHATSAPP)].get("messaging_service_sid", ""))


@dataclass(slots=True)
class Known:
    """What the vendor remembers; `clear` forgets all of it."""

    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=KEPT))
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    # By number and customer: who wants nothing, and when they last wrote.
    stopped: set[tuple[str, str]] = field(default_factory=set)
    heard: dict[tuple[str, str], datetime] = field(default_factory=dict)
    fates: deque[list[Any]] = field(default_factory=deque)

    def clear(self) -> None:
        for collection in (self.messages, self.files, self.stopped, self.heard, self.fates):
            collection.clear()


def numbers_of(connection: Connection) -> list[Number]:
    prefix = WHATSAPP if connection.channel.endswith("whatsapp") else ""
    return [Number(prefix + address, connection) for address in connection.inboxes]


def callers_of(connection: Connection) -> list[tuple[tuple[str, str], str]]:
    """Who may call for which account: the account itself, and its API key."""
    sid = str(connection.settings.get("account_sid", ""))
    key = str(connection.settings.get("api_key_sid", ""))
    own = [((sid, token), sid) for token in connection.secrets.get("auth_token", ())]
    return own + [((key, secret), sid) for secret in connection.secrets.get("api_key_secret", ()) if key]
