"""Twilio's messaging webhooks: what people write by WhatsApp and SMS, and what became of what we wrote.

One request is one fact. It carries no instant, so that of its arrival holds.
Source: Twilio, "Twilio's request to your webhook URL" and "Outbound message status in status callbacks", 2010-04-01.
"""

import re
from collections.abc import Iterator, Mapping

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE
from twilio.twiml.messaging_response import MessagingResponse

from shared.accounts import Account
from shared.channels.contract import Answer, BadItem, Hook, Item, Received
from shared.channels.text import clean, key
from shared.channels.twilio import keywords, signature, wire
from shared.channels.twilio.rules import E164, Context, Product
from shared.channels.twilio.signature import Fields
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
RAW_LIMIT = 65_536
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
    fields = signature.fields_of(hook)
    sid = fields.one("MessageSid") or fields.one("SmsSid")
    if not SID.fullmatch(sid):
        raise BadPayload("the request does not name its message", code="no_message_sid")
    raw = hook.body if hook.method == "POST" else hook.url.partition("?")[2].encode()
    request = _Request(hook, fields, sid, raw[:RAW_LIMIT], product)
    return Received(list(request.items()), NOTHING_TO_SAY)


class _Request:
    """One webhook, already known to be about a message."""

    def __init__(self, hook: Hook, fields: Fields, sid: str, raw: bytes, product: Product) -> None:
        self.hook, self.fields, self.sid, self.raw, self.product = hook, fields, sid, raw, product

    def items(self) -> Iterator[Item | BadItem]:
        status = self.fields.one("MessageStatus")
        if status and status != "received":
            yield from self._status(status)
            return
        ours, theirs = self._text("To"), self._text("From")
        if not self._is_of_the_product(ours, theirs):
            yield BadItem(self.raw, "other_channel", "the message came by another channel than this address is for")
            return
        address, sender = self._without_prefix(ours), self._sender(self._without_prefix(theirs))
        if not address or sender is None:
            yield BadItem(self.raw, "no_sender", "the message does not say who wrote to whom", address or None)
            return
        for data in self._read(sender):
            yield Item(address, sender.value, data)

    def _status(self, status: str) -> Iterator[Item | BadItem]:
        state = STATES.get(status)
        if state is None:
            return
        address, peer = self._without_prefix(self._text("From")), self._without_prefix(self._text("To"))
        if not address or not peer:
            yield BadItem(self.raw, "no_sender", "the status does not say who wrote to whom", address or None)
            return
        code = self._text("ErrorCode") if state == "failed" else ""
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
        yield Item(address, peer, receipt)

    def _read(self, sender: Address) -> Iterator[MessageReceived | OptOutChanged | Unrecognised]:
        text = self._text("Body") or self._text("ButtonText") or self._text("ListTitle")
        told = self._text("OptOutType")
        change = keywords.change_of(text, told, vendor_blocks=self.product.vendor_blocks)
        if change is not None:
            yield OptOutChanged(
                channel=self.product.channel,
                keys=[key("opt_out", self.sid)],
                sender=sender,
                opted_out=change == "stop",
                occurred_at=self.hook.received_at,
                raw=self.raw,
            )
            if change == "stop" or keywords.is_only_a_keyword(text):
                return
        attachments = [*self._files(), *self._places()]
        if text or attachments:
            yield self._message(sender, text, attachments)
        else:
            yield self._unrecognised(sender)

    def _message(self, sender: Address, text: str, attachments: list[Attachment]) -> MessageReceived:
        at = self.hook.received_at
        return MessageReceived(
            channel=self.product.channel,
            keys=[key("message", self.sid)],
            sender=sender,
            also=list(self._also(sender)),
            occurred_at=at,
            text=text,
            # What an advertisement said that they wrote after.
            subject=self._text("ReferralHeadline"),
            attachments=attachments,
            country=country_of(sender.value),
            reply_context=Context(to=sender.value, at=at).encode(),
            raw=self.raw,
        )

    def _unrecognised(self, sender: Address) -> Unrecognised:
        return Unrecognised(
            channel=self.product.channel,
            keys=[key("message", self.sid)],
            what=self._text("MessageType")[:100] or "message_without_content",
            occurred_at=self.hook.received_at,
            sender=sender,
            raw=self.raw,
        )

    def _sender(self, value: str) -> Address | None:
        """A phone number, else what the channel knows people by who show none. None where it is neither."""
        name = self._text("ProfileName")
        if E164.fullmatch(value):
            return Address(kind="phone", value=value, name=name, verified_by="channel")
        is_known = "." in value if self.product.prefix else bool(value)
        if not is_known or len(value) > LONGEST_ADDRESS:
            return None
        product = self.product
        return Address(kind=product.other_kind, value=value, name=name, verified_by=product.other_verified_by)

    def _also(self, sender: Address) -> Iterator[Address]:
        """The same person's id at WhatsApp, and the number under which WhatsApp knows them (Brazil, Mexico)."""
        if not self.product.prefix:
            return
        for value in (self._without_prefix(self._text("ExternalUserId")), f"+{self._text('WaId')}"):
            found = self._sender(value) if value != sender.value else None
            if found is not None:
                yield found

    def _files(self) -> Iterator[Attachment]:
        for n in range(MOST_FILES):
            url = self._text(f"MediaUrl{n}")
            if not url:
                return
            media_type = self._text(f"MediaContentType{n}").partition(";")[0].strip().lower()
            kind = media_type.partition("/")[0]
            # Only what can be fetched is kept.
            url = url if url.startswith(("http://", "https://")) else ""
            yield Attachment(kind=kind if kind in KINDS else "file", url=url, media_type=media_type)

    def _places(self) -> Iterator[Attachment]:
        latitude, longitude = self._text("Latitude"), self._text("Longitude")
        if latitude and longitude:
            told = (self._text("Label"), self._text("Address"), latitude, longitude)
            yield Attachment(kind="location", name=", ".join(filter(None, told)))

    def _is_of_the_product(self, ours: str, theirs: str) -> bool:
        prefix = self.product.prefix
        if prefix:
            return ours.startswith(prefix) and theirs.startswith(prefix)
        return ":" not in ours and ":" not in theirs

    def _without_prefix(self, address: str) -> str:
        return address.removeprefix(self.product.prefix)

    def _text(self, name: str) -> str:
        value = self.fields.one(name)
        return clean(value).strip() if value else ""


def country_of(value: str) -> str | None:
    """The country that a number's prefix or an id's first letters belong to; the largest where several share it."""
    if not value.startswith("+"):
        country, dot, _ = value.partition(".")
        return country if dot and len(country) == 2 and country.isalpha() and country.isupper() else None
    return COUNTRIES.get(value[1:2]) or COUNTRIES.get(value[1:3]) or COUNTRIES.get(value[1:4])
