"""The words by which people stop messages and want them again, in the languages of our customers.

Where the vendor tells what a word meant to it (`OptOutType`), that holds. A message counts if it is but the word.
Source: Twilio, "Twilio support for opt-out keywords (SMS STOP filtering)", 2026; the words of other languages are those
that senders of these countries customarily offer.
"""

import unicodedata
from typing import Literal

Change = Literal["stop", "start"]

# The vendor itself blocks an SMS sender after these, so nobody could answer anyway.
STOP_BY_VENDOR = frozenset({"stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"})
# As above, without those that answer a question about an order just as well.
STOP_EVERYWHERE = frozenset(
    {
        "stop", "stopall", "stop all", "unsubscribe", "optout", "opt out",
        "stopp", "abmelden", "abbestellen",
        "arret", "arreter", "desabonner", "desinscrire",
        "baja", "darse de baja", "darme de baja",
        "disiscrivimi", "cancellami", "disattiva",
        "afmelden", "uitschrijven",
        "wypisz", "rezygnuje",
        "sair", "descadastrar", "parar",
        "avsluta", "avregistrera", "afmeld", "frameld", "meld av", "avmeld",
        "lopeta", "peru",
        "配信停止", "停止",
    }
)  # fmt: skip
START = frozenset({"start", "unstop"})
# The vendor takes it for a wish to be written to again; people also answer questions with it.
START_BY_VENDOR = START | {"yes"}
TOLD: dict[str, Change] = {"STOP": "stop", "START": "start"}
LONGEST = 40


def change_of(text: str, told: str, *, vendor_blocks: bool) -> Change | None:
    """What the message changes: `told` is the vendor's word on it, `vendor_blocks` whether it acts by itself."""
    if told in TOLD:
        return TOLD[told]
    word = plain(text)
    if word in STOP_EVERYWHERE or (vendor_blocks and word in STOP_BY_VENDOR):
        return "stop"
    return "start" if word in (START_BY_VENDOR if vendor_blocks else START) else None


def is_only_a_keyword(text: str) -> bool:
    """Whether the message of somebody who starts again says nothing else."""
    return plain(text) in START


def plain(text: str) -> str:
    """A short text without accents, case, punctuation around it, and doubled spaces; empty where it is longer."""
    if len(text) > LONGEST:
        return ""
    letters = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(c for c in letters if unicodedata.category(c) not in ("Mn", "Cf"))
    return " ".join(bare.split()).strip(" .,;:!?\"'„“”«»()*_-¡¿。！")
