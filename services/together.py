"""All services and the sandbox in one process and on one port: `dragoman run`."""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from services.health import health, switch
from services.ingest import app as ingest
from services.media import media_of
from services.responder import app as responder
from services.router import app as router
from services.router import configuration
from services.sandbox import app as sandbox
from services.sandbox.stand_in import Connection
from services.sandbox.state import SandboxConfig
from services.serving import listen, serve
from services.traced import answering, api_route, hook_route, traced
from shared.accounts import HOOK_TOKEN
from shared.bus.inprocess import InProcessBus
from shared.channels.registry import CHANNELS
from shared.db.embedded import server
from shared.db.migrate import migrate
from shared.db.transaction import Database
from shared.ids import derived_id
from shared.parts import Parts
from shared.secrets import Vault, key_file
from shared.settings import Settings
from shared.telemetry import metrics_app

log = logging.getLogger(__name__)

SAMPLE = Path(__file__).parent.parent / "deploy" / "config" / "sample.yaml"
# Where `dragoman run` has the stand-in's mail servers, if these ports are free.
IMAP_PORT, SMTP_PORT = 1143, 1025
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class MailPorts:
    """Where the stand-in's mail servers listen on loopback."""

    imap: int = IMAP_PORT
    smtp: int = SMTP_PORT


@dataclass(frozen=True, slots=True)
class Together:
    """The whole product in this process."""

    app: ASGIApp
    parts: Parts
    ingest: ingest.Ingest
    sandbox: sandbox.Sandbox


def sample(sandbox_url: str, mail: MailPorts | None = None) -> configuration.Wanted:
    """The configuration that is shipped to begin with; its accounts are those of the stand-ins."""
    channels = [channel.name for channel in CHANNELS]
    mail = mail or MailPorts()
    variables = {
        "SANDBOX_URL": sandbox_url, "SANDBOX_IMAP_PORT": str(mail.imap), "SANDBOX_SMTP_PORT": str(mail.smtp),
    }  # fmt: skip
    return configuration.load(SAMPLE.read_text(), SAMPLE.name, variables, channels)


def stand_ins(wanted: configuration.Wanted, url: str) -> SandboxConfig:
    """Stand-ins that fit the accounts and inboxes of a configuration; webhooks go to `url`."""
    meta = next(account for account in wanted.accounts.values() if account.channel == "messenger")
    mirakl = next(account for account in wanted.accounts.values() if account.channel == "mirakl")

    def secret(account: configuration.Account, name: str) -> str:
        return account.secrets[name][0].get_secret_value()

    inboxes = list(wanted.inboxes.values())
    pages = [inbox for inbox in inboxes if wanted.accounts[inbox.account] is meta]
    shops = [inbox for inbox in inboxes if wanted.accounts[inbox.account] is mirakl]
    return SandboxConfig(
        pages={page.address: secret(meta, f"page_token:{page.address}") for page in pages},
        human_agent_pages=frozenset(page.address for page in pages if page.settings.get("human_agent")),
        app_id=str(meta.settings["app_id"]),
        app_secret=secret(meta, "app_secret"),
        verify_token=secret(meta, "verify_token"),
        hook_url=f"{url}/hooks/messenger/{secret(meta, 'hook_token')}",
        api_key=secret(mirakl, "api_key"),
        shops={shop.address: shop.name for shop in shops},
    )


def connections(wanted: configuration.Wanted, url: str) -> dict[str, list[Connection]]:
    """The accounts of a configuration by channel, as their vendors know them."""
    found: dict[str, list[Connection]] = {}
    for handle, account in wanted.accounts.items():
        secrets = {name: [s.get_secret_value() for s in several] for name, several in account.secrets.items()}
        tokens = secrets.get(HOOK_TOKEN, ())
        connection = Connection(
            name=handle,
            channel=account.channel,
            settings=account.settings,
            secrets=secrets,
            inboxes={i.address: i.settings for i in wanted.inboxes.values() if i.account == handle},
            hook_url=f"{url}/hooks/{account.channel}/{tokens[0]}" if tokens else "",
        )
        found.setdefault(account.channel, []).append(connection)
    return found


# The stand-in of an issuer, where nothing else is configured: what its tokens and the console name.
OPENID = {"oidc_audience": "dragoman", "oidc_client_id": "dragoman-console"}


def openid(wanted: configuration.Wanted, url: str) -> Connection:
    """What the console at `url` agreed with the stand-in of an OpenID issuer; its users are the agents."""
    return Connection(
        name="oidc",
        settings={
            "issuer": f"{url}/sandbox/oidc",
            "client_id": OPENID["oidc_client_id"],
            "audience": OPENID["oidc_audience"],
            "redirect_uris": [f"{url}/console", f"{url}/console/"],
            "users": {agent.subject or handle: agent.name for handle, agent in wanted.agents.items()},
        },
    )


async def configure(parts: Parts, wanted: configuration.Wanted) -> list[str]:
    """Applies a configuration; the differences."""
    database = Database(parts.database_url, role="dragoman_router", clock=parts.clock, size=1)
    await database.open()
    try:
        return await database.retrying(lambda tx: configuration.apply(tx, wanted, parts.vault, "dragoman run"))
    finally:
        await database.close()


@asynccontextmanager
async def together(parts: Parts, url: str, wanted: configuration.Wanted) -> AsyncIterator[Together]:
    """Everything at `url` until left, with stand-ins that fit `wanted`.

    Leaving goes against the stream, so each stage drains into a living next one.
    """
    async with AsyncExitStack() as stack:
        parts = await stack.enter_async_context(traced(parts, "dragoman"))
        await parts.bus.start()
        stack.push_async_callback(parts.bus.stop)
        sends = await stack.enter_async_context(responder.serve(parts))
        routes = await stack.enter_async_context(router.serve(parts))
        takes = await stack.enter_async_context(ingest.serve(parts))
        known = connections(wanted, url) | {"oidc": [openid(wanted, url)]}
        stands_in = await stack.enter_async_context(sandbox.serve(stand_ins(wanted, url), known))

        def troubles() -> Sequence[str]:
            stopping = ["going down"] if parts.stopping.is_set() else []
            return [*stopping, *parts.bus.troubles(), *takes.troubles(), *routes.troubles(), *sends.troubles()]

        app = switch(
            [
                ("/hooks", answering(takes.app, parts.traces, hook_route)),
                ("/media", media_of(parts)),
                ("/health", health(troubles)),
                ("/metrics", metrics_app()),
                ("/sandbox", _below("/sandbox", stands_in.app)),
            ],
            answering(routes.app, parts.traces, api_route),
        )
        yield Together(app, parts, takes, stands_in)


def _below(prefix: str, app: ASGIApp) -> ASGIApp:
    async def stripped(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "path": scope["path"].removeprefix(prefix)}, receive, send)

    return stripped


async def run(settings: Settings, say: Say) -> None:
    """`dragoman run`: sets up what is missing, starts everything, says what to try."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    listening = listen(settings.host, settings.port)
    url = f"http://{settings.host}:{listening.getsockname()[1]}"
    with ExitStack() as stack:
        database_url = settings.database_url
        if database_url is None:
            first = not (settings.data_dir / "pg").exists()
            say("Starting the embedded PostgreSQL" + (" (the first time takes some seconds)" if first else ""))
            database_url = stack.enter_context(server(settings.data_dir / "pg"))
        before, after = await migrate(database_url)
        if before != after:
            say(f"Migrated the database to {after}")
        keys = [key.get_secret_value() for key in settings.secret_keys]
        vault = Vault(keys or [key_file(settings.data_dir / "secret.key")])
        is_embedded = settings.database_url is None
        issuer = {"oidc_issuer": f"{url}/sandbox/oidc", **OPENID} if is_embedded and not settings.oidc_issuer else {}
        alone = settings.model_copy(
            update={
                "public_url": settings.public_url or url,
                "development_tokens": settings.development_tokens or is_embedded,
                "poll_every": min(settings.poll_every, 5.0),
                **issuer,
            }
        )
        parts = Parts(settings=alone, database_url=database_url, bus=InProcessBus(), vault=vault)
        mail = MailPorts(free_port(IMAP_PORT), free_port(SMTP_PORT))
        wanted = sample(f"{url}/sandbox", mail)
        changes = await configure(parts, wanted)
        if changes:
            say(f"Applied the sample configuration ({len(changes)} changes)")
        async with together(parts, url, wanted) as all_of_it:
            say(to_try(url, mail))
            await serve(all_of_it.app, parts, listening)
            say("Stopping")


def free_port(wanted: int = 0) -> int:
    """The wanted port of loopback, another one where it is taken."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", wanted))
        except OSError:
            return free_port()
        return int(tried.getsockname()[1])


def to_try(url: str, mail: MailPorts) -> str:
    """What `dragoman run` says at its start; the secrets in it are the stand-ins' own, and public."""
    return f"""
Dragoman runs at {url}
  {url}/console/       for agents: sign in as anna, claire, ... or sam, a supervisor
  {url}/v1/docs        the API, to look at and try
  {url}/health/ready   whether everything works
  {url}/metrics        for Prometheus
Tokens are `dev-` and an agent's handle here (dev-anna, dev-claire, dev-sam, ...): never on a real deployment.

Try it, in another terminal:
1. Anna comes to work, and a customer writes to the page Alpenlicht:
   curl -s -X PUT {url}/v1/presence -H 'Authorization: Bearer dev-anna' -H 'Content-Type: application/json' -d '{{"status": "available"}}'
   curl -s {url}/sandbox/control/messenger/messages -d '{{"page": "100", "psid": "4711", "text": "Wo bleibt meine Bestellung?"}}'
2. Anna sees what is held out to her:
   curl -s '{url}/v1/conversations?agent=me' -H 'Authorization: Bearer dev-anna'
3. She accepts it and answers; the stand-in shows what reached the vendor:
   ID=$(curl -s '{url}/v1/conversations?agent=me' -H 'Authorization: Bearer dev-anna' | python3 -c 'import json,sys; print(json.load(sys.stdin)["items"][0]["id"])')
   curl -s -X POST {url}/v1/conversations/$ID/accept -H 'Authorization: Bearer dev-anna' -H 'If-Match: *' -H "Idempotency-Key: accept-$ID"
   curl -s -X POST {url}/v1/conversations/$ID/reply -H 'Authorization: Bearer dev-anna' -H 'If-Match: *' -H "Idempotency-Key: reply-$ID" -H 'Content-Type: application/json' -d '{{"text": "Ihr Paket ist unterwegs."}}'
   curl -s {url}/sandbox/control/messenger/sent

On the other channels somebody writes by WhatsApp, then from the same number by SMS, and asks to be called: one customer.
   curl -s {url}/sandbox/control/whatsapp/messages -d '{{"number": "106540352242901", "phone": "+4915123456789", "text": "Ist mein Paket schon da?"}}'
   curl -s {url}/sandbox/control/twilio/messages -d '{{"to": "+4917604069011", "from": "+4915123456789", "text": "Und wo ist es jetzt?"}}'
   curl -s -X POST {url}/v1/callback-requests -H 'Authorization: Bearer dev-sam' -H 'Idempotency-Key: call-1' -H 'Content-Type: application/json' -d '{{"phone": "+4915123456789", "brand_id": "{derived_id("brand", "alpenlicht")}"}}'
   curl -s {url}/sandbox/control/phone/calls

The mail server of the stand-ins: IMAP at 127.0.0.1:{mail.imap}, SMTP at 127.0.0.1:{mail.smtp}, without TLS; any mail program
can open support@alpenlicht.example with the password sandbox-mail-password. A customer writes a mail to it:
   curl -s {url}/sandbox/control/email/messages -d '{{"to": "support@alpenlicht.example", "subject": "Paket", "text": "Wo bleibt mein Paket?"}}'
   curl -s {url}/sandbox/control/email/sent
"""  # noqa: E501
