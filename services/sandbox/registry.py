"""The stand-ins that join the sandbox beside the Graph API and Mirakl: the channels that each one serves."""

from collections.abc import Mapping

from services.sandbox import oidc, whatsapp
from services.sandbox.mail import post
from services.sandbox.phone import Phone
from services.sandbox.stand_in import Build
from services.sandbox.twilio.stand_in import Twilio

STAND_INS: Mapping[tuple[str, ...], Build] = {
    ("oidc",): oidc.Oidc,
    ("whatsapp",): whatsapp.build,
    ("twilio_whatsapp", "twilio_sms"): Twilio,
    ("email",): post.build,
    ("phone",): Phone,
}
