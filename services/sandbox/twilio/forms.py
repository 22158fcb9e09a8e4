"""What the vendor's webhook says of a customer's message beside its text.

Source: Twilio, "Twilio's request to your webhook URL" with the parameters of WhatsApp, API version 2010-04-01.
"""

from services.sandbox.twilio.commands import CustomerMessage
from services.sandbox.twilio.messages import WHATSAPP
from services.sandbox.twilio.numbers import Number

# To the vendor, which blocks and frees by them.
STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START = frozenset({"START", "YES", "UNSTOP"})


def of_whatsapp(wanted: CustomerMessage) -> dict[str, str]:
    fields = {"ReferralNumMedia": "0", "Forwarded": "false", "FrequentlyForwarded": "false", "MessageType": "text"}
    if wanted.name:
        fields["ProfileName"] = wanted.name
    if wanted.sender.startswith("+"):
        fields["WaId"] = wanted.sender.removeprefix("+")
    else:
        fields["ExternalUserId"] = f"{WHATSAPP}{wanted.sender}"
    if wanted.files:
        fields["MessageType"] = wanted.files[0].media_type.partition("/")[0]
    if wanted.button is not None:
        fields |= {
            "MessageType": "button",
            "Body": wanted.button,
            "ButtonText": wanted.button,
            "ButtonPayload": wanted.button,
        }
    if wanted.place is not None:
        place = {"Latitude": wanted.place.latitude, "Longitude": wanted.place.longitude}
        fields |= place | {"MessageType": "location", "Label": wanted.place.label, "Address": wanted.place.address}
    return fields


def of_sms(wanted: CustomerMessage, number: Number) -> dict[str, str]:
    ends = ("From", "To")
    fields = {f"{end}{what}": "" for end in ends for what in ("City", "State", "Zip", "Country")}
    if not number.service:
        return fields
    # Only with the service's Advanced Opt-Out.
    word = wanted.text.strip().upper()
    told = "STOP" if word in STOP else "START" if word in START else "HELP" if word in ("HELP", "INFO") else ""
    return fields | {"MessagingServiceSid": number.service} | ({"OptOutType": told} if told else {})
