"""Twilio's messaging webhooks: what people write by WhatsApp and SMS, and what became of what we wrote.

One request is one fact. It carries no instant, so that of its arrival holds.
Source: Twilio, "Twilio's request to your webhook URL" and "Outbound message status in status callbacks", 2010-04-01.
"""

import re
from collections.abc import Mapping, Sequence

import msgspec
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from twilio.twiml.messaging_response import MessagingResponse

from shared.accounts import Account
from shared.channels.contract import Answer, BadItem, Hook, Item, Received
from shared.channels.text import clean, key
from shared.channels.twilio import keywords, signature, wire
from shared.channels.twilio.rules import E164, Context, Product
from shared.errors import BadPayload
from shared.events import (
    Address,
    Attachment,
    MessageReceived,
    OptOutChanged,
    ReceiptReceived,
    ReceiptState,
    Unrecognised,
)

# Without a verb nothing is answered to the customer, who would get any plain text as a message.
NOTHING_TO_SAY = Answer(200, str(MessagingResponse()).encode(), "text/xml; charset=utf-8")
SID = re.compile(r"(SM|MM)[0-9a-fA-F]{32}")
MOST_FILES = 50
LONGEST_ADDRESS = 200
KINDS = ("image", "audio", "video")
# The vendor's states that tell of progress; it has others, which nobody needs to see.
STATES: Mapping[str, ReceiptState] = {
    "sent": "sent",
    "delivered": "delivered",
    "read": "read",
    "undelivered": "failed",
    "failed": "failed",
    "canceled": "failed",
}
# By calling code, the largest country of each; codes of no country have none.
COUNTRIES: Mapping[str, str] = {
    str(code): countries[0] for code, countries in COUNTRY_CODE_TO_REGION_CODE.items() if countries[0].isalpha()
}
# Names our part in the address that a status comes back to.
REFERENCE = "reference"


def verify(hook: Hook, account: Account) -> None:
    """Raises BadSignature."""
    signature.check(hook, wire.tokens(account))


def receive(hook: Hook, _account: Account, *, product: Product) -> Received:
    """A message, what it changes, or a status of one of ours. Raises BadPayload where it is none of the vendor's."""
    form = signature.fields_of(hook)
    fields = form.first
    if clean(form.signed) != form.signed:
        fields = {name: clean(value) for name, value in fields.items()}
    told = msgspec.convert(fields, _Told)
    sid = told.message_sid or told.sms_sid
    if not SID.fullmatch(sid):
        raise BadPayload("the request does not name its message", code="no_message_sid")
    raw = hook.body if hook.method == "POST" else hook.url.partition("?")[2].encode()
    return Received(_Request(hook, told, fields, sid, raw, product).items(), NOTHING_TO_SAY)


class _Told(msgspec.Struct, rename="pascal"):
    """The fields that we read, all of them text and most of them seldom there."""

    message_sid: str = ""
    sms_sid: str = ""
    message_status: str = ""
    error_code: str = ""
    to: str = ""
    from_: str = msgspec.field(default="", name="From")
    body: str = ""
    button_text: str = ""
    list_title: str = ""
    opt_out_type: str = ""
    referral_headline: str = ""
    message_type: str = ""
    profile_name: str = ""
    external_user_id: str = ""
    wa_id: str = ""
    latitude: str = ""
    longitude: str = ""
    label: str = ""
    address: str = ""


class _Request(msgspec.Struct, frozen=True):
    """One webhook, already known to be about a message."""

    hook: Hook
    told: _Told
    fields: Mapping[str, str]
    sid: str
    raw: bytes
    product: Product

    def items(self) -> Sequence[Item | BadItem]:
        told = self.told
        if told.message_status and told.message_status != "received":
            return self._status(told.message_status)
        address, value = self._bare(told.to), self._bare(told.from_)
        if address is None or value is None:
            return [BadItem(self.raw, "other_channel", "the message came by another channel than this address is for")]
        sender = self._sender(value)
        if not address or sender is None:
            return [BadItem(self.raw, "no_sender", "the message does not say who wrote to whom", address or None)]
        return [Item(address, sender.value, data) for data in self._read(sender)]

    def _status(self, status: str) -> Sequence[Item | BadItem]:
        state = STATES.get(status)
        if state is None:
            return []
        address, peer = self._without_prefix(self.told.from_), self._without_prefix(self.told.to)
        if not address or not peer:
            return [BadItem(self.raw, "no_sender", "the status does not say who wrote to whom", address or None)]
        code = self.told.error_code if state == "failed" else ""
        receipt = ReceiptReceived(
            channel=self.product.channel,
            keys=[key("receipt", self.sid, status, code)],
            state=state,
            at=self.hook.received_at,
            external_ids=[self.sid],
            reference=clean(self.hook.parameter(REFERENCE)) or None,
            peer=peer,
            code=wire.reason_of(code) if code else "",
        )
        return [Item(address, peer, receipt)]

    def _read(self, sender: Address) -> Sequence[MessageReceived | OptOutChanged | Unrecognised]:
        told = self.told
        text = (told.body or told.button_text or told.list_title).strip()
        change = keywords.change_of(text, told.opt_out_type, vendor_blocks=self.product.vendor_blocks)
        changes = [] if change is None else [self._opt_out(sender, change)]
        if change == "stop" or (changes and keywords.is_only_a_keyword(text)):
            return changes
        attachments = self._attachments()
        if text or attachments:
            return [*changes, self._message(sender, text, attachments)]
        return [*changes, self._unrecognised(sender)]

    def _opt_out(self, sender: Address, change: keywords.Change) -> OptOutChanged:
        return OptOutChanged(
            channel=self.product.channel,
            keys=[key("opt_out", self.sid)],
            sender=sender,
            opted_out=change == "stop",
            occurred_at=self.hook.received_at,
            raw=self.raw,
        )

    def _message(self, sender: Address, text: str, attachments: list[Attachment]) -> MessageReceived:
        at = self.hook.received_at
        return MessageReceived(
            channel=self.product.channel,
            keys=[key("message", self.sid)],
            sender=sender,
            also=self._also(sender),
            occurred_at=at,
            text=text,
            # What an advertisement said that they wrote after.
            subject=self.told.referral_headline.strip(),
            attachments=attachments,
            country=country_of(sender.value),
            reply_context=Context(to=sender.value, at=at).encode(),
            raw=self.raw,
        )

    def _unrecognised(self, sender: Address) -> Unrecognised:
        return Unrecognised(
            channel=self.product.channel,
            keys=[key("message", self.sid)],
            what=self.told.message_type[:100] or "message_without_content",
            occurred_at=self.hook.received_at,
            sender=sender,
            raw=self.raw,
        )

    def _sender(self, value: str) -> Address | None:
        """A phone number, else what the channel knows people by who show none. None where it is neither."""
        name = self.told.profile_name.strip()
        if E164.fullmatch(value):
            return Address(kind="phone", value=value, name=name, verified_by="channel")
        is_known = "." in value if self.product.prefix else bool(value)
        if not is_known or len(value) > LONGEST_ADDRESS:
            return None
        product = self.product
        return Address(kind=product.other_kind, value=value, name=name, verified_by=product.other_verified_by)

    def _also(self, sender: Address) -> list[Address]:
        """The same person's id at WhatsApp, and the number under which WhatsApp knows them (Brazil, Mexico)."""
        told = self.told
        if not self.product.prefix or (told.wa_id == sender.value[1:] and not told.external_user_id):
            return []
        values = (self._without_prefix(told.external_user_id), f"+{told.wa_id}")
        return [found for value in values if value not in ("", sender.value) and (found := self._sender(value))]

    def _attachments(self) -> list[Attachment]:
        told = self.told
        found: list[Attachment] = []
        while len(found) < MOST_FILES and (url := self.fields.get(f"MediaUrl{len(found)}")):
            found.append(_file(url, self.fields.get(f"MediaContentType{len(found)}", "")))
        if told.latitude and told.longitude:
            place = (told.label, told.address, told.latitude, told.longitude)
            found.append(Attachment(kind="location", name=", ".join(filter(None, place))))
        return found

    def _bare(self, address: str) -> str | None:
        """Without the product's prefix; None where it is an address of another one."""
        prefix = self.product.prefix
        return address[len(prefix) :] if (address.startswith(prefix) if prefix else ":" not in address) else None

    def _without_prefix(self, address: str) -> str:
        return address.removeprefix(self.product.prefix)


def _file(url: str, media_type: str) -> Attachment:
    media_type = media_type.partition(";")[0].strip().lower()
    kind = media_type.partition("/")[0]
    # Only what can be fetched is kept.
    url = url if url.startswith(("http://", "https://")) else ""
    return Attachment(kind=kind if kind in KINDS else "file", url=url, media_type=media_type)


def country_of(value: str) -> str | None:
    """The country that a number's prefix or an id's first letters belong to; the largest where several share it."""
    if not value.startswith("+"):
        country, dot, _ = value.partition(".")
        return country if dot and len(country) == 2 and country.isalpha() and country.isupper() else None
    return COUNTRIES.get(value[1:2]) or COUNTRIES.get(value[1:3]) or COUNTRIES.get(value[1:4])
