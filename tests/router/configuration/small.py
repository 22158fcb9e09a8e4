"""A small configuration file with something of everything, and what becomes of it."""

from collections.abc import Mapping

import pytest

from services.router.configuration import ConfigurationError, Wanted, apply, load
from shared.db.transaction import Database
from shared.secrets import Vault

NAMES = ("chat", "market")
SMALL = """\
clients:
  acme: {name: Acme}
brands:
  shop: {client: acme, name: Shop}
  other: {client: acme, name: Other}
accounts:
  meta:
    channel: chat
    name: Meta
    settings: {url: "${URL}/graph", retries: 3, live: true, app_id: "0017"}
    secrets:
      hook_token: [new-token, old-token]
      app_secret: ${APP_SECRET}
inboxes:
  shop-no: {brand: shop, account: meta, address: 0100, name: Shop, locale: nb-NO, country: NO}
agents:
  anna: {name: Anna, capacity: 4, brands: [shop]}
  bernd: {name: Bernd, capacity: 2, brands: [shop, other]}
pools:
  nb: {name: Norwegian, language: nb, native: [anna], fluent: [bernd]}
  all: {name: Everybody, fluent: [bernd]}
plans:
  nb: {language: nb, steps: [{pool: nb, after: 0}, {pool: all, after: 0.5}]}
  default: {steps: [{pool: all, after: 0}]}
policies:
  default: {first_response: 8h, warn_before: 60m}
api_keys:
  frontend: {role: supervisor, brands: [shop], plain: a-key-of-a-program}
"""
VARIABLES = {"URL": "http://vendor", "APP_SECRET": "s3cret"}


def small(text: str = SMALL, variables: Mapping[str, str] = VARIABLES) -> Wanted:
    return load(text, "small.yaml", variables, NAMES)


def problems(text: str, variables: Mapping[str, str] = VARIABLES) -> list[str]:
    with pytest.raises(ConfigurationError) as raised:
        small(text, variables)
    return raised.value.problems


async def applied(database: Database, vault: Vault, text: str = SMALL, **variables: str) -> list[str]:
    async with database.transaction() as tx:
        return await apply(tx, small(text, {**VARIABLES, **variables}), vault, "test")
