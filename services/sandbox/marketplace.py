"""What a marketplace on Mirakl holds: threads, messages, files and orders, in the shapes that its API shows.

Source: Mirakl Marketplace Platform, seller OpenAPI: the answers of M10, M11 and OR11.
"""

import html
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from services.sandbox.commands import File, MiraklMessage, WrongCommand
from services.sandbox.state import SandboxConfig, State, keep
from shared.ids import derived_id

OPERATOR = {"type": "OPERATOR", "display_name": "Marketplace"}
# What only we know of a thread.
HIDDEN = {"shop", "order", "channel", "locale", "messages"}

Shape = dict[str, Any]


class Marketplace:
    """Changes the state; its callers have checked what they ask for."""

    def __init__(self, config: SandboxConfig, state: State) -> None:
        self.config = config
        self.state = state

    def write(self, wanted: MiraklMessage) -> Shape:
        """A message of the buyer, the operator, or the shop in its back office: its ids. Raises WrongCommand."""
        if wanted.shop not in self.config.shops:
            raise WrongCommand(f"there is no shop {wanted.shop}")
        thread = self.state.threads.get(wanted.thread or "") or self._open(wanted)
        if thread["shop"] != wanted.shop:
            raise WrongCommand("the thread is another shop's")
        text = html.escape(wanted.text).replace("\n", "<br />") if wanted.html else wanted.text
        shop, customer, operator = thread["authorized_participants"]
        sender = {"shop": shop, "customer": customer, "operator": operator}[wanted.sender]
        message = self.add(thread, sender, [customer] if sender is shop else [shop], text, wanted.files)
        return {"thread_id": thread["id"], "message_id": message["id"]}

    def add(self, thread: Shape, sender: Shape, to: Iterable[Shape], text: str, files: Iterable[File] = ()) -> Shape:
        """A new last message; the shop owes an answer from its first unanswered message until it writes itself."""
        now = self._now()
        user = {
            "type": f"{sender['type']}_USER",
            "display_name": sender["display_name"],
            "organization_details": sender,
        }
        message = {
            "id": str(uuid4()), "body": text, "date_created": now, "from": user, "to": list(to),
            "attachments": [self._attach(thread, file) for file in files],
        }  # fmt: skip
        thread["messages"].append(message)
        thread["date_updated"] = now
        needed = None if sender["type"] == "SHOP" else thread["metadata"]["shop_reply_needed_since"] or now
        thread["metadata"] = {
            "total_count": len(thread["messages"]), "last_message_date": now, "last_sender": user,
            "shop_reply_needed_since": needed,
        }  # fmt: skip
        for participant in (sender, *to):
            if participant not in thread["current_participants"]:
                thread["current_participants"].append(participant)
        return message

    def threads(self, shop: str, matches: Callable[[Shape], bool]) -> list[Shape]:
        return [thread for thread in self.state.threads.values() if thread["shop"] == shop and matches(thread)]

    def orders(self, shop: str) -> list[Shape]:
        """The shop's orders, oldest first."""
        by_id: dict[str, Shape] = {}
        for thread in sorted(
            self.threads(shop, lambda t: t["order"] is not None), key=lambda t: str(t["date_created"])
        ):
            by_id.setdefault(thread["order"], _order(thread))
        return list(by_id.values())

    def _open(self, wanted: MiraklMessage) -> Shape:
        now = self._now()
        entity = (
            {"type": "MMP_ORDER", "id": wanted.order, "label": wanted.order}
            if wanted.order is not None
            else {"type": "MMP_OFFER", "id": str(derived_id("offer", wanted.shop).int % 10**6), "label": "Offer"}
        )
        customer = str(derived_id("sandbox buyer", wanted.customer))
        participants = [
            {"type": "SHOP", "id": wanted.shop, "display_name": self.config.shops[wanted.shop]},
            {"type": "CUSTOMER", "id": customer, "display_name": wanted.customer},
            dict(OPERATOR),
        ]
        thread: Shape = {
            "id": wanted.thread or str(uuid4()),
            "shop": wanted.shop,
            "order": wanted.order,
            "channel": wanted.channel,
            "locale": wanted.locale,
            "topic": {"type": "FREE_TEXT", "value": "Commande" if wanted.order is not None else "Question"},
            "entities": [entity],
            "authorized_participants": participants,
            "current_participants": [],
            "date_created": now,
            "date_updated": now,
            "metadata": {"shop_reply_needed_since": None},
            "messages": [],
        }
        keep(self.state.threads, thread["id"], thread)
        return thread

    def _attach(self, thread: Shape, file: File) -> Shape:
        id_ = str(uuid4())
        keep(self.state.files, id_, (thread["shop"], file.content))
        return {"id": id_, "name": file.name, "size": len(file.content)}

    def _now(self) -> str:
        return self.config.now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def shown(thread: Shape, messages: int) -> Shape:
    """The thread as the API shows it, with its last so many messages."""
    visible = {name: value for name, value in thread.items() if name not in HIDDEN}
    if not messages:
        return visible
    return visible | {"messages": thread["messages"][-messages:], "no_store_reply_needed": []}


def updated(thread: Shape) -> datetime:
    return datetime.fromisoformat(thread["date_updated"])


def _order(thread: Shape) -> Shape:
    customer = thread["authorized_participants"][1]
    language, _, country = thread["locale"].partition("_")
    address = {
        "lastname": customer["display_name"], "street_1": "Place du Marché 1", "city": "Ville", "zip_code": "10000",
        "country": country or language.upper(), "country_iso_code": (country or language).upper(),
    }  # fmt: skip
    order = {
        "order_id": thread["order"],
        "commercial_id": thread["order"].rsplit("-", 1)[0],
        "created_date": thread["date_created"],
        "last_updated_date": thread["date_created"],
        "order_state": "SHIPPING",
        "customer": {
            "customer_id": customer["id"], "firstname": "", "lastname": customer["display_name"],
            "locale": thread["locale"], "billing_address": address, "shipping_address": address,
        },
        "fulfillment": {"center": {"code": "DEFAULT"}},
        "order_lines": [],
        "currency_iso_code": "EUR", "price": 20.0, "shipping_price": 5.0, "total_price": 25.0, "total_commission": 2.5,
        "order_tax_mode": "TAX_INCLUDED", "paymentType": "CARD", "leadtime_to_ship": 2,
        "shipping_type_code": "STD", "shipping_type_label": "Standard",
        "shipping_zone_code": "EU", "shipping_zone_label": "Europe",
        "can_cancel": False, "can_shop_ship": True, "fully_refunded": False, "has_customer_message": True,
        "has_incident": False, "has_invoice": False,
    }  # fmt: skip
    if thread["channel"] is not None:
        order["channel"] = {"code": thread["channel"], "label": thread["channel"]}
    return order
