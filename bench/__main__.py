"""`make bench`: every figure as a ratio against something measured in the same run.

Prints a table and writes JSON lines (`name, value, unit, against, ratio, conditions`) to `bench/results/`.
"""

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import uvloop
from rich.console import Console
from rich.table import Table

from bench import console, hook_ack, idle, latency, mail, opened, router, stream
from bench.figures import Figure
from tests import kafka_cluster, servers

RESULTS = Path(__file__).parent / "results"


Keep = Callable[[Figure], None]


async def measure(postgres: servers.Postgres, kafka: str | None, wanted: set[str], keep: Keep) -> None:
    """Each bench in turn, alone on the machine."""
    await postgres.prepare()
    benches = {
        "hook_ack": hook_ack.measure,
        "router_messages": router.messages,
        "dispatch_assignments": router.assignments,
        "webhook_to_agent": latency.webhook_to_agent,
        "reply_to_vendor": latency.reply_to_vendor,
        "mail_read": mail.read_one,
        "mailbox_to_router": mail.mailbox_to_router,
        "streams": stream.streams,
        "conversation_opened": opened.opened,
        "idle": idle.measure,
        "console": console.measure,
    }
    for name, bench in benches.items():
        if wanted and name not in wanted:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        for figure in await bench(postgres, kafka):
            keep(figure)


def main() -> None:
    conditions = f"{platform.python_version()}, {os.cpu_count()} cores"
    cluster = None
    with TemporaryDirectory(prefix="dragoman-bench-") as folder, servers.postgres(fsync=True) as postgres:
        if kafka_cluster.missing() is None:
            cluster = kafka_cluster.Cluster(Path(folder))
            cluster.start()
        else:
            print(f"without Kafka: {kafka_cluster.missing()}", file=sys.stderr)
        RESULTS.mkdir(exist_ok=True)
        file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
        table = Table("figure", "value", "unit", "against", "ratio", "conditions")
        # Line by line: a bench that fails takes no other's figures with it.
        with file.open("w", buffering=1) as lines:

            def keep(figure: Figure) -> None:
                line = figure.line(conditions)
                lines.write(json.dumps(line) + "\n")
                table.add_row(*(str(line[n]) for n in ("name", "value", "unit", "against", "ratio", "conditions")))

            try:
                uvloop.run(measure(postgres, cluster.bootstrap if cluster else None, set(sys.argv[1:]), keep))
            finally:
                if cluster is not None:
                    cluster.close()
                Console(width=160).print(table)


if __name__ == "__main__":
    main()
