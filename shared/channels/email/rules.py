"""What a reply by e-mail needs of the mail that it answers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from shared.errors import Rejected

VERSION = 1
THREAD = re.compile(r"(?:[0-9a-f]{20})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Whom to answer, and what the answer's header says of the mail that it answers.

    `message_id` and `references` are with their angle brackets, oldest first; `at` is when that mail was written,
    `automatic` that a machine wrote it, `thread` our name of the exchange that it belongs to.
    """

    to: str
    to_name: str = ""
    cc: Sequence[str] = ()
    subject: str = ""
    message_id: str = ""
    references: Sequence[str] = ()
    at: datetime
    automatic: bool = False
    thread: str = ""

    def encode(self) -> bytes:
        value: dict[str, Any] = msgspec.to_builtins(self)
        return msgspec.json.encode({"v": VERSION} | value)

    @classmethod
    def decode(cls, value: bytes) -> "Context":
        """Raises Rejected for a value that this channel did not make."""
        try:
            if msgspec.json.decode(value, type=_Version).v != VERSION:
                raise ValueError("another version")
            context = msgspec.json.decode(value, type=cls)
        except ValueError:
            raise Rejected("the reply does not say which mail it answers", code="bad_reply_context") from None
        if context.at.tzinfo is None:
            raise Rejected("the mail that is answered has no instant", code="bad_reply_context")
        if not THREAD.fullmatch(context.thread):
            raise Rejected("the mail that is answered is of no thread of ours", code="bad_reply_context")
        return context


class _Version(msgspec.Struct):
    v: int
