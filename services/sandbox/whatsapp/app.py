"""One Meta app with WhatsApp numbers: its customers write, what we send is reported on, files lie ready for a while."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.sandbox.commands import WrongCommand
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig, State, keep
from services.sandbox.subscriptions import Subscriptions
from services.sandbox.webhooks import Item, Webhooks
from services.sandbox.whatsapp.commands import NumberChange, Preference, WhatsAppMessage
from services.sandbox.whatsapp.requests import Wanted
from shared.ids import derived_id, new_id

WINDOW = timedelta(hours=24)
# How long the address of a file works.
ADDRESS_FOR = timedelta(minutes=5)
OUTSIDE_WINDOW = {
    "code": 131047, "title": "Re-engagement message", "message": "Re-engagement message",
    "error_data": {"details": "More than 24 hours have passed since the customer last replied to this number."},
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Media:
    """A file as the vendor keeps it; `number` is whose it is."""

    number: str
    name: str
    media_type: str
    content: bytes


class App(Webhooks):
    """Its numbers and what they know; `Webhooks` sends what becomes due."""

    vendor = "whatsapp"
    product = "whatsapp_business_account"

    def __init__(self, connection: Connection, config: SandboxConfig, state: State) -> None:
        super().__init__(config, state)
        self.token = connection.secrets["token"][0]
        self.url = str(connection.settings["graph_url"])
        self.numbers = frozenset(connection.inboxes)
        own = str(derived_id("sandbox whatsapp account", connection.name).int % 10**15)
        self._business_account_of = {
            address: str(settings.get("business_account", own)) for address, settings in connection.inboxes.items()
        }
        self.business_accounts = frozenset(self._business_account_of.values())
        self.subscriptions = Subscriptions(
            product=self.product,
            app_id=str(connection.settings.get("app_id", "")),
            app_secret=config.app_secret,
            hook_url=config.hook_url,
            fields=["messages", "user_preferences", "smb_message_echoes"],
            senders=self.business_accounts,
        )
        self.media: dict[str, Media] = {}
        # Where files are for the next minutes: their ids, and until when.
        self.addresses: dict[str, tuple[str, datetime]] = {}
        self.last_action: dict[tuple[str, str], datetime] = {}

    def forget(self) -> None:
        super().forget()
        self.subscriptions.forget()
        self.media.clear()
        self.addresses.clear()
        self.last_action.clear()

    # what our side does

    def accept(self, number: str, wanted: Wanted, *, fails_with: int | None, is_told: bool) -> str:
        """The id of a message that was taken; whether it arrives is told later, as the vendor does."""
        id_, now = f"wamid.{new_id().hex}", self.config.now()
        self.state.sent["whatsapp"].append(
            {
                "id": id_, "number": number, "to": wanted.phone, "user_id": wanted.user_id, "type": wanted.type,
                "text": wanted.content.get("body"), "content": wanted.content, "quoted": wanted.quoted,
                "reference": wanted.reference, "at": now.isoformat(),
            }
        )  # fmt: skip
        if not is_told:
            return id_
        heard = self.last_action.get((number, wanted.peer))
        if heard is None or now >= heard + WINDOW:
            self.later(self.config.echo_after, number, self._status("failed", id_, wanted, [OUTSIDE_WINDOW]))
            return id_
        self.later(self.config.echo_after, number, self._status("sent", id_, wanted))
        if fails_with is not None:
            errors = [{"code": fails_with, "title": "As it was asked for"}]
            self.later(self.config.delivered_after, number, self._status("failed", id_, wanted, errors))
            return id_
        self.later(self.config.delivered_after, number, self._status("delivered", id_, wanted))
        self.later(self.config.read_after, number, self._status("read", id_, wanted))
        return id_

    def _status(self, state: str, id_: str, wanted: Wanted, errors: Sequence[Item] = ()) -> Item:
        status: Item = {"id": id_, "status": state, "timestamp": _seconds(self.config.now())}
        status |= {"recipient_id": wanted.phone} if wanted.phone else {"recipient_user_id": wanted.user_id}
        if wanted.reference is not None:
            status["biz_opaque_callback_data"] = wanted.reference
        if errors:
            status["errors"] = list(errors)
        return {"statuses": status}

    def keep_media(self, media: Media) -> str:
        id_ = str(new_id().int % 10**16)
        keep(self.media, id_, media)
        return id_

    def address_of(self, id_: str) -> str:
        """Where the file is for the next five minutes."""
        key = new_id().hex
        keep(self.addresses, key, (id_, self.config.now() + ADDRESS_FOR))
        return f"{self.url}/files/{key}"

    def media_at(self, key: str) -> Media | None:
        """None where the address is over, or none of ours."""
        id_, until = self.addresses.get(key, ("", self.config.now()))
        return self.media.get(id_) if self.config.now() < until else None

    # what customers do

    def written(self, message: WhatsAppMessage) -> Item:
        """The webhook's item of a message. Raises WrongCommand for nobody's message."""
        ids = _ids(message)
        if not ids:
            raise WrongCommand("a message comes from a phone or a user_id")
        at = message.at or self.config.now()
        raw = {
            **ids, "id": message.id or f"wamid.{new_id().hex}", "timestamp": _seconds(at), "type": message.type,
            **self._content(message), **message.extra,
        }  # fmt: skip
        contact: Item = {"profile": {"name": message.name}} if message.name else {"profile": {}}
        contact |= {"wa_id": ids["from"]} if "from" in ids else {}
        contact |= {"user_id": message.user_id} if message.user_id else {}
        return {"messages": raw, "contact": contact}

    def heard(self, message: WhatsAppMessage) -> None:
        """The window counts from this message."""
        at = message.at or self.config.now()
        for peer in _ids(message).values():
            key = (message.number, peer)
            keep(self.last_action, key, max(at, self.last_action.get(key, at)))

    def _content(self, message: WhatsAppMessage) -> Item:
        if message.file is not None:
            media = Media(message.number, message.file.name, message.media_type, message.file.content)
            content = {"id": self.keep_media(media), "mime_type": message.media_type}
            if message.type == "document":
                content["filename"] = message.file.name
            if message.text:
                content["caption"] = message.text
            return {message.type: content}
        if message.content is not None:
            return {message.type: message.content}
        return {"text": {"body": message.text}} if message.type == "text" else {}

    def changed(self, change: NumberChange) -> Item:
        """The system message of another number; the window goes along."""
        before, after = _digits(change.before), _digits(change.after)
        heard = self.last_action.get((change.number, before))
        if heard is not None:
            keep(self.last_action, (change.number, after), heard)
        system = {"type": "user_changed_number", "wa_id": after, "body": f"User changed from {before} to {after}"}
        system |= {"user_id": change.user_id_after} if change.user_id_after else {}
        raw: Item = {
            "from": before, "id": f"wamid.{new_id().hex}", "timestamp": _seconds(self.config.now()), "type": "system",
            "system": system,
        }  # fmt: skip
        return {"messages": raw | ({"from_user_id": change.user_id_before} if change.user_id_before else {})}

    def preferred(self, preference: Preference) -> Item:
        raw = {
            "wa_id": _digits(preference.phone), "detail": f"User requested to {preference.value} marketing messages",
            "category": "marketing_messages", "value": preference.value,
            "timestamp": int(self.config.now().timestamp()),
        }  # fmt: skip
        return {"user_preferences": raw, "contact": {"wa_id": raw["wa_id"]}}

    # the form of webhooks

    def entries(self, items: Sequence[tuple[str, Item]]) -> list[Item]:
        """One entry for each business account, with one change for each of its numbers and kinds of item."""
        changes: dict[tuple[str, str], Item] = {}
        for number, item in items:
            kind = next(iter(item))
            metadata = {"display_phone_number": f"+{number}", "phone_number_id": number}
            value = changes.setdefault((number, kind), {"messaging_product": "whatsapp", "metadata": metadata})
            value.setdefault(kind, []).append(item[kind])
            if "contact" in item and item["contact"] not in value.setdefault("contacts", []):
                value["contacts"].append(item["contact"])
        shown: dict[str, list[Item]] = {}
        for (number, kind), value in changes.items():
            change = {"field": kind if kind == "user_preferences" else "messages", "value": value}
            shown.setdefault(self._business_account_of[number], []).append(change)
        return [{"id": account, "changes": of_account} for account, of_account in shown.items()]

    def described(self, entries: Sequence[Item]) -> Item:
        values = [change["value"] for entry in entries for change in entry["changes"]]
        items: list[Any] = [m["type"] for value in values for m in value.get("messages", ())]
        items += [s["status"] for value in values for s in value.get("statuses", ())]
        items += [p["value"] for value in values for p in value.get("user_preferences", ())]
        return {"numbers": [value["metadata"]["phone_number_id"] for value in values], "items": items}


def _ids(message: WhatsAppMessage) -> dict[str, str]:
    known = {"from": _digits(message.phone), "from_user_id": message.user_id or ""}
    return {name: value for name, value in known.items() if value}


def _digits(phone: str | None) -> str:
    return (phone or "").removeprefix("+")


def _seconds(at: datetime) -> str:
    return str(int(at.timestamp()))
