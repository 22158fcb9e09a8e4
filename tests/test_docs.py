"""What the documentation says of the build is what the build says of itself."""

import re
from pathlib import Path

import yaml
from pydantic_core import PydanticUndefined

from services.main import cli
from shared.settings import Settings

ROOT = Path(__file__).parent.parent
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")


def rows() -> list[str]:
    """The table of settings, as it must stand in docs/operating.md."""
    found = []
    for name, field in Settings.model_fields.items():
        assert field.default is not PydanticUndefined, f"{name} has no default"
        default = "" if field.default in (None, "", []) else f"`{field.default}`"
        found.append(f"| `{name.upper()}` | {default} | {field.description} |")
    return found


def test_the_table_of_settings_is_that_of_the_code() -> None:
    table = [line for line in OPERATING.splitlines() if re.match(r"\| `[A-Z_]+` \|", line)]
    assert table == rows(), "put these lines into docs/operating.md"


def test_every_command_that_is_named_exists() -> None:
    known = {command.name or getattr(command.callback, "__name__", "") for command in cli.registered_commands}
    known |= {group.name or "" for group in cli.registered_groups}
    named = set(re.findall(r"`dragoman ([a-z-]+)", OPERATING))
    assert named
    assert named <= known


def test_every_alert_has_a_line_that_says_what_to_do() -> None:
    groups = yaml.safe_load((ROOT / "deploy" / "prometheus" / "rules.yaml").read_text("utf-8"))["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    assert set(re.findall(r"`(Dragoman\w+)`", OPERATING)) == alerts


def test_it_stays_short() -> None:
    assert len(OPERATING.splitlines()) <= 250
