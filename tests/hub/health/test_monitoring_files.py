"""The alert rules and the dashboard load, and ask for nothing that the hub does not tell."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import yaml

from hub.base.metrics import Metrics
from hub.health.issues import Severity
from tests.support.families import each

FOLDER = files("hub.health")
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(FOLDER.joinpath("alerts.yaml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads(FOLDER.joinpath("dashboard.json").read_text("utf-8"))
OF_THE_COLLECTOR = {"up"}
NAME = re.compile(r"\b(?:hub|process)_\w+|\bup\b")


def asked_by_the_dashboard() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"]


def told() -> dict[str, str]:
    """Every name that a query may use, and its kind."""
    names: dict[str, str] = {}
    text = Metrics("1.0").render().decode()
    for name, kind in re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE):
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        names |= {name + suffix: kind for suffix in suffixes}
    return names


QUERIES = [(rule["alert"], rule["expr"]) for rule in RULES]
QUERIES += [("dashboard", expr) for expr in asked_by_the_dashboard()]


def test_each_alert_rule_has_a_unique_name_severity_summary_and_action() -> None:
    assert len(RULES) == len({rule["alert"] for rule in RULES}) > 0
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"]


@each(("where", "expr"), QUERIES)
def test_every_metric_of_dashboard_and_alert_queries_exists(where: str, expr: str) -> None:
    known = told()
    asked = set(NAME.findall(re.sub(r'"[^"]*"', "", expr)))
    assert asked, where
    assert asked <= known.keys() | OF_THE_COLLECTOR
    for name in asked - OF_THE_COLLECTOR:
        is_rated = re.search(rf"(rate|increase)\({name}\b", expr) is not None
        assert is_rated == (known[name] in ("counter", "histogram")), f"{name} in {expr}"


@each(("where", "expr"), QUERIES)
def test_every_query_is_balanced(where: str, expr: str) -> None:
    for opening, closing in ("()", "{}", "[]"):
        assert expr.count(opening) == expr.count(closing), where


def test_labels_in_alert_rules_exist_in_the_metrics() -> None:
    (issues,) = [rule["expr"] for rule in RULES if rule["alert"] == "HubHasIssues"]
    assert re.findall(r'severity="(\w+)"', issues) == [Severity.ERROR]
    (runs,) = [rule["expr"] for rule in RULES if rule["alert"] == "HubRunsFail"]
    assert set(re.findall(r'outcome="(\w+)"', runs)) == {"error"}
    (away,) = [rule["expr"] for rule in RULES if rule["alert"] == "HubGatewayAway"]
    metrics = Metrics("1.0")
    metrics.gateways.labels(gateway="office", state="ready").inc()
    (family,) = [one for one in metrics.registry.collect() if one.name in away]
    for sample in family.samples:
        assert set(re.findall(r'(\w+)!="ready"', away)) < sample.labels.keys()


def test_dashboard_has_no_overlapping_panels() -> None:
    taken: set[tuple[int, int]] = set()
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        fields = {
            (x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
        }
        assert not fields & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= fields
