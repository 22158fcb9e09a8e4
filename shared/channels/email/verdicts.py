"""What a mail server's answer means, as a table: the enhanced code first, then the basic one, then its words.

Source: RFC 5321 §4.2, RFC 3463 and the IANA registry of enhanced status codes; Google's and Microsoft's published
lists of their servers' answers for the codes that only they give.
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from shared.errors import (
    AccountBroken,
    DragomanError,
    InboxBroken,
    Rejected,
    Throttled,
    Unavailable,
)

Stage = Literal["connect", "login", "sender", "recipient", "data"]
Kind = Literal["wait", "retry", "refuse", "account", "inbox"]

ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?=\s|$)")
SECONDS = {"s": 1, "m": 60, "h": 3600}
WAIT = re.compile(r"\b(?:in|after|wait)\s+(\d{1,5})\s*(s|m|h)", re.IGNORECASE)
WAIT_MARGIN = timedelta(seconds=10)
LONGEST_WAIT = timedelta(hours=4)
GREYLISTED, LIMITED, FULL, SAYS_LATER = (timedelta(minutes=n) for n in (5, 15, 60, 30))

GREYLIST = r"gr[ea]y-?list|postgrey|try again|come back|deferred"
RATE = r"\brate\b|throttl|too many|unusual|tss0"
QUOTA = r"quota|full|storage|over ?limit"
NOBODY = (
    r"no such (user|recipient|mailbox|address)|unknown (user|recipient|mailbox)|unknown local|"
    r"(user|recipient|mailbox|address)[^.]{0,40} (unknown|not found|does ?n[o']t exist)"
)


@dataclass(frozen=True, slots=True)
class Row:
    """Holds where `answer` matches all of "basic enhanced" (enhanced may be empty) and `words` are in the text."""

    kind: Kind
    code: str
    answer: str
    words: str = ""
    stages: tuple[Stage, ...] = ()
    wait: timedelta | None = None

    def holds(self, stage: Stage, answer: str, text: str) -> bool:
        return (
            (not self.stages or stage in self.stages)
            and re.fullmatch(self.answer, answer) is not None
            and (not self.words or re.search(self.words, text, re.IGNORECASE) is not None)
        )


LOGIN: tuple[Stage, ...] = ("login",)
ENVELOPE: tuple[Stage, ...] = ("recipient", "data")

# The first that holds decides.
ROWS = (
    # the account
    Row("account", "login_method_off", r"... 5\.7\.(30|139)"),
    Row("account", "login_refused", r"(432 4\.7\.12|(530|534|535|538) .*)"),
    Row("retry", "login_unavailable", r"4.. .*", stages=LOGIN),
    Row("account", "login_refused", r"5.. .*", stages=LOGIN),
    # greylisting and limits, which a server tells apart only in words
    Row("wait", "rate_limited", r"... 4\.7\.28", wait=LIMITED),
    Row("wait", "greylisted", r"45[01] (|4\.2\.0|4\.7\.\d+)", GREYLIST, wait=GREYLISTED),
    Row("wait", "rate_limited", r"(421|45[0-4]) (|4\.7\.\d+)", RATE, wait=LIMITED),
    Row("wait", "too_many_recipients", r"452 (4\.5\.3|)", r"recipient", wait=timedelta(minutes=1)),
    Row("wait", "mailbox_full", r"4.. 4\.2\.2", wait=FULL),
    Row("wait", "mailbox_full", r"45. ", QUOTA, wait=FULL),
    Row("retry", "service_closing", r"421 .*"),
    Row("retry", "temporary", r"4.. .*"),
    # the connection: another server of theirs may take it, or this one later
    Row("wait", "refused_at_greeting", r"5.. .*", stages=("connect",), wait=LIMITED),
    # size, whatever was said last
    Row("refuse", "too_large", r"(523|552|554) 5\.(2|3)\.(3|4)"),
    Row("refuse", "too_large", r"(523|552) ", r"size|large|big", stages=("sender", "data")),
    # who sends
    Row("refuse", "smtputf8_unsupported", r"5.. 5\.6\.7"),
    Row("inbox", "sender_refused", r"5.. .*", stages=("sender",)),
    Row("refuse", "sender_not_authenticated", r"550 5\.7\.(23|25|26|27|509|515)"),
    # who receives
    Row("refuse", "domain_takes_no_mail", r"556 .*"),
    Row("refuse", "domain_takes_no_mail", r"5.. 5\.1\.10", r"null ?mx|accepts? no mail|does not accept"),
    Row("refuse", "bad_address", r"501 .*", stages=("recipient",)),
    Row("refuse", "no_such_address", r"5.. 5\.1\.(1|2|3|6|10)"),
    Row("refuse", "no_such_address", r"550 5\.4\.1", stages=("recipient",)),
    Row("refuse", "no_such_address", r"553 5\.1\.\d+"),
    Row("refuse", "mailbox_full", r"5.. 5\.2\.2"),
    Row("refuse", "mailbox_full", r"552 ", QUOTA),
    Row("refuse", "mailbox_disabled", r"5.. 5\.2\.1"),
    Row("refuse", "user_moved", r"551 .*"),
    Row("refuse", "mail_loop", r"5.. 5\.4\.(6|14)"),
    Row("refuse", "content_refused", r"5.. 5\.6\.\d+"),
    # some say 5xx and mean later
    Row("wait", "says_later", r"5.. ", r"try again later|temporar", ENVELOPE, SAYS_LATER),
    Row("refuse", "refused_by_policy", r"5.. 5\.7\.\d+"),
    Row("refuse", "no_such_address", r"55[03] ", NOBODY, stages=("recipient",)),
    # what is left
    Row("refuse", "command_refused", r"(50\d|555) .*|5.. 5\.5\.\d+"),
    Row("refuse", "refused", r"5.. .*"),
)


def error_of(stage: Stage, basic: int, text: str) -> DragomanError:
    """What the answer at a stage means. The text of it never gets into the error: it names addresses."""
    match = ENHANCED.match(text)
    enhanced = match[1] if match else ""
    answer = f"{basic} {enhanced}"
    row = next((row for row in ROWS if row.holds(stage, answer, text)), None)
    if row is None:
        return Unavailable(f"the mail server answered {answer.strip()}", code="unexpected_answer")
    told = f"the mail server answered {answer.strip()}: {row.code.replace('_', ' ')}"
    match row.kind:
        case "account":
            return AccountBroken(told, code=row.code)
        case "inbox":
            return InboxBroken(told, code=row.code)
        case "refuse":
            return Rejected(told, code=row.code)
        case "wait":
            return Throttled(told, code=row.code, retry_after=_asked(text) or row.wait)
        case "retry":
            asked = _asked(text)
            return Throttled(told, code=row.code, retry_after=asked) if asked else Unavailable(told, code=row.code)


def _asked(text: str) -> timedelta | None:
    """How long the answer's words say to wait, and a little more; four hours at most."""
    match = WAIT.search(text)
    if match is None:
        return None
    return min(timedelta(seconds=int(match[1]) * SECONDS[match[2].lower()]) + WAIT_MARGIN, LONGEST_WAIT)
