"""Logs in files: one for each stream, whole lines whoever writes, kept as long as promised, and found again."""

import gzip
import io
import json
import logging
import logging.config
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command

from quokkaq.lib.log_search import BadQuestion, Question, files_of, moment, search
from quokkaq.lib.logs import STREAMS, LogFile, logging_config
from tests.conftest import needed
from tests.processes import wait_for

ROOT = Path(__file__).resolve().parents[2]
DAYS = {"access": 30, "application": 30, "security": 90}
ROTATION = (ROOT / "ops/logging/logrotate.conf").read_text()


@pytest.fixture
def configured(tmp_path: Path) -> Iterator[Path]:
    """A folder that the shared configuration writes to."""
    root = logging.getLogger()
    before = (root.handlers, root.level)
    shipped = logging_config(level="INFO", pretty=False, directory=str(tmp_path))
    made = {name: shipped["handlers"][name] for name in STREAMS}
    root.handlers = []
    config = {**shipped, "handlers": made, "root": {"handlers": list(made), "level": "INFO"}, "loggers": {}}
    logging.config.dictConfig(config)
    yield tmp_path
    for handler in root.handlers:
        handler.close()
    root.handlers, root.level = before[0], before[1]


def test_each_stream_has_a_file_that_others_can_t_read(configured: Path) -> None:
    logging.getLogger("quokkaq.access").info("GET forum:list 200", extra={"status": 200})
    logging.getLogger("quokkaq.security").warning("sign_in.failed")
    logging.getLogger("django.security.DisallowedHost").error("refused")
    logging.getLogger("forum.x").info("something")
    logging.getLogger("django.request").error("failed")
    lines = {
        stream: [json.loads(line) for line in (configured / f"{stream}.log").read_text().splitlines()]
        for stream in STREAMS
    }
    assert {stream: len(found) for stream, found in lines.items()} == {"access": 1, "application": 2, "security": 2}
    assert all(line["stream"] == stream for stream, found in lines.items() for line in found)
    assert (configured / "security.log").stat().st_mode & 0o777 == 0o640


WRITE = """
import itertools, logging, sys, time
from pathlib import Path
from quokkaq.lib.logs import LogFile
handler = LogFile(sys.argv[1], delay=True)
for number in itertools.count():
    if Path(sys.argv[3]).exists():
        break
    text = f"{sys.argv[2]} {number} " + "x" * (20_000 if number % 50 == 0 else 20)
    handler.handle(logging.LogRecord("x", 20, "f", 1, text, (), None))
    time.sleep(0.001)
print(number)
"""


def test_lines_stay_whole_while_processes_write_and_files_are_rotated(tmp_path: Path) -> None:
    logrotate, log, stop = needed("logrotate"), tmp_path / "application.log", tmp_path / "stop"
    rules = ROTATION.replace("/var/log/quokkaq", str(tmp_path))
    config = tmp_path / "rotate.conf"
    # Within a day the names would be the same: numbers instead of dates.
    config.write_text(re.sub(r" +(su quokkaq quokkaq|dateext)\n", "", rules))
    config.chmod(0o600)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(log), str(name), str(stop)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for name in range(3)
    ]
    for _ in range(5):
        wait_for(lambda: log.exists() and log.stat().st_size > 30_000, what="lines")
        subprocess.run([logrotate, "-f", "-s", str(tmp_path / "state"), str(config)], check=True)
    stop.touch()
    written = sum(int(writer.communicate(timeout=20)[0]) for writer in writers)
    assert {file.name for file in tmp_path.glob("application.log.*")} >= {"application.log.1", "application.log.5.gz"}
    text = ""
    for file in tmp_path.glob("application.log*"):
        text += gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    found = re.findall(r"^(\d) (\d+) x+$", text, re.M)
    assert len(text.splitlines()) == len(found) == len(set(found)) == written


def rules_of(stream: str) -> str:
    return next(block for block in ROTATION.split("}") if f"/{stream}.log" in block)


@pytest.mark.parametrize(("stream", "days"), DAYS.items())
def test_rotation_keeps_each_stream_as_long_as_promised(stream: str, days: int) -> None:
    rules = rules_of(stream)
    for rule in ("daily", f"rotate {days}", f"maxage {days}", "nocreate", "compress", "delaycompress"):
        assert re.search(rf"^    {rule}$", rules, re.M), rule
    assert "copytruncate" not in re.sub(r"#.*", "", ROTATION)


def test_logrotate_takes_the_shipped_rules(tmp_path: Path) -> None:
    logrotate = needed("logrotate")
    config = tmp_path / "quokkaq"
    # Its account needn't be there.
    config.write_text(ROTATION.replace("    su quokkaq quokkaq\n", ""))
    config.chmod(0o600)
    done = subprocess.run(
        [logrotate, "-d", "-s", str(tmp_path / "state"), str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "error" not in done.stderr.lower()
    assert "30 rotations" in done.stderr
    assert "90 rotations" in done.stderr


class Template(yaml.SafeLoader):
    """Reads CloudFormation, whose short forms are tags of YAML."""


Template.add_multi_constructor("!", lambda loader, suffix, node: {suffix: getattr(node, "value", None)})


def test_the_cloud_keeps_each_stream_as_long_as_promised() -> None:
    template = yaml.load((ROOT / "ops/cloudformation/logs.yaml").read_text(), Template)  # noqa: S506 (a safe loader)
    groups = [r for r in template["Resources"].values() if r["Type"] == "AWS::Logs::LogGroup"]
    kept = {group["Properties"]["LogGroupName"]["Sub"]: group["Properties"]["RetentionInDays"] for group in groups}
    assert kept == {f"${{Prefix}}/{stream}": days for stream, days in DAYS.items()}
    assert all(group["DeletionPolicy"] == "Retain" for group in groups)
    agent = json.loads((ROOT / "ops/logging/cloudwatch-agent.json").read_text())
    sent = agent["logs"]["logs_collected"]["files"]["collect_list"]
    prefix = template["Parameters"]["Prefix"]["Default"]
    assert {each["file_path"]: each["log_group_name"] for each in sent} == {
        f"/var/log/quokkaq/{stream}.log": f"{prefix}/{stream}" for stream in STREAMS
    }


# Finding lines

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def line(minutes: int, **fields: Any) -> str:
    when = (NOW - timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%S")
    return json.dumps({"time": when, "level": "INFO", "stream": "access", "message": "m", **fields}) + "\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Logs of some hours."""
    (tmp_path / "access.log").write_text(
        line(5, request_id="req-00000001", user_id="u-1", route="forum:list", status=200)
        + line(4, request_id="req-00000002", user_id="u-2", route="forum:thread", status=503)
        + "not one of ours\n"
        + "{broken\n"
    )
    with gzip.open(tmp_path / "access.log-20261126.gz", "wt") as old:
        old.write(line(600, request_id="req-00000000", user_id="u-1", route="forum:list", status=500))
    (tmp_path / "security.log").write_text(
        line(3, request_id="req-00000003", stream="security", message="sign_in.failed", event="sign_in.failed")
    )
    (tmp_path / "application.log").write_text(
        "web-1  | "
        + line(2, request_id="req-00000002", stream="application", level="ERROR", exc_info="ValueError\n  at x")
    )
    (tmp_path / "other.txt").write_text(line(1, request_id="req-00000002"))
    return tmp_path


def ask(*arguments: str) -> str:
    out = io.StringIO()
    call_command("logs", *arguments, stdout=out)
    return out.getvalue()


def ids(*arguments: str) -> list[str]:
    return [json.loads(each)["request_id"][-1] for each in ask("--json", *arguments).splitlines()]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (["--request", "req-00000002"], ["2", "2"]),
        (["--user", "u-1"], ["0", "1"]),
        (["--route", "forum:thread"], ["2"]),
        (["--status", "5xx"], ["0", "2"]),
        (["--status", "503"], ["2"]),
        (["--stream", "security"], ["3"]),
        (["--user", "u-1", "--status", "200"], ["1"]),
        (["--since", "2026-11-27T11:30"], ["1", "2", "2", "3"]),
    ],
)
def test_lines_are_found_in_a_folder(folder: Path, question: list[str], found: list[str]) -> None:
    assert sorted(ids(str(folder), *question)) == found


def test_one_file_compressed_or_not_and_what_is_piped_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ids(str(folder / "access.log-20261126.gz")) == ["0"]
    assert ids(str(folder / "other.txt")) == ["2"]
    piped = io.TextIOWrapper(io.BytesIO((folder / "access.log").read_bytes()))
    monkeypatch.setattr("sys.stdin", piped)
    assert ids("-", "--status", "5xx") == ["2"]


def test_the_folder_of_the_settings_is_searched_when_none_is_named(folder: Path, settings: Any) -> None:
    settings.LOG_DIRECTORY = str(folder)
    assert ids("--stream", "security") == ["3"]
    settings.LOG_DIRECTORY = ""
    with pytest.raises(CommandError, match="LOG_DIRECTORY isn't set"):
        ask()


def test_people_read_one_line_each_and_the_exception_below(folder: Path) -> None:
    text = ask(str(folder), "--request", "req-00000002")
    assert "2026-11-27T11:56:00 INFO access req-00000002 u-2 forum:thread 503 m\n" in text
    assert text.endswith("2026-11-27T11:58:00 ERROR application req-00000002 m\nValueError\n  at x\n")


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (["--status", "6xx"], "takes a status such as 404"),
        (["--stream", "nothing"], "one of access, application, security"),
        (["--since", "yesterday"], "takes a time such as 30m"),
        (["--request", "no-such-request"], "No line matches"),
        (["/no/such/file"], "There is no /no/such/file"),
    ],
)
def test_what_can_t_be_answered_is_said(folder: Path, question: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=said):
        ask(str(folder), *question)


def test_times_are_ago_or_on_the_clock() -> None:
    assert moment("90m", NOW) == NOW - timedelta(minutes=90)
    assert moment("1w", NOW) == NOW - timedelta(days=7)
    assert moment("2026-11-27T03:00", NOW) == datetime(2026, 11, 27, 3, tzinfo=UTC)
    assert moment("2026-11-27T03:00+02:00", NOW) == datetime(2026, 11, 27, 1, tzinfo=UTC)
    with pytest.raises(BadQuestion):
        moment("h", NOW)


def test_files_that_ended_before_are_not_opened(folder: Path) -> None:
    old = folder / "access.log-20261126.gz"
    os.utime(old, (NOW.timestamp() - 36000, NOW.timestamp() - 36000))
    assert old not in files_of([str(folder)], Question(since=NOW - timedelta(hours=1)))
    assert old in files_of([str(folder)], Question())


@pytest.mark.clocked
def test_a_large_file_is_read_quickly_and_little_of_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    piece = "".join(line(1, request_id=f"req-{number:08}", route="forum:list", status=200) for number in range(1000))
    with file.open("w") as out:
        for _ in range(200):
            out.write(piece)
        out.write(line(1, request_id="the-one-wanted", route="forum:list", status=200))
    started = time.monotonic()
    with file.open("rb") as lines:
        found = list(search(lines, Question(request="the-one-wanted", status="2xx")))
    assert len(found) == 1
    assert time.monotonic() - started < 3


def test_a_log_file_takes_odd_letters(tmp_path: Path) -> None:
    handler = LogFile(str(tmp_path / "x.log"))
    handler.handle(logging.LogRecord("x", 20, "f", 1, "\ud800 ü", (), None))
    handler.close()
    assert (tmp_path / "x.log").read_text() == "\\ud800 ü\n"
