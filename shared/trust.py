"""Whom we trust where we call: one TLS context for all clients, for making one reads the whole list of authorities."""

import ssl
from functools import cache

import httpx


@cache
def trust() -> ssl.SSLContext:
    """For HTTP alone: clients note in it which protocol they speak."""
    return httpx.create_ssl_context(trust_env=False)
