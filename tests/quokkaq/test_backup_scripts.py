"""The scripts of point-in-time recovery: clean, clear in what they refuse, and without a secret where others can read."""

import getpass
import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.quokkaq.test_operations_files import ROOT, run

SCRIPTS = sorted([*(ROOT / "ops/backups").glob("*.sh"), ROOT / "ops/failover/region.sh"])
PROCEDURES = ROOT / "ops/runbooks/procedures"
ACCOUNT = getpass.getuser()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a host's scripts, whose repositories are a folder and a bucket."""
    home = tmp_path_factory.mktemp("host")
    text = (ROOT / "ops/backups/settings.example").read_text()
    for name, value in {
        "PG_ACCOUNT": ACCOUNT, "PG_DATA": home / "data", "SPOOL": home / "spool", "LOGS": home / "logs", "METRICS": "",
        "REPO1_PATH": home / "repo1",
    }.items():  # fmt: skip
        text, found = re.subn(rf"(?m)^{name}=.*$", f"{name}={value}", text)
        assert found == 1, name
    (home / "settings").write_text(text)
    (home / "scripts/secrets").mkdir(parents=True)
    (home / "scripts/secrets/repo2_s3_key_secret").write_text("a-secret-of-s3")
    (home / "scripts/secrets/repo2_s3_key").write_text("a-key-of-s3")
    for _ in range(2):  # again changes nothing
        code, output = sh("install.sh", str(home / "settings"), str(home / "scripts"))
        assert code == 0, output
    return home / "scripts"


def sh(name: str, *arguments: str, folder: Path = ROOT / "ops/backups") -> tuple[int, str]:
    done = subprocess.run(
        ["sh", str(folder / name), *arguments], capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "TZ": "UTC"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_scripts_are_clean() -> None:
    places = (ROOT / "ops/backups", ROOT / "ops/failover")
    assert run("shellcheck", "-x", *(f"--source-path={place}" for place in places), *map(str, SCRIPTS)) == (0, "")


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path.name != "host.sh"], ids=lambda path: path.name)
def test_a_script_can_be_run_and_says_what_it_is_for(path: Path) -> None:
    assert os.access(path, os.X_OK)
    code, output = sh(path.name, "--help", folder=path.parent)
    assert code == 0
    assert "Usage: " in output


def test_what_is_installed_holds_two_encrypted_repositories_and_no_secret(installed: Path) -> None:
    text = (installed / "pgbackrest.conf").read_text()
    assert "@" not in text.replace("# A template: install.sh puts in what stands between @s", "")
    assert re.findall(r"^repo(\d)-cipher-type=aes-256-cbc$", text, re.M) == ["1", "2"]
    assert re.findall(r"^repo(\d)-type=(\w+)$", text, re.M) == [("1", "posix"), ("2", "s3")]
    assert re.findall(r"^repo(\d)-retention-full=(\d+)$", text, re.M) == [("1", "4"), ("2", "12")]
    passphrases = [(installed / f"secrets/repo{repo}_cipher_pass").read_text().strip() for repo in (1, 2)]
    assert len(set(passphrases)) == 2
    assert all(len(passphrase) >= 64 for passphrase in passphrases)
    for file in (file for file in installed.iterdir() if file.is_file()):
        for secret in (*passphrases, "a-secret-of-s3", "a-key-of-s3"):
            assert secret not in file.read_text(), file.name
    assert all(file.stat().st_mode & 0o077 == 0 for file in installed.rglob("*"))
    server = (installed / "postgresql.conf").read_text()
    assert f"archive_command = '{installed}/pgbackrest.sh archive-push %p'" in server
    assert "archive_timeout = 30s" in server


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["2026-11-27 12:00:00", "--yes"], "write the instant with its zone"),
        (["yesterday", "--yes"], "write the instant with its zone"),
        (["latest", "--into", "copy", "--port", "5499"], "--into must be an absolute path"),
        (["latest", "--into", "/nowhere"], "--into needs --port"),
        (["latest", "--repo", "3"], "--repo is 1 or 2"),
        (["latest", "--yes", "--into", "/nowhere", "--port", "5499"], "are for restoring in place"),
        (["latest", "--quickly"], "what is --quickly"),
    ],
)
def test_a_restore_refuses_what_it_cant_mean(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    # One backup to restore from, so that nothing is refused for want of it.
    said = json.dumps([{"backup": [{"label": "20261127-010000F", "error": False, "timestamp": {"stop": 1000}}]}])
    program = tmp_path / "pgbackrest"
    program.write_text(f"#!/bin/sh\necho '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    code, output = sh("restore-to.sh", *arguments, folder=installed)
    assert code == 2
    assert reason in output


def test_the_shell_reads_what_pgbackrest_says(tmp_path: Path) -> None:
    told = [{"backup": [{"label": "A", "error": False, "size": 12}, {"label": 'B "b"', "prior": None}], "empty": []}]
    (tmp_path / "info").write_text(json.dumps(told))
    done = subprocess.run(
        ["awk", "-f", "ops/backups/flatten.awk", str(tmp_path / "info")], cwd=ROOT, capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.splitlines() == [
        "0.backup.0.label\tA", "0.backup.0.error\tfalse", "0.backup.0.size\t12", '0.backup.1.label\tB "b"', "0.backup.1.prior\tnull",
    ]  # fmt: skip


def test_procedures_name_scripts_that_are_there_in_shell_that_is_clean(tmp_path: Path) -> None:
    for page in PROCEDURES.glob("*.md"):
        text = page.read_text()
        blocks = re.findall(r"^```sh (?:by-hand|run [^\n]*)\n(.*?)^```$", text, re.M | re.S)
        assert len(blocks) == text.count("```sh") > 0
        for number, block in enumerate(blocks):
            for script in re.findall(r"(?:^|\s)\./([a-z-]+\.sh)", block):
                assert (ROOT / "ops/backups" / script).exists(), script
            file = tmp_path / f"{page.stem}-{number}.sh"
            file.write_text(f"#!/bin/sh\nset -e\n{block}")
            assert run("shellcheck", "--shell=sh", str(file)) == (0, "")
        for target in re.findall(r"\]\(([^)]+)\)", text):
            assert (page.parent / target).exists(), target
