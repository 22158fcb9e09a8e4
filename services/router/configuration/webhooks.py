"""Webhooks as the configuration file and the API write them, and what a file changes of those that there are."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from services.router.domain.alerts import AlertName
from services.router.domain.signing import is_secret
from services.router.store import catalogue
from shared.db.transaction import Transaction
from shared.errors import InboxMisconfigured, Rejected
from shared.guard import parsed
from shared.ids import derived_id
from shared.secrets import Vault

Work = Callable[[Transaction], Awaitable[None]]


def _url(text: str) -> str:
    try:
        url = parsed(text)
    except Rejected:
        url = None
    if url is None or url.username or url.password or url.fragment:
        raise ValueError("an address is written like https://alerts.example/hook, without a user in it")
    return text


def _secret(value: object) -> object:
    if not isinstance(value, str) or not is_secret(value):
        raise ValueError("a webhook's secret is whsec_ and the base64 of 24 to 64 random bytes")
    return value


Url = Annotated[str, Field(max_length=2000, examples=["https://alerts.example/hook"]), AfterValidator(_url)]
Secret = Annotated[SecretStr, BeforeValidator(_secret)]
Secrets = Annotated[
    tuple[Secret, ...],
    BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    Field(min_length=1, max_length=2),
]


class Webhook(BaseModel):
    """Where alerts are posted; without `events` or `brands` all of them. Signed with every one of `secrets`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Url
    events: tuple[AlertName, ...] = ()
    brands: tuple[str, ...] = ()
    secrets: Secrets


def differences(
    wanted: Mapping[str, Webhook], current: catalogue.Catalogue, vault: Vault
) -> Iterator[tuple[str, Work | None]]:
    """A line for people and what it does. What the API made is left in place, and so is whether one is enabled."""
    ids = {derived_id("webhook", handle) for handle in wanted}
    for row in current.rows["webhook"].values():
        if row["id"] not in ids:
            yield f"= webhook {row['handle']} is not in the file and was left in place", None
    for handle, webhook in wanted.items():
        row = {
            "id": derived_id("webhook", handle),
            "handle": handle,
            "url": webhook.url,
            "events": list(webhook.events),
            "brands": [derived_id("brand", brand) for brand in webhook.brands],
        }
        secrets = [secret.get_secret_value() for secret in webhook.secrets]
        yield from _difference(row, secrets, current.rows["webhook"].get(row["id"]), vault)


def _difference(
    row: dict[str, Any], secrets: list[str], before: catalogue.Row | None, vault: Vault
) -> Iterator[tuple[str, Work | None]]:
    name, sealed = f"webhook {row['handle']}", {"sealed": [vault.seal(secret) for secret in secrets]}
    if before is None:
        fresh = row | sealed | {"enabled": True, "reason": ""}
        yield f"+ {name}", partial(catalogue.insert, table="webhook", row=fresh)
        return
    changed = {column: value for column, value in row.items() if before[column] != value}
    if opened(before["sealed"], vault) != secrets:
        changed |= sealed
    if changed:
        what = ", ".join("secrets" if column == "sealed" else column for column in changed)
        yield f"~ {name}: {what}", partial(catalogue.update, table="webhook", row={"id": row["id"], **changed})


def opened(sealed: Sequence[bytes], vault: Vault) -> list[str] | None:
    """The secrets; None where one cannot be read, so that the file's value replaces what nobody can read."""
    try:
        return [vault.open(one) for one in sealed]
    except InboxMisconfigured:
        return None
