"""The configuration file: every mistake named by its line, applied all or nothing, and again without effect."""

import hashlib
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import asyncpg
import pytest
from cryptography.fernet import Fernet

from services.router.configuration import ConfigurationError, Wanted, apply, diff, load
from services.router.domain.plan import choose_plan, choose_policy
from services.router.store.configuration import ConfigurationCache
from shared.channels.registry import CHANNELS
from shared.db.directory import DirectoryCache
from shared.db.transaction import Database
from shared.ids import derived_id, new_id
from shared.secrets import Vault

SAMPLE = Path(__file__).parent.parent.parent / "deploy" / "config" / "sample.yaml"
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


@pytest.fixture
def vault() -> Vault:
    return Vault([Fernet.generate_key().decode()])


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = Database(database_url, role="dragoman_router")
    await opened.open()
    try:
        yield opened
    finally:
        await opened.close()


async def applied(database: Database, vault: Vault, text: str = SMALL, **variables: str) -> list[str]:
    async with database.transaction() as tx:
        return await apply(tx, small(text, {**VARIABLES, **variables}), vault, "test")


# Reading


def test_values_are_what_was_written_and_settings_keep_their_type() -> None:
    wanted = small()
    assert wanted.inboxes["shop-no"].address == "0100"
    assert wanted.inboxes["shop-no"].country == "NO"
    assert wanted.accounts["meta"].settings == {
        "url": "http://vendor/graph",
        "retries": 3,
        "live": True,
        "app_id": "0017",
    }
    assert wanted.policies["default"].first_response == timedelta(hours=8)
    assert wanted.plans["nb"].steps[1].after == 0.5
    assert [value.get_secret_value() for value in wanted.accounts["meta"].secrets["hook_token"]] == [
        "new-token", "old-token",
    ]  # fmt: skip


def test_a_value_of_a_variable_is_text_whatever_it_holds() -> None:
    wanted = small(variables={**VARIABLES, "APP_SECRET": "a: [b, #c"})
    assert wanted.accounts["meta"].secrets["app_secret"][0].get_secret_value() == "a: [b, #c"


# What is replaced in SMALL, by what, and the one mistake that must be named.
MISTAKES = {
    "unknown client": ("client: acme, name: Shop", "client: acne, name: Shop",
                       "4: there is no `acne` in clients; add it there or mend the name"),
    "unknown channel": ("channel: chat", "channel: chart", "8: there is no channel `chart`; there are chat, market"),
    "unknown brand": ("{brand: shop, account", "{brand: shoe, account",
                      "15: there is no `shoe` in brands; add it there or mend the name"),
    "unknown account": ("account: meta", "account: mata",
                        "15: there is no `mata` in accounts; add it there or mend the name"),
    "unknown agent": ("native: [anna]", "native: [anne]",
                      "20: there is no `anne` in agents; add it there or mend the name"),
    "unknown pool": ("{pool: all, after: 0.5}", "{pool: some, after: 0.5}",
                     "23: there is no `some` in pools; add it there or mend the name"),
    "unknown brand of a key": ("supervisor, brands: [shop]", "supervisor, brands: [shop, shoe]",
                               "28: there is no `shoe` in brands; add it there or mend the name"),
    "unknown section": ("api_keys:", "api_kees:", "27: `api_kees` is not known here; remove it or mend its name"),
    "unknown key": ("capacity: 4", "capacity: 4, colour: red",
                    "17: `colour` is not known here; remove it or mend its name"),
    "missing key": ("capacity: 4, ", "", "17: `capacity` is missing; add it"),
    "no capacity": ("capacity: 4", "capacity: 0", "17: `capacity`: input should be greater than or equal to 1"),
    "a language by another name": ("language: nb, native", "language: Norwegian, native",
                                   "20: `language`: a language is a short code such as de, nb or fil"),
    "a country that is none": ("country: NO", "country: UK", "15: `country`: the code of that country is GB"),
    "a locale that is none": ("locale: nb-NO", "locale: nb_NO", "15: `locale`: a locale is written like de or de-CH"),
    "a handle that is none": ("  shop-no:", "  Shop NO:",
                              "15: `Shop NO`: a handle has small letters, digits, dots and hyphens only"),
    "a time without unit": ("first_response: 8h", "first_response: 3600",
                            "26: `first_response`: a time is a number and s, m, h or d, such as 30m"),
    "a warning after the end": ("warn_before: 60m", "warn_before: 8h",
                                "26: `default`: `warn_before` is shorter than `first_response`"),
    "shares that do not begin with 0": ("{pool: nb, after: 0}", "{pool: nb, after: 0.1}",
                                        "23: `nb`: the steps' `after` begins with 0 and grows from step to step"),
    "shares that do not grow": ("after: 0.5", "after: 0",
                                "23: `nb`: the steps' `after` begins with 0 and grows from step to step"),
    "a share of all the time": ("after: 0.5", "after: 1", "23: `steps.1.after`: input should be less than 1"),
    "no last resort": ("default: {steps", "default: {channel: chat, steps",
                       "22: a plan without brand, language and channel is missing; add it as the last resort"),
    "a last resort for some": ("all: {name: Everybody,", "all: {name: Everybody, brands: [shop],",
                               "24: the last resort needs a pool that serves all brands and channels"),
    "an agent twice in a pool": ("fluent: [bernd]}\n  all", "fluent: [anna, bernd]}\n  all",
                                 "20: `anna` stands in this pool twice; native or fluent, once"),
    "a native of no language": ("Everybody, fluent", "Everybody, native",
                                "21: a pool without `language` has no native speakers; list them as fluent"),
    "a hook token that fits no address": ("[new-token,", "[new/token,",
                                          "12: a hook token stands in an address: letters, digits, - and _ only"),
    "a key in no form": ("plain: a-key-of-a-program", "expires_at: 2030-01-01T00:00:00Z",
                         "28: `frontend`: give either `sha256` or `plain`"),
    "a key that is too short": ("a-key-of-a-program", "short", "28: `plain`: value should have at least 16 items"
                                " after validation, not 5"),
    "a scope beyond the role": ("supervisor, brands: [shop]", "supervisor, scopes: [read, admin], brands: [shop]",
                                "28: `frontend`: the role supervisor may not admin; leave that out of `scopes`"),
    "the subject of another's handle": ("{name: Bernd,", "{name: Bernd, subject: anna,",
                                        "18: `anna` has the same subject (without one, that is the handle); "
                                        "keep one of them"),
    "a variable that is not set": ("${APP_SECRET}", "${APP_SECRETS}",
                                   "13: the variable APP_SECRETS is not set; set it in the environment"),
    "the same name twice": ("  other: {client: acme, name: Other}", "  shop: {client: acme, name: Other}",
                            "5: `shop` stands here twice; remove one"),
    "the same address twice": ("agents:", "  second: {brand: other, account: meta, address: 0100, name: X}\nagents:",
                               "16: `shop-no` has the same account and address; keep one of them"),
    "the same plan twice": ("policies:", "  again: {language: nb, steps: [{pool: all, after: 0}]}\npolicies:",
                            "25: `nb` has the same brand, language and channel; keep one of them"),
    "an alias": ("brands: [shop]}\n  bernd", "brands: *all}\n  bernd",
                 "17: this is not YAML: an alias (*name); write the value out"),
    "no YAML": ("agents:", "agents: [", "18: this is not YAML: "),
    "no text": ("Anna", "\x07", "17: this is not YAML: a character that no text has; save the file as UTF-8"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_by_file_and_line(name: str) -> None:
    what, by, told = MISTAKES[name]
    assert what in SMALL
    found = problems(SMALL.replace(what, by, 1))
    assert any(problem.startswith(f"small.yaml:{told}") for problem in found), found


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines() -> None:
    text = (
        SMALL.replace("client: acme, name: Shop", "client: acne, name: Shop")
        .replace("country: NO", "country: Norway")
        .replace("native: [anna]", "native: [anne]")
        .replace("capacity: 2", "capacity: many")
    )
    assert [problem.split(": ")[0] for problem in problems(text)] == [
        "small.yaml:4", "small.yaml:15", "small.yaml:18", "small.yaml:20",
    ]  # fmt: skip


def test_an_entry_with_a_mistake_is_not_missing_elsewhere() -> None:
    assert len(problems(SMALL.replace("capacity: 2", "capacity: 0"))) == 1


@pytest.mark.parametrize("text", ["", "clients:", "- a\n- b", "just words", "a: b: c", "!!python/object:os.system {}"])
def test_a_file_that_is_no_configuration_is_refused(text: str) -> None:
    assert problems(text)


@pytest.mark.parametrize(
    "wrong",
    [SMALL.replace("${APP_SECRET}", "{a: s3cret-value}"), SMALL.replace("${APP_SECRET}", '"s3cret-value'),
     SMALL.replace("[new-token, old-token]", "[s3cret/value]"), SMALL.replace("a-key-of-a-program", "s3cret-value"),
     SMALL.replace("plain: a-key", "sha256: s3cret-value-key")],
)  # fmt: skip
def test_no_secret_is_quoted_by_a_mistake(wrong: str) -> None:
    assert "s3cret" not in "\n".join(problems(wrong))


def test_no_secret_is_shown_by_what_was_read() -> None:
    assert "s3cret" not in repr(small())
    assert "a-key-of-a-program" not in repr(small())


# Applying


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


# The sample


def sample() -> Wanted:
    names = [channel.name for channel in CHANNELS]
    variables = {"SANDBOX_URL": "http://127.0.0.1:1/sandbox", "SANDBOX_IMAP_PORT": "1143", "SANDBOX_SMTP_PORT": "1025"}
    return load(SAMPLE.read_text("utf-8"), SAMPLE.name, variables, names)


def test_the_sample_gives_every_language_natives_and_a_fluent_fallback() -> None:
    wanted = sample()
    languages = {"de", "fr", "it", "es", "nl", "pl", "en", "sv", "da", "nb", "fi", "ja"}
    assert {plan.language for plan in wanted.plans.values()} == {*languages, None}
    for language in languages:
        [steps] = [plan.steps for plan in wanted.plans.values() if plan.language == language]
        assert [step.after for step in steps] == [0, 0.4, 0.7]
        natives, fluent, generalists = (wanted.pools[step.pool] for step in steps)
        assert len(natives.native) >= 2
        assert not natives.fluent
        assert fluent.fluent
        assert natives.language == fluent.language == language
        assert generalists.language is None


async def test_the_sample_can_be_applied_and_holds_the_targets_of_the_trade(database: Database, vault: Vault) -> None:
    async with database.transaction() as tx:
        await apply(tx, sample(), vault, "test")
        read = await ConfigurationCache().current(tx)
        assert await diff(tx, sample(), vault) == []
    assert (len(read.brand_names), len(read.agents)) == (3, 30)
    targets = {
        inbox.name: (policy.first_response, policy.warn_before)
        for inbox in read.inboxes.values()
        if (policy := choose_policy(read, inbox.brand_id, inbox.channel, inbox.country)) is not None
    }
    minutes, hours = (lambda n: timedelta(minutes=n)), (lambda n: timedelta(hours=n))
    assert targets == {
        "Alpenlicht on Messenger": (minutes(60), minutes(30)),
        "Bergwerk on Messenger": (minutes(60), minutes(30)),
        "Seabird on Messenger": (minutes(15), minutes(5)),
        "Alpenlicht FR": (hours(24), hours(4)),
        "Seabird ES": (hours(24), hours(4)),
        **dict.fromkeys(
            [
                "Alpenlicht on WhatsApp", "Seabird on WhatsApp", "Alpenlicht on WhatsApp (Twilio)",
                "Seabird on WhatsApp (Twilio)", "Alpenlicht by SMS", "Seabird by SMS",
            ],
            (minutes(60), minutes(30)),
        ),
        **dict.fromkeys(["Alpenlicht", "Alpenlicht Retours", "Seabird"], (hours(8), hours(1))),
        "Alpenlicht by telephone": (minutes(15), minutes(5)),
        "Seabird by telephone": (minutes(5), minutes(2)),
    }  # fmt: skip
