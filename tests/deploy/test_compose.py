"""The compose file and the image's recipe, as far as they can be read without a container engine."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from services.main import cli
from shared.settings import Settings

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
OURS = ("migrate", "topics", "ingest", "router", "responder")


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_the_file_fits_the_specification() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", COMPOSE],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_command_is_one_of_ours() -> None:
    commands = {command.name or command.callback.__name__ for command in cli.registered_commands}  # type: ignore[union-attr]
    assert {services()[name]["command"][0] for name in OURS} <= commands


def test_every_variable_is_a_setting() -> None:
    recipe = re.findall(r"\bDRAGOMAN_(\w+)=", DOCKERFILE.read_text())
    given = [name for service in OURS for name in services()[service]["environment"]]
    wanted = {name.lower() for name in recipe} | {name.removeprefix("DRAGOMAN_").lower() for name in given}
    assert wanted <= set(Settings.model_fields), wanted - set(Settings.model_fields)
    assert {"database_url", "kafka_bootstrap", "secret_keys", "spool_dir", "media_dir", "host", "port"} <= wanted


def test_the_services_start_when_everything_is_set_up_and_change_nothing_of_their_image() -> None:
    for name in ("ingest", "router", "responder"):
        service = services()[name]
        assert {"migrate", "topics"} <= {
            other for other, when in service["depends_on"].items()
            if when["condition"] == "service_completed_successfully"
        }  # fmt: skip
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
    assert services()["migrate"]["restart"] == "no"
    # Nobody else writes into a spool, and everybody sees the same files.
    mounted = {name: services()[name].get("volumes", []) for name in OURS}
    assert [name for name in OURS if any("spool:" in volume for volume in mounted[name])] == ["ingest"]
    assert [name for name in OURS if any("media:" in volume for volume in mounted[name])] == list(OURS[2:])


def test_the_image_is_nobodys_root() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    last = max(n for n, line in enumerate(lines) if line.startswith("FROM"))
    assert "USER dragoman" in lines[last:]
    assert any(line.startswith("HEALTHCHECK") for line in lines[last:])
