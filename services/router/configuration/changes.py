"""What a file changes in the database: compared as a whole, applied as a whole."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from services.router.configuration import webhooks
from services.router.configuration.errors import ConfigurationError
from services.router.configuration.forms import Wanted
from services.router.store import catalogue
from shared.db.transaction import Transaction
from shared.ids import derived_id
from shared.secrets import Vault


@dataclass(frozen=True, slots=True)
class Change:
    """A line for people and what it does; without `work` it only tells."""

    line: str
    work: Callable[[Transaction], Awaitable[None]] | None = None


async def diff(tx: Transaction, wanted: Wanted, vault: Vault) -> list[str]:
    """What applying would change: + new, ~ changed, - removed, = not in the file and left in place.

    Raises ConfigurationError where the database forbids it.
    """
    return [change.line for change in await _changes(tx, wanted, vault)]


async def apply(tx: Transaction, wanted: Wanted, vault: Vault, actor: str) -> list[str]:
    """Makes the database as the file wants it, and returns the lines of `diff`. All or nothing, with `tx`.

    Whatever may have a history (clients, brands, accounts, inboxes, agents, pools in use) is never removed.
    Raises ConfigurationError where the database forbids it.
    """
    await catalogue.lock(tx)
    changes = await _changes(tx, wanted, vault)
    works = [change for change in changes if change.work is not None]
    for change in works:
        assert change.work is not None
        await change.work(tx)
    if works:
        await catalogue.revise(tx, actor, [change.line for change in works])
    return [change.line for change in changes]


async def _changes(tx: Transaction, wanted: Wanted, vault: Vault) -> list[Change]:
    current = await catalogue.load(tx)
    rows = _rows(wanted)
    if problems := [*_forbidden(current, rows)]:
        raise ConfigurationError(problems)
    # What is removed goes first, since its place may be taken by what comes.
    removed = [c for table in rows for c in _removed(table, rows[table], current)]
    upserted = [c for table in rows for c in _upserted(table, rows[table], current)]
    return [
        *removed,
        *upserted,
        *_membership(wanted, current),
        *_secrets(wanted, current, vault),
        *(Change(line, work) for line, work in webhooks.differences(wanted.webhooks, current, vault)),
    ]


def _id(kind: str, handle: str) -> UUID:
    return derived_id(kind, handle)


def _ids(kind: str, handles: Sequence[str]) -> list[UUID]:
    return [_id(kind, handle) for handle in handles]


def _rows(wanted: Wanted) -> dict[str, dict[UUID, catalogue.Row]]:
    """The rows of the file by table, referenced tables first."""

    def brand(handle: str | None) -> UUID | None:
        return None if handle is None else _id("brand", handle)

    rows: dict[str, list[catalogue.Row]] = {
        "client": [{"id": _id("client", h), "handle": h, "name": c.name} for h, c in wanted.clients.items()],
        "brand": [
            {"id": _id("brand", h), "handle": h, "name": b.name, "client_id": _id("client", b.client)}
            for h, b in wanted.brands.items()
        ],
        "account": [
            {"id": _id("account", h), "handle": h, "name": a.name, "channel": a.channel, "settings": a.settings}
            for h, a in wanted.accounts.items()
        ],
        "inbox": [
            {
                "id": _id("inbox", h),
                "handle": h,
                "brand_id": _id("brand", i.brand),
                "account_id": _id("account", i.account),
                "channel": wanted.accounts[i.account].channel,
                **i.model_dump(include={"address", "name", "locale", "country", "settings"}),
            }
            for h, i in wanted.inboxes.items()
        ],
        "agent": [
            {"id": _id("agent", h), "handle": h, "name": a.name, "role": a.role, "capacity": a.capacity,
             "brands": _ids("brand", a.brands), "subject": a.subject, "is_active": a.is_active, "phone": a.phone,
             "language": a.language}
            for h, a in wanted.agents.items()
        ],
        "pool": [
            {"id": _id("pool", h), "handle": h, "name": p.name, "language": p.language,
             "brands": _ids("brand", p.brands), "channels": list(p.channels)}
            for h, p in wanted.pools.items()
        ],
        "plan": [
            {"id": _id("plan", h), "handle": h, "brand_id": brand(p.brand), "language": p.language,
             "channel": p.channel, "steps": [{"pool": str(_id("pool", s.pool)), "after": s.after} for s in p.steps]}
            for h, p in wanted.plans.items()
        ],
        "calendar": [calendar.row(h) for h, calendar in wanted.calendars.items()],
        "policy": [
            {"id": _id("policy", h), "handle": h, "brand_id": brand(p.brand), "channel": p.channel,
             "country": p.country, "first_response": int(p.first_response.total_seconds()),
             "warn_before": int(p.warn_before.total_seconds()), "family": p.family,
             "next_response": None if p.next_response is None else int(p.next_response.total_seconds()),
             "calendar_id": None if p.calendar is None else _id("calendar", p.calendar)}
            for h, p in wanted.policies.items()
        ],
        # A new key is a new row, so that two names can exchange their keys.
        "api_key": [
            {"id": derived_id("api_key", h, k.digest.hex()), "name": h, "digest": k.digest, "role": k.role,
             "agent_id": None if k.agent is None else _id("agent", k.agent), "brands": _ids("brand", k.brands),
             "expires_at": k.expires_at, "scopes": list(k.scopes)}
            for h, k in wanted.api_keys.items()
        ],
    }  # fmt: skip
    return {table: {row["id"]: row for row in of_table} for table, of_table in rows.items()}


def _named(table: str, row: catalogue.Row) -> str:
    return f"{table.replace('_', ' ')} {row.get('handle') or row['name']}"


def _forbidden(current: catalogue.Catalogue, rows: Mapping[str, Mapping[UUID, catalogue.Row]]) -> Iterator[str]:
    """What would tear a history from its inbox, or an address from another one."""
    inboxes = current.rows["inbox"]
    holders = {(row["account_id"], row["address"]): row for row in inboxes.values()}
    for row in rows["inbox"].values():
        before = inboxes.get(row["id"])
        for column, word in (("brand_id", "brand"), ("channel", "channel")):
            if before is not None and before[column] != row[column]:
                yield f"inbox {row['handle']} never changes its {word}; give the new one a handle of its own"
        holder = holders.get((row["account_id"], row["address"]))
        if holder is not None and holder["id"] != row["id"]:
            yield f"inbox {row['handle']} has the address of inbox {holder['handle']}; keep that handle"


def _removed(table: str, wanted: Mapping[UUID, catalogue.Row], current: catalogue.Catalogue) -> Iterator[Change]:
    for row in current.rows[table].values():
        if row["id"] in wanted:
            continue
        name = _named(table, row)
        if table == "agent" and row["is_active"]:
            # Whoever is not in the file any more must not get in any more either.
            out = {"id": row["id"], "is_active": False}
            what = f"~ {name}: is_active, for it is not in the file"
            yield Change(what, partial(catalogue.update, table=table, row=out))
        elif table not in catalogue.REPLACED or row["id"] in current.pools_in_use:
            yield Change(f"= {name} is not in the file and was left in place")
        else:
            yield Change(f"- {name}", partial(catalogue.remove, table=table, row_id=row["id"]))


def _upserted(table: str, wanted: Mapping[UUID, catalogue.Row], current: catalogue.Catalogue) -> Iterator[Change]:
    for row in wanted.values():
        before = current.rows[table].get(row["id"])
        name = _named(table, row)
        if before is None:
            yield Change(f"+ {name}", partial(catalogue.insert, table=table, row=row))
        elif changed := [column for column, value in row.items() if before[column] != value]:
            what = ", ".join(column.removesuffix("_id") for column in changed)
            yield Change(f"~ {name}: {what}", partial(catalogue.update, table=table, row=row))


def _membership(wanted: Wanted, current: catalogue.Catalogue) -> Iterator[Change]:
    for handle, pool in wanted.pools.items():
        pool_id = _id("pool", handle)
        members = {
            **{_id("agent", agent): "native" for agent in pool.native},
            **{_id("agent", agent): "fluent" for agent in pool.fluent},
        }
        if members != current.members.get(pool_id, {}):
            yield Change(
                f"~ pool {handle}: members", partial(catalogue.replace_members, pool_id=pool_id, members=members)
            )


def _secrets(wanted: Wanted, current: catalogue.Catalogue, vault: Vault) -> Iterator[Change]:
    """Sealed anew only where the values differ: sealing the same text twice gives different bytes."""
    for handle, account in wanted.accounts.items():
        account_id = _id("account", handle)
        before = current.sealed.get(account_id, {})
        after = {name: [value.get_secret_value() for value in values] for name, values in account.secrets.items()}
        for name in sorted(before.keys() | after.keys()):
            values = after.get(name, [])
            if webhooks.opened(before.get(name, ()), vault) == values:
                continue
            sign = "~" if name in before and values else "+" if values else "-"
            yield Change(
                f"{sign} secret {name} of account {handle}",
                partial(
                    catalogue.replace_secret, account_id=account_id, name=name, sealed=list(map(vault.seal, values))
                ),
            )
