"""The stand-ins that join the sandbox beside the Graph API and Mirakl: the channels that each one serves."""

from collections.abc import Mapping

from services.sandbox import whatsapp
from services.sandbox.phone import Phone
from services.sandbox.stand_in import Build
from services.sandbox.twilio.stand_in import Twilio

STAND_INS: Mapping[tuple[str, ...], Build] = {
    ("whatsapp",): whatsapp.build,
    ("twilio_whatsapp", "twilio_sms"): Twilio,
    ("phone",): Phone,
}
