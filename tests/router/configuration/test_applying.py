"""Applying: all or nothing, and again without effect."""

import hashlib

import asyncpg
import pytest
from cryptography.fernet import Fernet

from services.router.configuration import ConfigurationError, diff
from services.router.domain.plan import choose_plan
from services.router.store.configuration import ConfigurationCache
from shared.db.directory import DirectoryCache
from shared.db.transaction import Database
from shared.ids import derived_id, new_id
from shared.secrets import Vault
from tests.router.configuration.small import SMALL, applied, small


async def test_the_first_apply_makes_everything_and_the_second_nothing(database: Database, vault: Vault) -> None:
    lines = await applied(database, vault)
    assert "+ brand shop" in lines
    assert "+ secret app_secret of account meta" in lines
    assert await applied(database, vault) == []
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT n FROM config.revision") == 2
        [audit] = await tx.fetch("SELECT actor, action, data, at FROM router.audit")
    assert (audit["actor"], audit["action"], audit["data"]) == ("test", "configuration.applied", {"changes": lines})


async def test_services_read_what_was_applied(database: Database, vault: Vault) -> None:
    await applied(database, vault)
    directory = DirectoryCache(database, vault)
    await directory.refresh()
    account = directory.current.by_hook_token["old-token"]
    assert account.secrets["hook_token"] == ["new-token", "old-token"]
    assert account.secret("app_secret") == "s3cret"
    assert account.settings["live"] is True
    [inbox] = account.inboxes.values()
    assert (inbox.id, inbox.address, inbox.channel, inbox.country) == (
        derived_id("inbox", "shop-no"),
        "0100",
        "chat",
        "NO",
    )
    async with database.transaction() as tx:
        read = await ConfigurationCache().current(tx)
    plan = choose_plan(read, inbox.brand_id, "nb", "chat")
    assert plan is not None
    assert [(read.pools[step.pool_id].handle, step.after) for step in plan.steps] == [("nb", 0), ("all", 0.5)]
    assert read.pools[derived_id("pool", "nb")].members == {
        derived_id("agent", "anna"): "native", derived_id("agent", "bernd"): "fluent",
    }  # fmt: skip


async def test_a_key_is_known_by_its_digest_alone(database: Database, vault: Vault) -> None:
    await applied(database, vault)
    async with database.transaction() as tx:
        [key] = await tx.fetch("SELECT name, digest, role, brands FROM config.api_key")
    assert key["digest"] == hashlib.sha256(b"a-key-of-a-program").digest()
    assert (key["name"], key["role"], key["brands"]) == ("frontend", "supervisor", [derived_id("brand", "shop")])


async def test_showing_changes_nothing(database: Database, vault: Vault) -> None:
    async with database.transaction() as tx:
        lines = await diff(tx, small(), vault)
        assert await tx.fetchval("SELECT count(*) FROM config.brand") == 0
    assert await applied(database, vault) == lines


# What is replaced in SMALL, by what, and the lines.
CHANGES = {
    "a name": ("name: Anna,", "name: Anna Berg,", ["~ agent anna: name"]),
    "several things of one": ("locale: nb-NO, country: NO", "locale: nn-NO, country: SJ",
                              ["~ inbox shop-no: locale, country"]),
    "a subject": ("name: Anna,", "name: Anna, subject: 00u1,", ["~ agent anna: subject"]),
    "who is away for long": ("name: Anna,", "name: Anna, is_active: false,", ["~ agent anna: is_active"]),
    "a key's scopes": ("supervisor, brands: [shop]", "supervisor, scopes: [read], brands: [shop]",
                       ["~ api key frontend: scopes"]),
    "a setting": ("retries: 3", "retries: 4", ["~ account meta: settings"]),
    "a new brand": ("accounts:", "  third: {client: acme, name: Third}\naccounts:", ["+ brand third"]),
    "a member less": ("native: [anna], fluent: [bernd]", "native: [anna]", ["~ pool nb: members"]),
    "another level": ("native: [anna], fluent: [bernd]", "fluent: [anna, bernd]", ["~ pool nb: members"]),
    "a plan less": ("  nb: {language: nb, steps: [{pool: nb, after: 0}, {pool: all, after: 0.5}]}\n", "",
                    ["- plan nb"]),
    "another share": ("after: 0.5", "after: 0.6", ["~ plan nb: steps"]),
    "another target": ("8h", "9h", ["~ policy default: first_response"]),
    "a new key": ("a-key-of-a-program", "another-key-of-it", ["- api key frontend", "+ api key frontend"]),
    "a rotated token": ("[new-token, old-token]", "[newest-token, new-token]", ["~ secret hook_token of account meta"]),
    "the order of values": ("[new-token, old-token]", "[old-token, new-token]",
                            ["~ secret hook_token of account meta"]),
    "a secret less": ("      app_secret: ${APP_SECRET}\n", "", ["- secret app_secret of account meta"]),
    "a secret more": ("      app_secret:", "      verify_token: x\n      app_secret:",
                      ["+ secret verify_token of account meta"]),
    "an inbox less": ("inboxes:\n  shop-no: {brand: shop, account: meta, address: 0100, name: Shop, locale: nb-NO, "
                      "country: NO}\n", "", ["= inbox shop-no is not in the file and was left in place"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
async def test_only_what_differs_is_changed(database: Database, vault: Vault, name: str) -> None:
    what, by, told = CHANGES[name]
    assert what in SMALL
    await applied(database, vault)
    changed = SMALL.replace(what, by, 1)
    assert await applied(database, vault, changed) == told
    left = [line for line in told if line.startswith("=")]
    assert await applied(database, vault, changed) == left


async def test_who_left_stays_in_the_history_and_out_of_the_pools(database: Database, vault: Vault) -> None:
    await applied(database, vault)
    left = (
        SMALL.replace("  bernd: {name: Bernd, capacity: 2, brands: [shop, other]}\n", "")
        .replace("native: [anna], fluent: [bernd]", "native: [anna]")
        .replace("Everybody, fluent: [bernd]", "Everybody, fluent: [anna]")
    )
    goes = "~ agent bernd: is_active, for it is not in the file"
    assert await applied(database, vault, left) == [goes, "~ pool nb: members", "~ pool all: members"]
    assert await applied(database, vault, left) == ["= agent bernd is not in the file and was left in place"]
    assert "~ agent bernd: is_active" in await applied(database, vault)


async def test_keys_that_the_api_made_are_no_matter_of_the_files(database: Database, vault: Vault) -> None:
    await applied(database, vault)
    async with database.transaction() as tx:
        await tx.execute(
            "INSERT INTO config.api_key (id, name, digest, role, brands, created_at, created_by) "
            "VALUES ($1, 'frontend', 'x', 'admin', '{}', $2, 'ada')",
            new_id(), tx.now,
        )  # fmt: skip
    assert await applied(database, vault) == []
    assert await applied(database, vault, SMALL[: SMALL.index("api_keys:")]) == ["- api key frontend"]
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT created_by FROM config.api_key") == "ada"


async def test_a_pool_leaves_with_its_members_unless_a_conversation_waits_in_it(
    database: Database, database_url: str, vault: Vault
) -> None:
    without = SMALL.replace("  nb: {name: Norwegian, language: nb, native: [anna], fluent: [bernd]}\n", "").replace(
        "{pool: nb, after: 0}, {pool: all, after: 0.5}", "{pool: all, after: 0}"
    )
    await applied(database, vault)
    connection = await asyncpg.connect(database_url)
    try:
        # A row without its conversation is enough here.
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(
            "INSERT INTO router.queue (pool_id, conversation_id, brand_id, step, sort_at, queued_at) "
            "VALUES ($1, $2, $3, 0, now(), now())",
            derived_id("pool", "nb"), new_id(), derived_id("brand", "shop"),
        )  # fmt: skip
        assert "= pool nb is not in the file and was left in place" in await applied(database, vault, without)
        await connection.execute("DELETE FROM router.queue")
    finally:
        await connection.close()
    assert await applied(database, vault, without) == ["- pool nb"]
    async with database.transaction() as tx:
        assert await tx.fetchval("SELECT count(*) FROM config.pool_member") == 1


async def test_a_secret_that_no_key_opens_any_more_is_sealed_anew(database: Database, vault: Vault) -> None:
    await applied(database, vault)
    after_the_loss = Vault([Fernet.generate_key().decode()])
    assert await applied(database, after_the_loss) == [
        "~ secret app_secret of account meta", "~ secret hook_token of account meta",
    ]  # fmt: skip
    assert await applied(database, after_the_loss) == []


async def test_two_keys_may_exchange_their_names(database: Database, vault: Vault) -> None:
    two = SMALL + "  backend: {role: supervisor, brands: [shop], plain: b-key-of-a-program}\n"
    await applied(database, vault, two)
    exchanged = two.replace("a-key", "x-key").replace("b-key", "a-key").replace("x-key", "b-key")
    assert len(await applied(database, vault, exchanged)) == 4
    assert await applied(database, vault, exchanged) == []


@pytest.mark.parametrize(
    ("what", "by", "told"),
    [
        ("{brand: shop, account", "{brand: other, account",
         "inbox shop-no never changes its brand; give the new one a handle of its own"),
        ("channel: chat", "channel: market",
         "inbox shop-no never changes its channel; give the new one a handle of its own"),
        ("  shop-no:", "  shop-norway:", "inbox shop-norway has the address of inbox shop-no; keep that handle"),
    ],
    ids=["brand", "channel", "handle"],
)  # fmt: skip
async def test_what_would_tear_a_history_apart_is_refused_and_nothing_is_changed(
    database: Database, vault: Vault, what: str, by: str, told: str
) -> None:
    await applied(database, vault)
    with pytest.raises(ConfigurationError) as raised:
        await applied(database, vault, SMALL.replace(what, by, 1).replace("name: Anna,", "name: Hanna,"))
    assert raised.value.problems == [told]
    assert await applied(database, vault) == []
