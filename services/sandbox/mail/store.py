"""The mailboxes of the mail stand-in: what was delivered to each address, numbered as IMAP does."""

from dataclasses import dataclass, field
from datetime import datetime
from itertools import count

from shared.clock import utc_now

KEPT = 10_000


@dataclass(slots=True)
class Mail:
    """One mail as it lies in a mailbox; `raw` has CRLF line ends."""

    uid: int
    raw: bytes = field(repr=False)
    at: datetime
    flags: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Mailbox:
    """UIDs grow within one `uidvalidity`; whoever changes that makes every client's cursor void."""

    mails: list[Mail] = field(default_factory=list)
    uidvalidity: int = 1
    next_uid: int = 1

    def by_uid(self, uid: int) -> Mail | None:
        return next((mail for mail in self.mails if mail.uid == uid), None)


class Mailboxes:
    """By address in lower case; a mailbox is there as soon as somebody names it."""

    def __init__(self) -> None:
        self._boxes: dict[str, Mailbox] = {}
        self._validities = count(int(utc_now().timestamp()))

    def of(self, address: str) -> Mailbox:
        """The mailbox of an address."""
        found = self._boxes.get(address.lower())
        if found is None:
            found = self._boxes[address.lower()] = Mailbox(uidvalidity=next(self._validities))
        return found

    def addresses(self) -> list[str]:
        return sorted(self._boxes)

    def deliver(self, address: str, raw: bytes) -> int:
        """Puts a mail into a mailbox, whichever line ends it has; its UID. The oldest go where there are too many."""
        box = self.of(address)
        lines = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        mail = Mail(uid=box.next_uid, raw=lines, at=utc_now())
        box.next_uid += 1
        box.mails.append(mail)
        del box.mails[:-KEPT]
        return mail.uid

    def renumber(self, address: str) -> None:
        """What a server does that lost its index: the same mails under new numbers and another UIDVALIDITY."""
        box = self.of(address)
        box.uidvalidity = next(self._validities)
        for position, mail in enumerate(box.mails, start=1):
            mail.uid = position
        box.next_uid = len(box.mails) + 1

    def forget(self) -> None:
        """Every mailbox is empty and another one than before."""
        self._boxes.clear()
