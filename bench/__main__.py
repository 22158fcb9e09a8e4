"""`make bench`: every figure as a ratio against something measured in the same run.

Prints a table and writes JSON lines (`name, value, unit, against, ratio, conditions`) to `bench/results/`.
"""

import asyncio
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench import hook_ack, idle, latency, router
from bench.figures import Figure
from tests import kafka_cluster, servers

RESULTS = Path(__file__).parent / "results"


async def measure(postgres: servers.Postgres, kafka: str | None, wanted: set[str]) -> list[Figure]:
    """Each bench in turn, alone on the machine."""
    await postgres.prepare()
    figures: list[Figure] = []
    benches = {
        "hook_ack": hook_ack.measure,
        "router_messages": router.messages,
        "dispatch_assignments": router.assignments,
        "webhook_to_agent": latency.webhook_to_agent,
        "reply_to_vendor": latency.reply_to_vendor,
        "idle": idle.measure,
    }
    for name, bench in benches.items():
        if wanted and name not in wanted:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        figures += await bench(postgres, kafka)
    return figures


def main() -> None:
    conditions = f"{platform.python_version()}, {os.cpu_count()} cores"
    cluster = None
    with TemporaryDirectory(prefix="dragoman-bench-") as folder, servers.postgres(fsync=True) as postgres:
        if kafka_cluster.missing() is None:
            cluster = kafka_cluster.Cluster(Path(folder))
            cluster.start()
        else:
            print(f"without Kafka: {kafka_cluster.missing()}", file=sys.stderr)
        try:
            figures = asyncio.run(measure(postgres, cluster.bootstrap if cluster else None, set(sys.argv[1:])))
        finally:
            if cluster is not None:
                cluster.close()
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    table = Table("figure", "value", "unit", "against", "ratio", "conditions")
    with file.open("w") as lines:
        for figure in figures:
            line = figure.line(conditions)
            lines.write(json.dumps(line) + "\n")
            table.add_row(*(str(line[name]) for name in ("name", "value", "unit", "against", "ratio", "conditions")))
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
