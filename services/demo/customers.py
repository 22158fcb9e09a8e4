"""Who writes: on which channel, in which language, what, and what is special about it."""

import base64
import re
import secrets
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

# `answered` in words, `refused` by the vendor for good, `called` back by telephone.
Fate = Literal["answered", "refused", "called"]
# By its number of the order everybody finds a message again, and an agent knows that it is the demo's.
ORDER = re.compile(r"\bK\d{5}-\d{2}\b")

WORDS: Mapping[str, str] = {
    "de": "Guten Tag, wo bleibt meine Bestellung {order}? Ich warte schon seit zwei Wochen darauf.",
    "fr": "Bonjour, où est ma commande {order} ? Je l'attends depuis deux semaines déjà.",
    "it": "Buongiorno, dov'è il mio ordine {order}? Lo aspetto ormai da due settimane.",
    "es": "Hola, ¿dónde está mi pedido {order}? Lo espero desde hace ya dos semanas.",
    "nl": "Goedendag, waar blijft mijn bestelling {order}? Ik wacht er al twee weken op.",
    "pl": "Dzień dobry, gdzie jest moja paczka {order}? Czekam na nią już dwa tygodnie.",
    "en": "Hello, where is my order {order}? I have been waiting for it for two weeks.",
    "sv": "Hej, var är min beställning {order}? Jag har väntat på den i två veckor.",
}
BROKEN = "Bonjour, la lampe de la commande {order} est arrivée cassée, voici dix photos des dégâts."
CALL = "Bitte rufen Sie mich wegen der Bestellung {order} zurück."
ANSWERS: Mapping[str, str] = {
    "de": "Vielen Dank für Ihre Geduld: die Bestellung {order} ist unterwegs und kommt morgen an.",
    "fr": "Merci de votre patience : la commande {order} est en route et arrive demain.",
    "it": "Grazie per la pazienza: l'ordine {order} è in viaggio e arriva domani.",
    "es": "Gracias por su paciencia: el pedido {order} está en camino y llega mañana.",
    "nl": "Dank voor uw geduld: bestelling {order} is onderweg en komt morgen aan.",
    "pl": "Dziękujemy za cierpliwość: zamówienie {order} jest w drodze i dotrze jutro.",
    "en": "Thank you for your patience: order {order} is on its way and arrives tomorrow.",
    "sv": "Tack för ditt tålamod: beställning {order} är på väg och kommer i morgon.",
}

# The first answer is due 60 minutes after they wrote on Messenger, 15 in Great Britain; the second pool of a plan is
# asked after two fifths of that. Vendors bring messages late when they were down: so nobody has to wait here.
ALMOST_DUE = timedelta(minutes=15, seconds=-4)
ALMOST_AT_THE_NEXT_STEP = timedelta(minutes=24, seconds=-6)
PICTURES = 10
GERMAN, ENGLISH = "106540352242901", "106540352242902"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What the vendor does wrong when this customer is answered, in the words of the stand-ins' control.

    `verdict` is how the stand-ins' record of requests names it, or how that begins.
    """

    mode: str
    verdict: str
    says: str
    times: int = 1
    more: Mapping[str, Any] = field(default_factory=dict)


OVERLOADED = Trouble(mode="503", verdict="503", says="is overloaded", times=2, more={"retry_after": 2})
DOWN = Trouble(mode="500", verdict="500", says="is down", more={"operation": "M12"})
LOST = Trouble(
    mode="drop_after_accept", verdict="accepted, then dropped", says="takes the answer and does not say so",
    more={"operation": "send"},
)  # fmt: skip
FOR_GOOD = Trouble(
    mode="error", verdict="refused 131026", says="cannot deliver to this customer",
    more={"operation": "send", "code": 131026},
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    """`inbox` and `address` as the vendor names them; `late` is how long the vendor took to bring the message."""

    name: str
    channel: str
    inbox: str
    language: str
    address: str
    order: str
    words: str = ""
    fate: Fate = "answered"
    late: timedelta = timedelta(0)
    pictures: int = 0
    trouble: Trouble | None = None

    @property
    def text(self) -> str:
        return (self.words or WORDS[self.language]).format(order=self.order)


def cast() -> Sequence[Customer]:
    """Everybody, with addresses and orders of their own in each run; the last Pole writes once the pool is full."""
    run, some = secrets.randbelow(90_000) + 10_000, secrets.randbelow
    mobile = f"+49176040690{some(88) + 12}"
    poles = [
        ("Ewelina", {}),
        ("Marek", {}),
        ("Zofia", {}),
        ("Tomasz", {}),
        ("Halina", {"late": ALMOST_AT_THE_NEXT_STEP}),
    ]
    parts: list[dict[str, Any]] = [
        {"name": "Giorgia", "channel": "messenger", "inbox": "100", "language": "it", "address": f"{run}1",
         "trouble": OVERLOADED},
        {"name": "Daan", "channel": "messenger", "inbox": "300", "language": "nl", "address": f"{run}2",
         "late": ALMOST_DUE},
        {"name": "Amélie", "channel": "whatsapp", "inbox": GERMAN, "language": "fr", "words": BROKEN,
         "address": f"+33199{some(900_000) + 100_000}", "pictures": PICTURES, "trouble": LOST},
        {"name": "Carmen", "channel": "whatsapp", "inbox": ENGLISH, "language": "es", "fate": "refused",
         "address": f"+447700900{some(400) + 200}", "trouble": FOR_GOOD},
        {"name": "Oliver", "channel": "twilio_whatsapp", "inbox": "+447700900110", "language": "en",
         "address": f"+447700900{some(400) + 600}"},
        {"name": "Ina", "channel": "twilio_sms", "inbox": "+4917604069011", "language": "de", "address": mobile},
        {"name": "Elsa", "channel": "email", "inbox": "support@seabird.example", "language": "sv",
         "address": f"elsa.{run}@customers.sandbox.invalid"},
        {"name": "Marc", "channel": "mirakl", "inbox": "2001", "language": "fr", "address": f"Marc {run}"},
        {"name": "Lucas", "channel": "mirakl", "inbox": "2002", "language": "es", "address": f"Lucas {run}",
         "trouble": DOWN},
        {"name": "Ina", "channel": "phone", "inbox": "alpenlicht", "language": "de", "address": mobile, "words": CALL,
         "fate": "called"},
        *({"name": name, "channel": "messenger", "inbox": "200", "language": "pl", "address": f"{run}{n}", **more}
          for n, (name, more) in enumerate(poles, start=3)),
    ]  # fmt: skip
    return [Customer(order=f"K{run}-{n:02d}", **part) for n, part in enumerate(parts, start=1)]


def command(customer: Customer, now: datetime) -> tuple[str, Any]:
    """The path below the stand-ins' control and the command by which this customer writes; not for a call."""
    c = customer
    match c.channel:
        case "messenger":
            at = (now - c.late).isoformat()
            return "messenger/messages", {"page": c.inbox, "psid": c.address, "name": c.name, "text": c.text, "at": at}
        case "whatsapp":
            said = {"number": c.inbox, "phone": c.address, "name": c.name}
            return "whatsapp/messages", [{**said, **one} for one in _pictures(c)] or {**said, "text": c.text}
        case "twilio_whatsapp" | "twilio_sms":
            by = c.channel.removeprefix("twilio_")
            return "twilio/messages", {"to": c.inbox, "from": c.address, "by": by, "name": c.name, "text": c.text}
        case "email":
            subject = f"Order {c.order}"
            said = {"to": c.inbox, "sender": c.address, "name": c.name, "subject": subject, "text": c.text}
            return "email/messages", said
        case _:
            return "mirakl/messages", {"shop": c.inbox, "customer": c.address, "order": c.order, "text": c.text}


def misbehaviour(customer: Customer, trouble: Trouble) -> Any:
    """The stand-ins' command for it: it meets nobody but this customer, the only one of that inbox."""
    wrong: dict[str, Any] = {
        "vendor": customer.channel,
        "mode": trouble.mode,
        "target": customer.inbox,
        "times": trouble.times,
    }
    return {**wrong, **trouble.more}


def _pictures(customer: Customer) -> list[dict[str, Any]]:
    """An album is one message a picture, all in one webhook; the words stand below the first."""
    return [
        {"type": "image", "text": "" if n else customer.text, "media_type": "image/png",
         "file": {"name": f"{customer.order}-{n}.png", "content": base64.b64encode(_png(n * 25)).decode()}}
        for n in range(customer.pictures)
    ]  # fmt: skip


def _png(shade: int) -> bytes:
    """A grey picture of 16 by 16 points."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = (b"\0" + bytes([shade]) * 16) * 16
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
