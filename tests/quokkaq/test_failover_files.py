"""What `ops/failover` ships: shell that is clean, says how it is used, refuses what it can't use, and is what the guides name."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.processes import ROOT
from tests.quokkaq.test_operations_files import run

FOLDER = ROOT / "ops/failover"
SCRIPTS = {path.name: path for path in FOLDER.glob("*.sh") if path.name not in ("common.sh", "region.sh")}


def script(name: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        ["sh", str(SCRIPTS[name]), *arguments], capture_output=True, text=True, check=False, timeout=30, stdin=subprocess.DEVNULL
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_scripts_are_clean() -> None:
    assert {"watch.sh", "promote.sh", "switch.sh", "rejoin.sh", "make-standby.sh"} <= set(SCRIPTS)
    assert run("shellcheck", "-x", "-P", str(ROOT), *map(str, SCRIPTS.values()), str(FOLDER / "common.sh")) == (0, "")


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_a_script_says_how_it_is_used(name: str, tmp_path: Path) -> None:
    code, said = script(name, "--help")
    assert (code, said.startswith(f"{name} [--config FILE]")) == (0, True)
    assert script(name, "--unheard-of")[0] == 2
    arguments = ["alpha"] if "NAME" in said.splitlines()[0] else []
    code, said = script(name, "--config", str(tmp_path / "none"), *arguments)
    assert (code, "no settings" in said) == (1, True)


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ("NODES=alpha", "two servers"),
        ('NODES="alpha alpha"', "two servers"),
        ('NODES="alpha Beta;"', "a-z"),
        ("ADDRESS_beta=", "ADDRESS_beta"),
        ("STANDBY_LOST=perhaps", "STANDBY_LOST"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path: Path, changed: str, complaint: str) -> None:
    file = tmp_path / "failover.conf"
    file.write_text(f"{(FOLDER / 'failover.conf.example').read_text()}\nSTATE_DIR={tmp_path}/state\n{changed}\n")
    code, said = script("promote.sh", "--config", str(file))
    assert (code, complaint in said) == (1, True), said


def test_nobody_is_promoted_when_nothing_is_known(tmp_path: Path) -> None:
    file = tmp_path / "failover.conf"
    file.write_text(f"{(FOLDER / 'failover.conf.example').read_text()}\nSTATE_DIR={tmp_path}/state\n")
    for name in ("promote.sh", "switch.sh"):
        code, said = script(name, "--config", str(file))
        assert (code, "nothing is known" in said) == (1, True), said


def test_the_example_names_every_setting() -> None:
    text = (FOLDER / "failover.conf.example").read_text()
    listed = set(re.findall(r"^([A-Z][A-Z_]+)(?:_(?:alpha|beta))?=", text, re.M)) - {"ADDRESS"}
    code = "".join(path.read_text() for path in [*SCRIPTS.values(), FOLDER / "common.sh"])
    code = re.sub(r"^ *#.*$", "", re.sub(r"(?ms)<<'TEXT'.*?^TEXT$", "", code), flags=re.M)
    read = set(re.findall(r"\$\{?([A-Z][A-Z_]+)", code)) - {"PATH", "NODE", "ADDRESS_"}
    assert read == listed - {"ADDRESS_alpha", "ADDRESS_beta"}


def test_the_guides_name_scripts_and_options_that_exist() -> None:
    pages = [ROOT / "docs/operating.md", *(ROOT / "ops/runbooks").glob("*.md")]
    named = [
        found
        for page in pages
        for found in re.findall(r"ops/failover/([a-z-]+\.sh)((?: --[a-z-]+)*)", page.read_text())
    ]
    assert {"watch.sh", "promote.sh", "switch.sh", "rejoin.sh", "make-standby.sh"} <= {name for name, _ in named}
    for name, options in named:
        if name in SCRIPTS:
            _, said = script(name, "--help")
            assert all(option in said for option in options.split()), (name, options)
    for page in pages:
        for option in re.findall(r"`(--(?:data-loss|primary-is|wait-for)[a-z-]+)`", page.read_text()):
            assert option in script("promote.sh", "--help")[1]
