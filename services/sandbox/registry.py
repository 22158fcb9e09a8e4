"""The stand-ins that join the sandbox beside the Graph API and Mirakl: the channels that each one serves."""

from collections.abc import Mapping

from services.sandbox import oidc, whatsapp
from services.sandbox.stand_in import Build

STAND_INS: Mapping[tuple[str, ...], Build] = {("oidc",): oidc.Oidc, ("whatsapp",): whatsapp.build}
