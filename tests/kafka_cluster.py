"""A real Apache Kafka for tests: N nodes, each broker and controller, as plain Java processes that die with us."""

import asyncio
import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

KAFKA = Path(__file__).parent.parent / "deploy" / "kafka"
JARS = KAFKA / "jars"
JVM = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData", "-XX:+ExitOnOutOfMemoryError"]
START_WITHIN = 60.0
PR_SET_PDEATHSIG = 1


def java() -> str | None:
    home = os.environ.get("JAVA_HOME")
    return str(Path(home) / "bin" / "java") if home else shutil.which("java")


def missing() -> str | None:
    """What a machine lacks for these tests, and how to get it."""
    if java() is None:
        return "Java 17 is missing: install a JRE (Debian: openjdk-17-jre-headless) for the tests on a real Kafka"
    if not (JARS / ".complete").exists():
        return "the broker's jars are missing: `make kafka-jars` (it needs Maven) for the tests on a real Kafka"
    return None


class Cluster:
    """Reserves ports, formats, starts; `kill`, `term`, `stop` and `cont` signal one node."""

    def __init__(self, folder: Path, nodes: int = 1) -> None:
        self.folder = folder
        self.nodes = range(1, nodes + 1)
        # Bound and never listened on: nobody else is given these ports, and Java may still listen there.
        self._reserved = [reserve_port() for _ in range(2 * nodes)]
        ports = [s.getsockname()[1] for s in self._reserved]
        self._ports = dict(zip(self.nodes, zip(ports[::2], ports[1::2], strict=True), strict=True))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap(self) -> str:
        return ",".join(f"127.0.0.1:{port}" for port, _ in self._ports.values())

    def start(self) -> None:
        """From the main thread: the children are tied to the thread that starts them."""
        formatting = [self._java("kafka.tools.StorageTool", "format", "--ignore-formatted", "--cluster-id=dragoman",
                                 f"--config={self._configure(node)}", log=node) for node in self.nodes]  # fmt: skip
        if any(process.wait(30) for process in formatting):
            raise AssertionError(f"formatting failed: {self.logs()}")
        for node in self.nodes:
            self.start_node(node)
        self.wait()

    def start_node(self, node: int) -> None:
        self._processes[node] = self._java("kafka.Kafka", str(self.folder / f"{node}.properties"), log=node)

    def wait(self) -> None:
        """Until a metadata request lists every node."""
        until = time.monotonic() + START_WITHIN
        while self._brokers() < len(self.nodes):
            if time.monotonic() > until or any(p.poll() is not None for p in self._processes.values()):
                raise AssertionError(f"Kafka does not start: {self.logs()}")
            time.sleep(0.1)

    def _brokers(self) -> int:
        # In a thread, for an event loop may run in this one; starting stays in it.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(asyncio.run, _brokers(self.bootstrap)).result()

    def signal(self, node: int, which: signal.Signals) -> None:
        self._processes[node].send_signal(which)
        if which in (signal.SIGKILL, signal.SIGTERM):
            self._processes[node].wait(60)

    def close(self) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        for reserved in self._reserved:
            reserved.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def logs(self) -> str:
        found = [path.read_text(errors="replace").splitlines()[-40:] for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(line for lines in found for line in lines)

    def _configure(self, node: int) -> Path:
        port, control = self._ports[node]
        voters = ",".join(f"{n}@127.0.0.1:{c}" for n, (_, c) in self._ports.items())
        own = {
            "node.id": node,
            "listeners": f"PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{control}",
            "controller.quorum.voters": voters,
            "log.dirs": self.folder / f"data-{node}",
            "offsets.topic.replication.factor": min(3, len(self.nodes)),
        }
        path = self.folder / f"{node}.properties"
        lines = [(KAFKA / "server.properties").read_text(), *(f"{name}={value}" for name, value in own.items())]
        path.write_text("\n".join(lines) + "\n")
        return path

    def _java(self, *command: str, log: int) -> subprocess.Popen[bytes]:
        binary = java()
        assert binary is not None
        with (self.folder / f"{log}.log").open("ab") as file:
            return subprocess.Popen(
                [binary, *JVM, "-cp", f"{JARS}/*", *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def reserve_port() -> socket.socket:
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


async def _brokers(bootstrap: str) -> int:
    """How many brokers a metadata request lists; 0 while nobody answers."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=3_000)
    try:
        await admin.start()
        return len((await admin.describe_cluster())["brokers"])
    except KafkaError:
        return 0
    finally:
        await admin.close()
