"""What the API tells of one customer's message, hop by hop."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.demo.agents import orders
from services.demo.api import Document
from services.demo.customers import Customer

HOPS = ("received", "routed", "held out", "accepted", "answered", "outcome")
# The last that each vendor's stand-in tells of an answer that it took.
RECEIPTS: Mapping[str, str] = {
    "messenger": "read", "whatsapp": "read", "twilio_whatsapp": "read", "twilio_sms": "delivered",
    "mirakl": "accepted", "email": "accepted",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a message came to, when, and what there is to say of that."""

    at: datetime
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """The conversations that hold the customer's words (one, if all is well) and the first one's history.

    `reasons` are the sentences that explained where it was, in their order.
    """

    customer: Customer
    conversations: Sequence[Document] = ()
    history: Sequence[Document] = ()
    reasons: Sequence[str] = ()

    @property
    def shown(self) -> Document | None:
        """The conversation as it is now."""
        return self.conversations[0] if self.conversations else None

    def messages(self, kind: str) -> list[Document]:
        """Those of a kind in all its conversations."""
        return [m for shown in self.conversations for m in shown["messages"] if m["kind"] == kind]

    @property
    def asked(self) -> list[Document]:
        """The customer's own words, as often as they are there."""
        return [m for m in self.messages("inbound") if self.customer.order in m["text"]]

    @property
    def replies(self) -> list[Document]:
        return [m for m in self.messages("reply") if self.customer.order in m["text"]]

    @property
    def pictures(self) -> list[Document]:
        return [a for m in self.messages("inbound") for a in m["attachments"] if a["kind"] == "image"]

    @property
    def entries(self) -> list[Document]:
        """The history from the customer's message on."""
        ids = {m["id"] for m in self.asked}
        first = next((n for n, e in enumerate(self.history) if e["data"].get("message_id") in ids), len(self.history))
        return list(self.history[first:])

    def of_kind(self, *kinds: str) -> list[Document]:
        return [entry for entry in self.entries if entry["kind"] in kinds]

    @property
    def missed(self) -> list[Document]:
        return [entry for entry in self.of_kind("deadline_passed") if entry["data"]["what"] == "missed"]

    def hops(self, names: Mapping[str, str]) -> Mapping[str, Hop]:
        """By the names in `HOPS`, in that order, as far as it came; `names` are the agents' by their ids."""
        found: dict[str, Hop] = {}
        if self.asked:
            found["received"] = Hop(datetime.fromisoformat(self.asked[0]["received_at"]))
        for entry in self.entries:
            hop = _hop(entry, names)
            # Of its outcome the newest counts, of everything else the first.
            if hop is not None and (hop[0] == "outcome" or hop[0] not in found):
                found[hop[0]] = hop[1]
                if entry["kind"] == "assigned":
                    found.setdefault("held out", hop[1])
        return {name: found[name] for name in HOPS if name in found}

    @property
    def is_over(self) -> bool:
        """Whether everything has happened that is to happen."""
        if self.shown is None or self.shown["state"] != "resolved":
            return False
        if self.customer.fate == "called":
            return bool(self.of_kind("call_ended"))
        wanted = "refused" if self.customer.fate == "refused" else RECEIPTS[self.customer.channel]
        is_told = [m["state"] for m in self.replies] == [wanted]
        return is_told and all(a["state"] != "pending" for a in self.pictures)


def _hop(entry: Document, names: Mapping[str, str]) -> tuple[str, Hop] | None:
    at, data = datetime.fromisoformat(entry["at"]), entry["data"]
    agent = names.get(data.get("agent_id", ""), "")
    match entry["kind"]:
        case "queued":
            return "routed", Hop(at, data["because"])
        case "offered":
            return "held out", Hop(at, f"to {agent}")
        case "assigned":
            return "accepted", Hop(at, f"by {agent}")
        case "reply_written" | "call_placed":
            return "answered", Hop(at, f"by {agent}")
        case "reply_moved":
            return "outcome", Hop(at, f"{data['state']} {data.get('reason', '')}".rstrip())
        case "call_ended":
            return "outcome", Hop(at, f"{data['outcome']} {data.get('seconds', 0)} s")
        case _:
            return None


def told(customers: Sequence[Customer], seen: Sequence[tuple[Document, Sequence[Document]]]) -> list[Story]:
    """Each customer's story, of the conversations that were seen with their histories."""
    stories = []
    for customer in customers:
        found = [(shown, history) for shown, history in seen if customer.order in orders(shown, "inbound")]
        history = found[0][1] if found else ()
        stories.append(Story(customer=customer, conversations=[shown for shown, _ in found], history=history))
    return stories
