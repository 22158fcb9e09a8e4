"""Whether a machine wrote a mail: one that answers by itself, or one that merely sends.

Source: RFC 3834 (automatic answers), RFC 2369 and 2919 (lists), Microsoft's header of automatic answers.
"""

import re
from email.message import Message
from typing import Literal

from shared.channels.email.bounces import DAEMONS, has_signals
from shared.channels.email.headers import field

Kind = Literal["", "answer", "notice"]

ANSWERS = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-fc-machinegenerated", "x-ms-exchange-inbox-rules-loop")
LISTS = ("list-id", "list-unsubscribe", "list-post", "feedback-id")
SUBJECTS = re.compile(
    r"^\s*(?:automati(?:c|sche)\s+(?:reply|antwort)|automatische antwort|auto(?:matic)?[ -]?(?:reply|response)|"
    r"abwesenheit|out of (?:the )?office|r[ée]ponse automatique|absence du bureau|risposta automatica|fuori sede|"
    r"respuesta autom[áa]tica|fuera de la oficina|resposta autom[áa]tica|automatisch antwoord|afwezig|"
    r"odpowied[źz] automatyczna|autosvar|automatiskt svar|automatisk svar|frånvaro|fravær|automaattinen vastaus|"
    r"poissaolo|自動返信|自動応答|automatická odpov[ěe]ď)",
    re.IGNORECASE,
)


def kind_of(message: Message, sender: str, subject: str) -> Kind:
    """`answer`: nobody waits for an answer to it; `notice`: a person may wait behind it, as behind a shop's form.

    To neither of them anything automatic is answered. A subject alone proves nothing.
    """
    submitted = field(message, "auto-submitted").partition(";")[0].strip().lower()
    precedence = field(message, "precedence").strip().lower() or field(message, "x-precedence").strip().lower()
    if submitted.startswith("auto-replied") or precedence == "auto_reply" or any(field(message, h) for h in ANSWERS):
        return "answer"
    if has_signals(message) or DAEMONS.match(sender):
        return "answer"
    is_silent = bool(field(message, "x-auto-response-suppress"))
    is_notice = submitted not in ("", "no") or precedence in ("bulk", "junk", "list") or any(
        field(message, h) for h in LISTS
    )  # fmt: skip
    if SUBJECTS.match(subject) and (is_silent or is_notice):
        return "answer"
    return "notice" if is_notice else ""
