"""A stand-in of the WhatsApp Cloud API: the Graph API of numbers and files, an app's webhooks, customers on request."""

from services.sandbox.whatsapp.api import build

__all__ = ["build"]
