"""What the doctor says of a deployment that works, and of one in which a single thing is broken."""

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import httpx
import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from cryptography.fernet import Fernet
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

from services.doctor import examine
from services.router import configuration
from services.router import examine as router_examination
from services.sandbox import app as sandbox
from services.together import MailPorts, connections, free_port, sample, stand_ins
from shared.bus.brokers import create_topics
from shared.bus.brokers import examine as examine_brokers
from shared.checks import Check, Finding, answered, answered_in_turn, well
from shared.clock import utc_now
from shared.db.transaction import Database
from shared.errors import InboxMisconfigured
from shared.secrets import Vault
from shared.settings import Settings
from shared.topics import Topic
from shared.trust import trust
from tests.e2e.running import running, until
from tests.sandbox.conftest import address, at_a_port
from tests.servers import Postgres

KEY = Fernet.generate_key().decode()
META, MIRAKL = "messenger: Meta app of the provider: ", "mirakl: A marketplace on Mirakl: "
WHATSAPP, SMS = "whatsapp: WhatsApp numbers of the provider: ", "twilio_sms: Twilio, SMS: "
PHONE, MAIL = "phone: Twilio Voice: ", "email: Mail of Seabird: "


@dataclass
class Deployment:
    """A database with the sample in it and stand-ins that fit it; what a test breaks, the doctor then sees."""

    database_url: str
    url: str
    folder: Path
    wanted: configuration.Wanted
    http: httpx.AsyncClient
    keys: list[str] = field(default_factory=lambda: [KEY])
    now: Callable[[], datetime] = utc_now
    settings: dict[str, Any] = field(default_factory=dict)

    async def examined(self) -> dict[str, Finding]:
        settings = Settings(**({"data_dir": self.folder, "public_url": self.url} | self.settings))
        lines = await examine(
            settings, self.database_url, lambda: Vault(self.keys), router_examination.examine, now=self.now
        )
        assert len({line.check for line in lines}) == len(lines), "each line says which check it is"
        return {line.check: line.finding for line in lines}

    async def wrong(self) -> set[str]:
        found = await self.examined()
        assert all(one.to_do for one in found.values() if one.verdict in ("warning", "wrong"))
        return {check for check, one in found.items() if one.verdict == "wrong"}

    async def sql(self, statement: str) -> None:
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def apply(self, wanted: configuration.Wanted, key: str = KEY) -> None:
        database = Database(self.database_url, role="dragoman_router", size=1)
        await database.open()
        await database.retrying(lambda tx: configuration.apply(tx, wanted, Vault([key]), "test"))
        await database.close()

    async def with_another(self, account: str, secret: str) -> None:
        before = self.wanted.accounts[account]
        after = before.model_copy(update={"secrets": before.secrets | {secret: (SecretStr("not-the-secret"),)}})
        await self.apply(self.wanted.model_copy(update={"accounts": self.wanted.accounts | {account: after}}))


@pytest.fixture
async def deployment(database_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    listening = socket.create_server(("127.0.0.1", 0))
    url = address(listening)
    wanted = sample(f"{url}/sandbox", MailPorts(free_port(), free_port()))
    async with (
        sandbox.serve(stand_ins(wanted, url), connections(wanted, url)) as stands_in,
        at_a_port(Starlette(routes=[Mount("/sandbox", stands_in.app)]), listening),
        httpx.AsyncClient(timeout=10, trust_env=False, verify=trust()) as http,
    ):
        made = Deployment(database_url, url, tmp_path, wanted, http)
        await made.apply(wanted)
        yield made


async def test_where_nothing_is_broken_nothing_is_wrong(deployment: Deployment) -> None:
    found = await deployment.examined()
    assert {check for check, one in found.items() if one.verdict == "wrong"} == set()
    accounts = {check.split(": ")[0] for check in found if check.count(": ") > 1}
    assert accounts == {a.channel for a in deployment.wanted.accounts.values()}, "every channel was asked"
    not_well = {check for check, one in found.items() if one.verdict != "well"}
    assert not_well == {"kafka", "public address", "twilio_whatsapp: Twilio, WhatsApp: webhooks"}


Break = Callable[[Deployment], Awaitable[object]]


def statement(sql: str) -> Break:
    return lambda d: d.sql(sql)


def set_to(**changes: Any) -> Break:
    async def change(deployment: Deployment) -> None:
        for name, value in changes.items():
            setattr(deployment, name, value)

    return change


async def spool_below_a_file(deployment: Deployment) -> None:
    (deployment.folder / "file").write_text("")
    deployment.settings["spool_dir"] = deployment.folder / "file" / "spool"


async def files_in_a_file(deployment: Deployment) -> None:
    (deployment.folder / "file").write_text("")
    deployment.settings["media_dir"] = deployment.folder / "file"


async def key_for_everybody(deployment: Deployment) -> None:
    (deployment.folder / "secret.key").write_text(KEY)
    (deployment.folder / "secret.key").chmod(0o644)


async def page_unsubscribed(deployment: Deployment) -> None:
    url = f"{deployment.url}/sandbox/graph/v25.0/200/subscribed_apps"
    answer = await deployment.http.delete(url, headers={"Authorization": "Bearer sandbox-page-token-200"})
    assert answer.json() == {"success": True}


async def page_without_echoes(deployment: Deployment) -> None:
    await page_unsubscribed(deployment)
    url = f"{deployment.url}/sandbox/graph/v25.0/200/subscribed_apps?subscribed_fields=messages"
    await deployment.http.post(url, headers={"Authorization": "Bearer sandbox-page-token-200"})


async def business_account_unsubscribed(deployment: Deployment) -> None:
    url = f"{deployment.url}/sandbox/whatsapp/v25.0/102290129340398/subscribed_apps"
    answer = await deployment.http.delete(url, headers={"Authorization": "Bearer sandbox-system-user-token"})
    assert answer.json() == {"success": True}


async def other_hook_token(deployment: Deployment) -> None:
    await deployment.with_another("telephones", "hook_token")


async def number_of_somebody_else(deployment: Deployment) -> None:
    await deployment.sql("UPDATE config.inbox SET address = '+4930999' WHERE address = '+493023125100'")
    await deployment.sql("UPDATE config.revision SET n = n + 1")


async def address_of_another_host(deployment: Deployment) -> None:
    deployment.settings["public_url"] = "https://shop.example"


async def vendor_in_trouble(deployment: Deployment) -> None:
    wanted = {"vendor": "mirakl", "mode": "500", "target": "2002", "times": 1}
    answer = await deployment.http.post(f"{deployment.url}/sandbox/control/misbehave", json=wanted)
    assert answer.is_success, answer.text


SMS_NUMBERS = {SMS + "number +4917604069011", SMS + "number +12025550110"}
LINES = {PHONE + "number +493023125100", PHONE + "number +442079460100"}
BROKEN: dict[str, tuple[Break, set[str]]] = {
    "database away": (set_to(database_url="postgresql://127.0.0.1:1/none"), {"database"}),
    "no database named": (set_to(database_url=None), {"database"}),
    "no such database": (set_to(database_url="postgresql:///none?host=/nowhere"), {"database"}),
    "old migration": (statement("UPDATE bus.alembic_version SET version_num = '0007'"), {"database: migrations"}),
    "missing grant": (statement("REVOKE INSERT ON router.message FROM dragoman_router"), {"database: grants"}),
    "schema out of reach": (statement("REVOKE USAGE ON SCHEMA ingest FROM dragoman_ingest"), {"database: grants"}),
    "grant too many": (statement("GRANT SELECT ON config.secret TO dragoman_api"), {"database: grants"}),
    "wall taken down": (
        statement("ALTER TABLE router.customer DISABLE ROW LEVEL SECURITY"), {"database: row-level security"},
    ),
    "wall with a hole": (
        statement("CREATE POLICY hole ON router.customer TO dragoman_api USING (true)"),
        {"database: row-level security"},
    ),
    "clock off": (set_to(now=lambda: utc_now() + timedelta(minutes=1)), {"database: clock"}),
    "zone unknown": (
        statement("UPDATE config.calendar SET zone = 'Europe/Atlantis' WHERE true"), {"calendars"},
    ),
    "wrong key": (set_to(keys=[Fernet.generate_key().decode()]), {"secret keys"}),
    "no key": (set_to(keys=[]), {"secret keys"}),
    "key that is none": (set_to(keys=["abc"]), {"secret keys"}),
    "key for everybody": (key_for_everybody, {"data folder"}),
    "unwritable spool": (spool_below_a_file, {"spool folder"}),
    "unwritable files": (files_in_a_file, {"files' folder"}),
    "page not subscribed": (page_unsubscribed, {META + "webhooks of page 200"}),
    "page without echoes": (page_without_echoes, {META + "webhooks of page 200"}),
    "business account not subscribed": (
        business_account_unsubscribed, {WHATSAPP + "webhooks of business account 102290129340398"},
    ),
    "webhooks to another host": (
        address_of_another_host, {META + "webhooks", WHATSAPP + "webhooks", *SMS_NUMBERS, *LINES},
    ),
    "webhooks to another token": (other_hook_token, LINES),
    "number of somebody else": (number_of_somebody_else, {PHONE + "number +4930999"}),
    "vendor in trouble": (vendor_in_trouble, {MIRAKL + "shop 2002"}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
async def test_what_is_broken_is_the_line_that_is_wrong(deployment: Deployment, name: str) -> None:
    breaks, expected = BROKEN[name]
    await breaks(deployment)
    found = await deployment.wrong()
    # Without its keys an account has no secret to be asked with, and says so itself.
    assert {check for check in found if name != "wrong key" or check.count(": ") < 2} == expected


SECRETS = {
    ("meta", "page_token:200"): {META + "page 200", META + "webhooks of page 200"},
    ("meta", "app_secret"): {META + "webhooks"},
    ("marketplace", "api_key"): {MIRAKL + "shop 2001", MIRAKL + "shop 2002"},
    ("whatsapp", "token"): {
        WHATSAPP + "number 106540352242901", WHATSAPP + "number 106540352242902",
        WHATSAPP + "webhooks of business account 102290129340398",
    },
    ("twilio-sms", "auth_token"): {SMS + "account", *SMS_NUMBERS},
    ("telephones", "auth_token"): {PHONE + "account", *LINES},
    ("mail-seabird", "smtp_password"): {MAIL + "sending"},
    ("mail-seabird", "imap_password"): {MAIL + "folder INBOX"},
}  # fmt: skip


@pytest.mark.parametrize(("account", "secret"), SECRETS)
async def test_a_wrong_secret_is_told_where_it_is_used(deployment: Deployment, account: str, secret: str) -> None:
    await deployment.with_another(account, secret)
    assert await deployment.wrong() == SECRETS[account, secret]


async def test_a_role_that_passes_over_walls_is_told(deployment: Deployment) -> None:
    await deployment.sql("ALTER ROLE dragoman_api BYPASSRLS")
    try:
        assert await deployment.wrong() == {"database: roles"}
    finally:
        await deployment.sql("ALTER ROLE dragoman_api NOBYPASSRLS")


async def test_a_user_who_may_not_act_as_a_role_is_told(deployment: Deployment, postgres: Postgres) -> None:
    user = f"visitor_{uuid4().hex[:8]}"
    await deployment.sql(f"CREATE ROLE {user} LOGIN; GRANT dragoman_ingest TO {user}")
    try:
        deployment.database_url = deployment.database_url.replace("postgres:", f"{user}:", 1)
        assert user in deployment.database_url
        found = await deployment.examined()
    finally:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(f"DROP ROLE {user}")
        await connection.close()
    assert "may not act as dragoman_router, dragoman_api" in found["database: roles"].says


async def test_rows_of_a_used_up_time_and_of_errors_say_what_to_do() -> None:
    async def hangs() -> Finding:
        await asyncio.sleep(60)
        return well("never")

    async def misconfigured() -> Finding:
        raise InboxMisconfigured("no server", code="no_server")

    in_turn = await answered_in_turn(Check(name, hangs, within=0.01) for name in "abcd")
    assert [line.finding.verdict for line in in_turn] == ["wrong", "wrong", "skipped", "skipped"]
    assert "within 0.01 s" in (await answered(Check("a", hangs, within=0.01))).finding.says
    line = await answered(Check("a", misconfigured))
    assert (line.finding.verdict, line.finding.says) == ("wrong", "no server (no_server)")
    assert "mend the configuration" in line.finding.to_do


async def test_a_key_is_changed_as_the_documentation_says(deployment: Deployment) -> None:
    new = Fernet.generate_key().decode()
    deployment.keys = [new, KEY]
    assert await deployment.wrong() == set()
    deployment.keys = [new]
    assert "secret keys" in await deployment.wrong(), "what is stored is sealed with the old one still"
    await deployment.apply(deployment.wanted, key=new)
    assert await deployment.wrong() == set()


@pytest.mark.kafka
async def test_topics_are_looked_at_one_by_one(kafka: str) -> None:
    settings = Settings(kafka_bootstrap=kafka, kafka_prefix=f"test-{uuid4().hex[:8]}.", topic_partitions=2)

    async def verdicts(**changes: Any) -> dict[str, str]:
        lines = await examine_brokers(settings.model_copy(update=changes))
        return {line.check.removeprefix(f"kafka: {settings.kafka_prefix}"): line.finding.verdict for line in lines}

    async def become(expected: dict[str, str]) -> None:
        """Brokers tell each other of changes a moment later."""

        async def are() -> bool:
            return {name: v for name, v in (await verdicts()).items() if v != "well"} == expected

        await until(are)

    assert set((await verdicts()).values()) == {"warning", "wrong"}, "one broker, and none of its topics"
    await create_topics(settings)
    await become({"kafka": "warning"})
    assert len(await verdicts()) == 1 + len(Topic)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    inbound = ConfigResource(ConfigResourceType.TOPIC, settings.kafka_prefix + "inbound", {"retention.ms": "1000"})
    await admin.alter_configs([inbound])
    await admin.create_partitions({settings.kafka_prefix + "media": NewPartitions(total_count=3)})
    await admin.delete_topics([settings.kafka_prefix + "alerts"])
    await admin.close()
    await become({"kafka": "warning", "inbound": "wrong", "media": "warning", "alerts": "wrong"})
    assert await verdicts(kafka_bootstrap="127.0.0.1:1") == {"kafka": "wrong"}


async def dragoman_doctor(*words: str, **environment: str) -> tuple[int | None, str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("DRAGOMAN_")}
    done = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.main", "doctor", *words, env=own | environment,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(done.communicate(), 60)
    return done.returncode, out.decode(), err.decode()


async def test_the_command_on_the_whole_product(database_url: str, tmp_path: Path) -> None:
    """The exit status, both forms, and no secret in any of them."""
    async with running(database_url, tmp_path, secret_keys=[SecretStr(KEY)]) as product:
        environment = {
            "DRAGOMAN_DATABASE_URL": database_url, "DRAGOMAN_SECRET_KEYS": json.dumps([KEY]),
            "DRAGOMAN_PUBLIC_URL": product.url, "DRAGOMAN_DATA_DIR": str(tmp_path),
        }  # fmt: skip
        status, out, err = await dragoman_doctor("--json", **environment)
        found = json.loads(out)
        assert (status, found["status"]) == (0, "well"), out
        broken = environment | {"DRAGOMAN_PUBLIC_URL": "https://elsewhere.example"}
        status, plain, more = await dragoman_doctor(**broken)
        assert status == 1
        assert f"wrong   {META}webhooks: webhooks go to {product.url}, we are https://elsewhere.example -> " in plain
        status, table, _ = await dragoman_doctor(**environment, FORCE_COLOR="1", COLUMNS="200")
        assert (status, "what to do" in table) == (0, True)
    wanted = sample("http://127.0.0.1:9")
    secrets = {s.get_secret_value() for a in wanted.accounts.values() for of in a.secrets.values() for s in of}
    assert not [secret for secret in {*secrets, KEY} if secret in out + err + plain + more + table]
