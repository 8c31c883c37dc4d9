"""The dashboards: what is committed is what the code makes, each panel is readable, and asks for what there is."""

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from ops.grafana.build import DASHBOARDS, FOLDER, rendered
from quokkaq.lib.metrics import definitions
from tests.conftest import needed
from tests.processes import ROOT

# What Grafana puts in for its variables when nobody chose anything.
CHOSEN = {"$__rate_interval": "1m", "$job": ".*", "$route": ".*"}
PROVISIONING = ROOT / "ops/grafana/provisioning"
# Metrics that no dashboard shows, and why.
NOT_SHOWN = {
    "quokkaq_backup_failed": "the alert says it, and the age of the last good one is shown",
    "quokkaq_restore_drill_succeeded": "the alert says it, and the age of the last drill is shown",
    "django_http_requests_total_by_view_transport_method_total": "responses by route and status say more",
}
DJANGO = {
    "django_http_responses_total_by_status_view_method_total",
    "django_http_exceptions_total_by_view_total",
    "django_http_requests_latency_seconds_by_view_method_bucket",
}


@dataclass(frozen=True)
class Question:
    """What a panel asks Prometheus."""

    dashboard: str
    panel: str
    expression: str


def dashboard(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def panels(name: str) -> list[dict[str, Any]]:
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def filled_in(expression: str) -> str:
    for variable, value in CHOSEN.items():
        expression = expression.replace(variable, value)
    assert "$" not in expression
    return expression


def asked() -> list[Question]:
    """Return every question of every panel, with its variables filled in."""
    return [
        Question(name, panel["title"], filled_in(target["expr"]))
        for name in DASHBOARDS
        for panel in panels(name)
        for target in panel["targets"]
    ]


def annotations() -> Iterator[str]:
    for name in DASHBOARDS:
        for annotation in dashboard(name)["annotations"].get("list", []):
            yield filled_in(annotation["expr"])


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_what_is_committed_is_what_the_code_makes(name: str) -> None:
    assert (FOLDER / f"{name}.json").read_text() == rendered(name), "run python -m ops.grafana.build"
    assert {path.stem for path in FOLDER.glob("*.json")} == set(DASHBOARDS)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_no_panel_lies_on_another_or_beyond_the_edge(name: str) -> None:
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]
    for place in places:
        assert place["w"] > 0
        assert place["h"] > 0
        assert 0 <= place["x"] <= 24 - place["w"]
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)
    numbers = [panel["id"] for panel in dashboard(name)["panels"]]
    assert len(set(numbers)) == len(numbers)


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_each_panel_says_what_to_look_at_and_where_help_is(name: str) -> None:
    assert len(panels(name)) >= 10
    for panel in panels(name):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        for runbook in re.findall(r"Runbook: (\S+)\.(?: |$)", panel["description"]):
            assert (ROOT / runbook).is_file(), runbook
        if "thresholds" in panel["fieldConfig"]["defaults"]:
            assert "Runbook: " in panel["description"], panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))


def test_one_may_choose_data_source_job_and_route() -> None:
    variables = {variable["name"]: variable for variable in dashboard("operations")["templating"]["list"]}
    assert set(variables) == {"datasource", "job", "route"}
    for name in ("job", "route"):
        assert variables[name]["includeAll"]
        assert variables[name]["allValue"] == ".*"
    (annotation,) = dashboard("operations")["annotations"]["list"]
    assert annotation["titleFormat"] == "{{version}}"


def recorded() -> set[str]:
    rules = [yaml.safe_load(path.read_text()) for path in (ROOT / "ops/prometheus/rules").glob("*.yml")]
    return {rule["record"] for file in rules for group in file["groups"] for rule in group["rules"] if "record" in rule}


def test_dashboards_ask_for_what_there_is_and_show_all_of_it() -> None:
    ours = {f"{known.name}_bucket" if known.kind == "histogram" else known.name for known in definitions.ALL}
    counts = {f"{definition.name}_count" for definition in definitions.ALL if definition.kind == "histogram"}
    known = ours | counts | DJANGO | recorded()
    used = set()
    for question in asked():
        names = set(re.findall(r"\b(?:quokkaq|django)[\w:]*", re.sub(r'"[^"]*"', "", question.expression)))
        assert names <= known, question
        used |= names
    assert ours - used == set(NOT_SHOWN)


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    needed("promtool")
    expressions = [*(question.expression for question in asked()), *annotations()]
    rules = [{"record": f"dashboards:number{n}", "expr": expression} for n, expression in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run(["promtool", "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(expressions)} rules found" in done.stdout


def test_grafana_finds_prometheus_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((PROVISIONING / "datasources/prometheus.yaml").read_text())["datasources"]
    compose = yaml.safe_load((ROOT / "ops/compose/compose.yaml").read_text())
    grafana, scrapes = compose["services"]["grafana"], ROOT / "ops/prometheus/prometheus.yml"
    assert source["url"] == "http://prometheus:9090"
    assert set(grafana["networks"]) == set(compose["services"]["prometheus"]["networks"])
    assert source["jsonData"]["timeInterval"] == yaml.safe_load(scrapes.read_text())["global"]["scrape_interval"]
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/quokkaq.yaml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in grafana["volumes"])
    mounted = {target: (ROOT / "ops/compose" / source).resolve() for source, target in mounts.items()}
    assert mounted[provider["options"]["path"]] == FOLDER
    assert mounted["/etc/grafana/provisioning"] == PROVISIONING
