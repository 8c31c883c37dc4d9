"""A wrong configuration stops the start with a sentence; a right one passes Django's own checks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from quokkaq import checks
from quokkaq.env import Environment, Mode
from tests.processes import ROOT

STRONG = "Zk3-9vQ_xL7pRt2WmN8sYb4HcJ6dFg1AeKuTiOoPqSwDzXy5"  # not a secret: only for these tests
MAIL = "smtp+tls://user:pass@mail.example.edu:587"
GOOD = {
    "QUOKKAQ_MODE": "production",
    "SECRET_KEY": STRONG + "extra",
    "ALLOWED_HOSTS": "forum.example.edu",
    "DATABASE_URL": "postgres://u:p@127.0.0.1:5432/q",
}


def start(**changes: str) -> str:
    environment = (
        {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")} | GOOD | changes
    )
    environment = {name: value for name, value in environment.items() if value != "-"}
    done = subprocess.run(
        [sys.executable, "manage.py", "check"], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    return "ok" if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "ok"),
        ({"SECRET_KEY": "-"}, "SECRET_KEY is not set. Set SECRET_KEY (or SECRET_KEY_FILE)"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY is too weak."),
        ({"SECRET_KEY": "a" * 80}, "SECRET_KEY is too weak."),
        ({"ALLOWED_HOSTS": "-"}, "ALLOWED_HOSTS is not set."),
        ({"ALLOWED_HOSTS": "*"}, "ALLOWED_HOSTS is '*'."),
        ({"DATABASE_URL": "-"}, "DATABASE_URL is not set. Set it to postgres://"),
        ({"QUOKKAQ_MODE": "prod"}, "QUOKKAQ_MODE is 'prod'. Set it to one of: demo"),
        ({"DATABASE_POOL_SIZE": "many"}, "DATABASE_POOL_SIZE is 'many'. Set it to a whole number (default 8)."),
        ({"DATABASE_POOL_SIZE": "0"}, "DATABASE_POOL_SIZE is 0. Set it to 1 or more (default 8)."),
        ({"SECRET_KEY": "-", "SECRET_KEY_FILE": "/nowhere"}, "SECRET_KEY_FILE can't be read"),
        ({"SECRET_KEY": "-", "ALLOWED_HOSTS": "-"}, "ALLOWED_HOSTS is not set."),
        ({"EMAIL_URL": MAIL}, "BASE_URL is not set. Links in mails begin with it"),
        ({"EMAIL_URL": MAIL, "BASE_URL": "https://x.example"}, "DEFAULT_FROM_EMAIL is not set."),
        ({"EMAIL_URL": MAIL, "BASE_URL": "https://x.example", "DEFAULT_FROM_EMAIL": "a@x.example"}, "ok"),
        ({"EMAIL_URL": "http://x.example"}, "EMAIL_URL can't be read. Set it to smtp+tls://"),
        (
            {"OTEL_TRACES_SAMPLER_ARG": "2"},
            "OTEL_TRACES_SAMPLER_ARG is '2'. Set it to a number from 0 to 1 (default 1).",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT is no address."),
        ({"SENTRY_DSN": "https://errors.example.edu/1"}, "SENTRY_DSN is no address of a project."),
        ({"BACKUP_SCHEDULE": "every night"}, "BACKUP_SCHEDULE is no line of cron."),
        ({"BACKUP_SECOND_ROOT": "/a", "BACKUP_SECOND_BUCKET_NAME": "b"}, "name two second places. Set one of them."),
        ({"BACKUP_SECOND_ACCESS_KEY_ID": "a"}, "BACKUP_SECOND_SECRET_ACCESS_KEY together, or neither."),
        ({"BACKUP_OBJECT_LOCK_MODE": "LOOSE"}, "BACKUP_OBJECT_LOCK_MODE is neither COMPLIANCE nor GOVERNANCE."),
        ({"SENTRY_DSN": "https://key@errors.example.edu/1", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "ok"),
    ],
)
def test_the_start_says_what_to_set(changes: dict[str, str], sentence: str) -> None:
    said = start(**changes)
    assert sentence in said
    assert "Traceback" not in said
    assert STRONG not in said


def test_a_secret_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(STRONG + "\n")
    monkeypatch.setenv("SECRET_KEY_FILE", str(file))
    monkeypatch.delenv("SECRET_KEY", raising=False)
    assert Environment(tmp_path).secret("SECRET_KEY") == STRONG


def test_settings_come_from_a_file_beside_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("QUOKKAQ_TRIAL=a, b,\n")
    monkeypatch.delenv("QUOKKAQ_TRIAL", raising=False)
    environment = Environment(tmp_path)
    assert environment.items("QUOKKAQ_TRIAL") == ["a", "b"]
    assert environment.mode is Mode.TEST
    assert environment.yes("QUOKKAQ_OTHER", default=True)
    environment.complain()
    monkeypatch.delenv("QUOKKAQ_TRIAL", raising=False)


def test_every_problem_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOKKAQ_MODE", "production")
    environment = Environment(tmp_path)
    environment.require("ONE", "", "Set it.")
    environment.require_strong("TWO", "demo-" + "x1y2z3a4b5" * 6)
    with pytest.raises(ImproperlyConfigured, match=r"(?s)ONE is not set. Set it..*TWO is too weak"):
        environment.complain()
    monkeypatch.setenv("QUOKKAQ_MODE", "nonsense")
    with pytest.raises(ImproperlyConfigured, match="nonsense"):
        Environment(tmp_path)


def test_deploy_checks_warn_of_backups_metrics_and_mail() -> None:
    every = (
        checks.check_backups_leave_the_machine, checks.check_metrics_are_guarded, checks.check_mail_goes_out,
    )  # fmt: skip
    with override_settings(BACKUP_BUCKET_NAME="", METRICS_TOKEN="short", MAIL_IS_ON=False):
        found = [warning.id for check in every for warning in check(None)]
    assert found == ["quokkaq.W001", "quokkaq.W002", "quokkaq.W003"]
    with override_settings(BACKUP_BUCKET_NAME="b", METRICS_TOKEN="x" * 32, MAIL_IS_ON=True):
        assert not [warning for check in every for warning in check(None)]


@pytest.mark.parametrize(
    ("recipient", "encryption", "found"), [(None, True, ["quokkaq.W009"]), ("a", True, []), (None, False, [])]
)
def test_backups_that_anybody_can_read_are_told_unless_they_are_meant(
    recipient: str | None, encryption: bool, found: list[str]
) -> None:
    with override_settings(DBBACKUP_GPG_RECIPIENT=recipient, BACKUP_ENCRYPTION=encryption):
        assert [warning.id for warning in checks.check_backups_are_encrypted(None)] == found
