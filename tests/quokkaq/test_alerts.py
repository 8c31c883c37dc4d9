"""The rules Prometheus alerts by, who hears of them, and what to do then."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.urls import get_resolver
from django.urls.resolvers import URLPattern

from tests.conftest import needed
from tests.processes import ROOT
from tests.quokkaq.test_operations_files import run
from tests.services.monitoring import (
    ALERTMANAGER,
    PROMETHEUS,
    SHORTER,
    seconds,
    shipped_alerts,
    shipped_rules,
    shortened,
)

FOLDER = ROOT / "ops/runbooks"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
ALERTS = shipped_alerts()
# What a template may say: words that are bounded and name nobody.
BOUNDED = {"job", "instance", "queue", "task", "check", "place", "scope", "kind"}
# Always on, so there is nothing in which it stays quiet.
NEVER_QUIET = {"DeadMansSwitch"}
PARTS = ["What it means", "First command", "Decision", "Undo"]


@dataclass(frozen=True)
class Block:
    kind: str
    expected: str
    text: str


def blocks(page: str) -> list[Block]:
    """Return the shell commands of a runbook."""
    found = re.findall(r'^```sh(?: (run|by-hand))?(?: expect="((?:[^"\\]|\\.)*)")?\n(.*?)^```$', page, re.M | re.S)
    return [Block(kind, expected.replace('\\"', '"'), text) for kind, expected, text in found]


def read(path: Path) -> str:
    return path.read_text()


def program(name: str, *arguments: str, package: str) -> tuple[int, str]:
    """Run a program that comes with a Debian package."""
    needed(package)
    # Tests of rules write and flush a database each: in memory that is quick.
    memory = {"TMPDIR": "/dev/shm"} if Path("/dev/shm").is_dir() else {}
    done = subprocess.run(
        [name, *arguments], env={**os.environ, **memory}, capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stdout + done.stderr


# Rules


def test_rules_and_configuration_are_what_prometheus_takes(tmp_path: Path) -> None:
    files = [str(path) for path in sorted(PROMETHEUS.glob("rules/*.yml"))]
    code, output = program("promtool", "check", "rules", *files, package="promtool")
    assert code == 0, output
    (tmp_path / "metrics_token").write_text("token")
    (tmp_path / "rules").symlink_to(PROMETHEUS / "rules")
    text = read(PROMETHEUS / "prometheus.yml")
    text = text.replace("/run/secrets", str(tmp_path)).replace("/etc/prometheus", str(tmp_path))
    (tmp_path / "prometheus.yml").write_text(text)
    code, output = program("promtool", "check", "config", str(tmp_path / "prometheus.yml"), package="promtool")
    assert code == 0, output
    assert f"{len(files)} rule files found" in output


@pytest.mark.drill
@pytest.mark.parametrize("path", sorted(PROMETHEUS.glob("tests/*.yml")), ids=lambda path: path.stem)
def test_rules_fire_and_stay_quiet_as_they_should(path: Path) -> None:
    code, output = program("promtool", "test", "rules", str(path), package="promtool")
    assert code == 0, output


def test_each_alert_is_tested_to_fire_and_to_stay_quiet() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for path in PROMETHEUS.glob("tests/*.yml"):
        for case in yaml.safe_load(read(path))["tests"]:
            for tested in case["alert_rule_test"]:
                (fires if tested["exp_alerts"] else quiet).add(tested["alertname"])
    assert fires == set(ALERTS)
    assert quiet == set(ALERTS) - NEVER_QUIET


def test_each_alert_says_how_bad_it_is_and_what_to_do() -> None:
    for name, rule in ALERTS.items():
        assert set(rule["labels"]) - {"follows"} == {"severity", "concern"}, name
        assert rule["labels"]["severity"] in {"page", "warning", "info"}
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}, name
        assert rule["annotations"]["runbook"] == f"ops/runbooks/{name}.md"
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= BOUNDED, name


def test_the_alerts_that_were_asked_for_have_these_thresholds() -> None:
    for name, threshold in {
        "HttpErrors": "> 0.01", "HttpSlow": "histogram_quantile(0.95", "DiskFilling": "> 0.8", "MemoryHigh": "> 0.85",
        "SignInsFailing": "[1m])) > 10", "BudgetNearlyUsed": ">= 0.8", "BudgetUsed": ">= 1",
    }.items():  # fmt: skip
        assert threshold in ALERTS[name]["expr"], name
    for name, pairs in {
        "Fast": ("14.4", "1h", "5m", "6", "6h", "30m"),
        "Slowly": ("3", "1d", "2h", "1", "3d", "6h"),
    }.items():
        for kind, budget, alert in (("errors", "0.001", "Availability"), ("slow", "0.05", "Latency")):
            expression = ALERTS[f"{alert}BurnsBudget{name}"]["expr"]
            for factor, long, short in (pairs[:3], pairs[3:]):
                for window in (long, short):
                    assert f"quokkaq:http_{kind}:ratio_rate{window} > {factor} * {budget}" in expression


def test_probes_do_not_count_as_what_people_ask_for() -> None:
    excluded = {found for rule in all_rules() for found in re.findall(r'view!~"([^"]+)"', rule["expr"])}
    assert len(excluded) == 1
    pattern = re.compile(excluded.pop())
    top = [entry for entry in get_resolver().url_patterns if isinstance(entry, URLPattern)]
    probes = {str(entry.name) for entry in top if re.match(r"(health|metrics|api/v1/)", str(entry.pattern))}
    assert {"health", "ready", "ping", "metrics"} <= probes
    assert [name for name in probes if not pattern.fullmatch(name)] == []
    names = {str(name) for name in get_resolver().reverse_dict if isinstance(name, str)} - probes
    assert [name for name in names if pattern.fullmatch(name)] == []
    for rule in all_rules():
        selectors = rule["expr"].count("django_http_")
        assert rule["expr"].count("view!~") == selectors, rule


def all_rules() -> list[dict[str, Any]]:
    return [rule for rules in shipped_rules().values() for group in rules["groups"] for rule in group["rules"]]


def test_rules_ask_for_metrics_that_exist() -> None:
    from quokkaq.lib.metrics.definitions import ALL

    known = {metric.name for metric in ALL}
    recorded = {rule["record"] for rule in all_rules() if "record" in rule}
    for rule in all_rules():
        for name in re.findall(r"\b(?:quokkaq|django)[a-z0-9_:]*\b", re.sub(r'"[^"]*"', "", rule["expr"])):
            assert name in recorded or re.sub(r"_(bucket|count|sum)$", "", name) in known or name in known, name


# Who hears of it


def test_alertmanager_takes_its_configuration() -> None:
    code, output = program("amtool", "check-config", str(ALERTMANAGER / "alertmanager.yml"), package="amtool")
    assert code == 0, output


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        (("severity=page",), "page,mail"),
        (("severity=warning",), "chat"),
        (("severity=info",), "chat"),
        (("severity=unheard-of",), "mail"),
        ((), "mail"),
        (("alertname=DeadMansSwitch", "severity=info"), "heartbeat"),
    ],
)
def test_alerts_go_where_their_severity_says(labels: tuple[str, ...], receivers: str) -> None:
    config = f"--config.file={ALERTMANAGER / 'alertmanager.yml'}"
    code, output = program(
        "amtool", "config", "routes", "test", config, f"--verify.receivers={receivers}", *labels, package="amtool"
    )
    assert code == 0, output


def test_what_follows_from_the_database_is_silent_while_it_is_down() -> None:
    first, second = yaml.safe_load(read(ALERTMANAGER / "alertmanager.yml"))["inhibit_rules"]
    assert first == {
        "source_matchers": ['alertname = "DatabaseDown"'], "target_matchers": ['follows = "database"']
    }  # fmt: skip
    assert second["equal"] == ["concern"]
    silent = {name for name, rule in ALERTS.items() if rule["labels"].get("follows") == "database"}
    assert {"HttpErrors", "HttpSlow", "WorkerGone", "QueueOld", "TasksFailing", "PoolExhausted"} <= silent
    # A full disk or memory may be the cause, and these are told in any case.
    assert not silent & {"DatabaseDown", "DeadMansSwitch", "DiskFilling", "MemoryHigh", "WebDown", "BackupOld"}
    # What follows looks back five minutes: the database is down for a little longer than that.
    assert seconds(ALERTS["DatabaseDown"]["keep_firing_for"]) > 300
    assert seconds(ALERTS["DatabaseDown"]["for"]) < min(seconds(ALERTS[name].get("for", "1h")) for name in silent)


def test_a_page_is_out_a_minute_after_it_fires() -> None:
    times = yaml.safe_load(read(PROMETHEUS / "prometheus.yml"))["global"]
    route = yaml.safe_load(read(ALERTMANAGER / "alertmanager.yml"))["route"]
    waits = [times["scrape_interval"], times["evaluation_interval"], route["group_wait"]]
    # A counter has to be seen twice.
    assert seconds(times["scrape_interval"]) + sum(map(seconds, waits)) <= 60


def test_secrets_are_files_and_hosts_are_examples() -> None:
    text = read(ALERTMANAGER / "alertmanager.yml")
    assert not re.search(r"(?m)^\s*(?:password|credentials|api_url|token|routing_key|smtp_auth_password):", text)
    hosts = set(re.findall(r"(?:https?://|@)([\w.-]+)", text)) | set(re.findall(r"smarthost: ([\w.-]+)", text))
    assert {host.removeprefix("mail.").split(".", 1)[-1] for host in hosts} <= {"example.edu", "edu"}


def test_a_drill_makes_windows_shorter_and_leaves_the_rest(tmp_path: Path) -> None:
    shipped = {"groups": [{"name": "g", "interval": "1m", "rules": [
        {"alert": "A", "expr": "rate(x[5m]) > 3 and rate(x[30s]) * 300 > 1", "for": "2m", "labels": {"severity": "page"}}
    ]}]}  # fmt: skip
    (group,) = shortened(shipped)["groups"]
    assert group == {"name": "g", "rules": [
        {"alert": "A", "expr": "rate(x[25s]) > 3 and rate(x[30s]) * 300 > 1", "for": "10s", "labels": {"severity": "page"}}
    ]}  # fmt: skip
    for shipped_rule, rule in zip(
        all_rules(),
        [r for f in shipped_rules().values() for g in shortened(f)["groups"] for r in g["rules"]],
        strict=True,
    ):
        strip = re.compile(r"\[\w+\]")
        assert strip.sub("", rule["expr"]) == strip.sub("", shipped_rule["expr"])
        assert {**rule, "expr": "", "for": "", "keep_firing_for": ""} == {
            **shipped_rule, "expr": "", "for": "", "keep_firing_for": ""
        }  # fmt: skip
    assert SHORTER > 1


# Runbooks


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS} == set(ALERTS)


@pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)
def test_a_runbook_is_short_and_says_all_it_should(path: Path) -> None:
    text = read(path)
    assert re.findall(r"^# (.+)$", text, re.M)[0] == path.stem
    assert re.findall(r"^## (.+)$", text, re.M) == PARTS
    assert len(text.splitlines()) < 60
    found = blocks(text)
    assert len(found) == text.count("```sh")
    assert text.count("```") == 2 * len(found)
    assert any(block.kind == "run" and block.expected for block in found)
    first = text[text.index("## First command") : text.index("## Decision")]
    assert all(block.kind == "run" or "openssl" in block.text for block in blocks(first))
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert (FOLDER / target).exists(), target


def test_commands_of_runbooks_are_shell(tmp_path: Path) -> None:
    files = []
    names = "".join(block.text for block in blocks(read(FOLDER / "README.md")))
    for path in RUNBOOKS:
        for number, block in enumerate(blocks(read(path))):
            assert block.kind, path.name
            file = tmp_path / f"{path.stem}-{number}.sh"
            file.write_text(f"#!/bin/sh\n{names}\n{block.text}")
            files.append(str(file))
    # Each uses some of the names only.
    code, output = run("shellcheck", "--shell=sh", "--exclude=SC2034,SC2317,SC2329", *files)
    assert code == 0, output


def test_commands_that_change_much_are_not_run_by_themselves() -> None:
    destructive = re.compile(r"restart|stop|terminate|cancel|drop|delete|--clean|prune|dbrestore|rm\b|retry_job")
    for path in RUNBOOKS:
        for block in blocks(read(path)):
            assert block.kind == "by-hand" or not destructive.search(block.text.lower()), f"{path.name}: {block.text}"
