"""The rules for Prometheus name only what our processes measure, and tell people what to do."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

# Every metric of ours is registered by now.
import services.health
import services.ingest.app
import services.responder.app
import services.router.app  # noqa: F401
import shared.bus.kafka  # noqa: F401

RULES = Path(__file__).parent.parent / "deploy" / "prometheus" / "rules.yaml"
GROUPS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = [rule for group in GROUPS for rule in group["rules"]]
SUFFIXES = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
each = pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])


def measured() -> set[str]:
    return {
        family.name + suffix
        for family in REGISTRY.collect()
        if family.name.startswith("dragoman_")
        for suffix in SUFFIXES[family.type]
    }


@each
def test_a_rule_has_the_form_that_prometheus_reads(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch("Dragoman[A-Za-z]+", rule["alert"])
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"].keys() == {"summary", "description"}
    assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    assert rule["expr"].count("(") == rule["expr"].count(")")


@each
def test_a_rule_names_only_what_is_measured(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"dragoman_[a-z_]+", rule["expr"]))
    assert named
    assert named <= measured()


@each
def test_a_summary_names_only_labels_that_the_expression_keeps(rule: dict[str, Any]) -> None:
    kept = {label.strip() for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(",")}
    assert set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"])) <= kept


def test_a_name_stands_once() -> None:
    names = [rule["alert"] for rule in ALERTS] + [group["name"] for group in GROUPS]
    assert len(names) == len(set(names))


def test_what_an_operator_must_know_of_has_a_rule() -> None:
    named = {name for rule in ALERTS for name in re.findall(r"dragoman_[a-z_]+", rule["expr"])}
    assert named >= {
        "dragoman_clocks", "dragoman_deadlines_total", "dragoman_ready", "dragoman_spool_waiting", "dragoman_lag",
        "dragoman_outbox_age_seconds", "dragoman_dead_waiting", "dragoman_polling_broken_accounts",
        "dragoman_responder_broken_accounts", "dragoman_webhooks_disabled",
    }  # fmt: skip
