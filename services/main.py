"""The command `dragoman`.

A command imports its own part only when it runs: all of them together take longer to load than most take to do.
"""

import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
import uvloop
from cryptography.fernet import Fernet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared import telemetry
from shared.channels.contract import Channel
from shared.channels.registry import CHANNELS, channel
from shared.checks import Line
from shared.db.transaction import Database
from shared.errors import DragomanError, InboxMisconfigured
from shared.secrets import Vault, key_file
from shared.settings import Settings

cli = typer.Typer(
    help="Customers' messages from every channel to the agent who speaks the language, and the answer back.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
dead = typer.Typer(help="What could not be read or handled: look at it, and replay it.", no_args_is_help=True)
spool = typer.Typer(help="Events that ingest kept on disk while the bus was away.", no_args_is_help=True)
offsets = typer.Typer(help="Where consumers stand in the log.", no_args_is_help=True)
cli.add_typer(dead, name="dead")
cli.add_typer(spool, name="spool")
cli.add_typer(offsets, name="offsets")
console = Console()
COLOURS = {"well": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}

Work = Callable[[Settings], Coroutine[Any, Any, Any]]


def perform(work: Work) -> Any:
    """Runs one command; an error of ours is a line on stderr and exit status 1, without a traceback."""
    settings = Settings()
    telemetry.configure(settings)
    try:
        return uvloop.run(work(settings))
    except DragomanError as error:
        typer.echo(f"{error.code}: {error}", err=True)
    except OSError as error:
        typer.echo(f"{type(error).__name__}: {error.strerror or error}", err=True)
    raise typer.Exit(1)


def needed_url(settings: Settings) -> str:
    """Raises InboxMisconfigured where no server is named: only `dragoman run` brings its own."""
    if settings.database_url is None:
        raise InboxMisconfigured("set DRAGOMAN_DATABASE_URL to a PostgreSQL server", code="no_database_url")
    return settings.database_url


def vault_of(settings: Settings) -> Vault:
    keys = [key.get_secret_value() for key in settings.secret_keys]
    file = settings.data_dir / "secret.key"
    return Vault(keys or ([key_file(file)] if file.exists() else []))


@asynccontextmanager
async def router_database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(needed_url(settings), role="dragoman_router", size=2)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@cli.command()
def run() -> None:
    """The whole product in one process, on embedded parts: nothing else is needed."""

    async def work(settings: Settings) -> None:
        try:
            # The stand-ins of the vendors are in no production image.
            from services import together
        except ImportError as error:
            raise InboxMisconfigured("this installation has no stand-ins to run with", code="no_sandbox") from error
        await together.run(settings, lambda text: typer.echo(text, err=True))

    perform(work)


@cli.command()
def demo(
    stay: Annotated[bool, typer.Option("--stay", help="Stay up afterwards, at a terminal, to look at it")] = False,
) -> None:
    """Customers write on every channel, simulated agents answer, and each promise is checked: status 1 if one broke."""

    async def work(settings: Settings) -> bool:
        try:
            from services.demo import show
        except ImportError as error:
            raise InboxMisconfigured("this installation has no stand-ins to play with", code="no_sandbox") from error
        return await show.show(settings, console, stay=stay)

    raise typer.Exit(0 if perform(work) else 1)


@cli.command()
def ingest() -> None:
    """The service that vendors call: webhooks and polls, onto Kafka."""
    _serve("ingest")


@cli.command()
def router() -> None:
    """The service that agents use: who answers and by when, and the API."""
    _serve("router")


@cli.command()
def responder() -> None:
    """The service that sends replies and knows what became of them."""
    _serve("responder")


def _serve(service: str) -> None:
    from services import alone

    perform(lambda settings: alone.run(service, settings, needed_url(settings), vault_of(settings)))


@cli.command("secret-key")
def secret_key() -> None:
    """Prints a new key for DRAGOMAN_SECRET_KEYS; keep it, for what is sealed with it opens with nothing else."""
    typer.echo(Fernet.generate_key().decode())


@cli.command()
def topics() -> None:
    """Creates the topics on the brokers and checks their settings."""
    from shared.bus.brokers import create_topics

    for line in perform(create_topics):
        typer.echo(line)


@cli.command()
def migrate() -> None:
    """Brings the database to this build's tables; its own step, before the services start."""
    from shared.db import migrate as migrations

    before, after = perform(lambda settings: migrations.migrate(needed_url(settings)))
    typer.echo(f"{before or 'an empty database'} -> {after}" if before != after else f"already at {after}")


@cli.command()
def apply(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A configuration in YAML")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change")] = False,
) -> None:
    """Makes the configuration what FILE says: checked as a whole, applied as a whole."""

    from services.router import configuration

    async def work(settings: Settings) -> list[str]:
        names = [c.name for c in CHANNELS]
        wanted = configuration.load(file.read_text(), str(file), dict(os.environ), names)
        vault = vault_of(settings)
        async with router_database(settings) as database:
            if dry_run:
                return await database.retrying(lambda tx: configuration.diff(tx, wanted, vault))
            return await database.retrying(lambda tx: configuration.apply(tx, wanted, vault, "dragoman apply"))

    for line in perform(work) or ["nothing to change"]:
        typer.echo(line)


@cli.command()
def check() -> None:
    """Folds every history again and compares it with what is stored."""

    from services.router import check as histories

    async def work(settings: Settings) -> tuple[int, list[str]]:
        async with router_database(settings) as database:
            return await histories.check(database)

    looked_at, wrong = perform(work)
    for line in wrong:
        typer.echo(line)
    typer.echo(f"{looked_at} conversations, {len(wrong)} differ")
    raise typer.Exit(1 if wrong else 0)


@cli.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs")] = False,
) -> None:
    """Whether everything is there and works: database, Kafka, disks, keys, accounts, webhooks. Changes nothing."""

    from services import doctor
    from services.router import examine
    from shared.db.embedded import server

    async def work(settings: Settings) -> list[Line]:
        with ExitStack() as stack:
            url, embedded = settings.database_url, settings.data_dir / "pg"
            if url is None and embedded.exists():
                url = stack.enter_context(server(embedded))
            return await doctor.examine(settings, url, partial(vault_of, settings), examine.examine)

    lines: list[Line] = perform(work)
    is_wrong = any(line.finding.verdict == "wrong" for line in lines)
    shown = [{"check": line.check, **asdict(line.finding)} for line in lines]
    if as_json:
        typer.echo(json.dumps({"status": "wrong" if is_wrong else "well", "checks": shown}, ensure_ascii=False))
    elif console.is_terminal:
        table = Table("check", "", "what was found", "what to do")
        for line in lines:
            said = line.finding
            verdict = Text(said.verdict, COLOURS[said.verdict])
            table.add_row(line.check, verdict, Text(said.says), Text(said.to_do))
        console.print(table)
    else:
        for line in lines:
            to_do = f" -> {line.finding.to_do}" if line.finding.to_do else ""
            typer.echo(f"{line.finding.verdict:8}{line.check}: {line.finding.says}{to_do}")
    raise typer.Exit(1 if is_wrong else 0)


@cli.command()
def inspect(
    name: Annotated[str, typer.Argument(metavar="CHANNEL", help=", ".join(c.name for c in CHANNELS))],
    files: Annotated[list[Path], typer.Argument(exists=True, help="Captured requests as JSON, or mails as .eml")],
    secret: Annotated[list[str] | None, typer.Option(help="NAME=VALUE, to check the signature too")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="NAME=VALUE of the inbox that a mail came to")] = None,
) -> None:
    """What a channel makes of captured requests or mails: one JSON object a file; nothing is sent anywhere."""
    secrets: dict[str, list[str]] = {}
    for given in secret or []:
        key, _, value = given.partition("=")
        secrets.setdefault(key, []).append(value)
    failed = False
    for file in files:
        try:
            result = _inspected(channel(name), file, secrets, setting or [])
        except (DragomanError, ValueError) as error:
            result = {"wrong": [str(error) if isinstance(error, DragomanError) else "the file is not JSON"]}
        failed |= bool(result["wrong"])
        typer.echo(json.dumps({"file": file.name, **result}, ensure_ascii=False, default=str))
    raise typer.Exit(1 if failed else 0)


def _inspected(it: Channel, file: Path, secrets: dict[str, list[str]], given: list[str]) -> dict[str, Any]:
    """Raises BadPayload, ValueError for a capture that is no JSON."""
    from services.ingest import inspect

    if it.read is None:
        return inspect.inspect(it, json.loads(file.read_bytes()), secrets)
    settings: dict[str, Any] = dict(pair.partition("=")[::2] for pair in given)
    lists = {name: settings[name].split(",") for name in ("trusted_authserv_ids", "form_senders") if name in settings}
    return inspect.inspect_file(it, file.read_bytes(), settings | lists)


@dead.command("list")
def dead_list(limit: int = 50) -> None:
    """The newest, without what customers wrote."""
    from services.router.store import dead as store

    async def work(settings: Settings) -> list[dict[str, Any]]:
        async with router_database(settings) as database:
            return await database.retrying(lambda tx: store.newest(tx, limit))

    table = Table("id", "topic", "code", "what was wrong", "count", "last", "replayed")
    for row in perform(work):
        replayed = str(row["replayed_at"] or "")
        table.add_row(str(row["id"]), row["topic"], row["code"], row["error"], str(row["count"]),
                      str(row["last_at"]), replayed)  # fmt: skip
    console.print(table if table.row_count else "nothing is dead")


@dead.command("show")
def dead_show(item: UUID) -> None:
    """One item as it came; it may hold what a customer wrote."""
    from services.router.store import dead as store

    async def work(settings: Settings) -> dict[str, Any] | None:
        async with router_database(settings) as database:
            return await database.retrying(lambda tx: store.get(tx, item))

    row = perform(work)
    if row is None:
        typer.echo("there is no such item", err=True)
        raise typer.Exit(1)
    row["value"] = row["value"].decode("utf-8", "backslashreplace")
    typer.echo(json.dumps(row, ensure_ascii=False, indent=2, default=str))


@dead.command("replay")
def dead_replay(items: list[UUID]) -> None:
    """Publishes items again; a running router carries them out. Twice has one effect."""
    from services.router.store import dead as store

    async def work(settings: Settings) -> list[bool]:
        async with router_database(settings) as database:
            return [await database.retrying(partial(store.replay, id_=item)) for item in items]

    for item, found in zip(items, perform(work), strict=True):
        typer.echo(f"{item}: {'replayed' if found else 'there is no such item'}")


@spool.command("drain")
def spool_drain(directory: Annotated[Path, typer.Argument(exists=True, file_okay=False)]) -> None:
    """Publishes what a lost ingest left in DIRECTORY."""

    async def work(settings: Settings) -> int:
        from services.ingest.spool import adopt
        from shared.bus.kafka import bus_of

        bus = bus_of(settings)
        await bus.start()
        try:
            return await adopt(directory, bus)
        finally:
            await bus.stop()

    typer.echo(f"{perform(work)} events published")


@offsets.command("accept-gap")
def accept_gap(group: str, topic: str, partition: int) -> None:
    """Goes on after events that the log no longer has: a person's decision, for they are lost."""

    async def work(settings: Settings) -> str:
        from shared.bus.kafka import accept_gap as accept

        async with router_database(settings) as database:
            return await accept(settings, database, group, topic, partition)

    typer.echo(perform(work))


def main() -> None:
    """The entry point."""
    cli()


if __name__ == "__main__":
    main()
