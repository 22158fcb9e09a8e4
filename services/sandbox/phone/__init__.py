"""A stand-in of Twilio Voice: the Calls API, and telephones that do as they are told."""

from services.sandbox.phone.stand_in import Phone

__all__ = ["Phone"]
