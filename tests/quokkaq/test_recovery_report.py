"""docs/recovery.md says what drills measured, and nothing else."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from ops.recovery import report
from tests import recovery


def keep(folder: Path, scenario: str, note: str = "", **figures: Any) -> None:
    line = {
        "scenario": scenario,
        "figures": figures,
        "note": note,
        "at": "2026-11-27T17:12:06+00:00",
        "machine": "2 cores, Linux",
    }
    (folder / f"{scenario}-{len(list(folder.iterdir()))}.json").write_text(json.dumps(line))


def row(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_worst_of_what_was_measured_stands_beside_the_target(tmp_path: Path) -> None:
    keep(tmp_path, "database_failure", "by day", longest_seconds=3.416, lost_rows=0, rounds=2)
    keep(tmp_path, "database_failure", "by night", longest_seconds=9.5, lost_rows=0)
    keep(tmp_path, "corruption", damaged_page_seconds_per_gb=61.2, undo_rows_lost=0)
    keep(tmp_path, "compromise", recovery_seconds=12.0, rows_lost=3)
    text = report.table(report.read(tmp_path))
    assert row(text, "Database failure")[4:] == ["9.50 s", "0 rows", "yes", "2026-11-27 17:12 UTC, 2 cores, Linux"]
    assert row(text, "Data corruption")[4:7] == ["61.2 s per GB", "0 rows", "**no**"]
    # In time, and yet something is gone.
    assert row(text, "Account compromise")[4:7] == ["12 s", "3 rows", "**no**"]
    keep(tmp_path, "region_outage", first_write_seconds=12.0, rows_lost=0, files_lost_seconds=61)
    assert row(report.table(report.read(tmp_path)), "Region outage")[4:7] == ["12 s", "0 rows, files of 61 s", "**no**"]
    assert "| database failure | by day | longest seconds 3.42, lost rows 0, rounds 2 |" in text


def test_what_nobody_measured_has_no_number(tmp_path: Path) -> None:
    keep(tmp_path, "service_down", dropped=0)
    text = report.table(report.read(tmp_path))
    for name in ("Database failure", "Service down", "Region outage", "Data corruption", "Account compromise"):
        assert row(text, name)[4:7] == [report.NOT_MEASURED] * 3
    assert row(text, "Region outage")[7] == "–"
    assert row(report.table([]), "Service down")[4] == report.NOT_MEASURED
    assert report.read(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"scenario": "compromise"}', '{"scenario": "a", "figures": {"x": null}, "note": "", "at": "2026-01-01", "machine": ""}']
)  # fmt: skip
def test_a_broken_file_is_named_and_nothing_is_written(text: str, tmp_path: Path) -> None:
    (tmp_path / "compromise-1.json").write_text(text)
    with pytest.raises(report.Broken, match=r"compromise-1\.json"):
        report.read(tmp_path)


def test_the_document_keeps_all_but_what_stands_between_its_marks(tmp_path: Path) -> None:
    keep(tmp_path, "compromise", recovery_seconds=12.5, rows_lost=0)
    document = report.DOCUMENT.read_text()
    written = report.written_into(document, report.read(tmp_path))
    assert "12.5 s" in written
    assert written.partition(report.BEGIN)[0] == document.partition(report.BEGIN)[0]
    assert written.partition(report.END)[2] == document.partition(report.END)[2]
    assert report.written_into(written, report.read(tmp_path)) == written
    with pytest.raises(report.Broken, match="marks"):
        report.written_into(document.replace(report.END, ""), [])


def test_the_chart_has_a_bar_for_what_was_measured_only(tmp_path: Path) -> None:
    targets = len(report.SCENARIOS)
    assert bars(report.chart([])) == targets
    keep(tmp_path, "compromise", recovery_seconds=12.5, rows_lost=0)
    drawn = report.chart(report.read(tmp_path))
    assert bars(drawn) == targets + 1
    assert "12.5 s" in drawn
    assert "<script" not in drawn


def bars(drawn: str) -> int:
    return sum("rect" in (element.get("class") or "").split() for element in ElementTree.fromstring(drawn).iter())  # noqa: S314 (we drew it)


def test_what_drills_keep_is_what_the_report_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "FOLDER", tmp_path)
    recovery.measured("compromise", note="one way", recovery_seconds=1.23456, rows_lost=0)
    recovery.measured("compromise", note="one way", recovery_seconds=2.0, rows_lost=0)
    recovery.measured("compromise", note="another way", recovery_seconds=3.0, rows_lost=0)
    found = report.read(tmp_path)
    assert sorted(one.figures["recovery_seconds"] for one in found) == [2.0, 3.0]


def test_the_report_runs_the_drills_that_measure() -> None:
    assert report.ROOT / "tests/services/test_compromise_drill.py" in set(report.drills())


def test_only_writing_runs_no_drill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "recovery.md"
    document.write_text(f"a\n{report.BEGIN}\nold\n{report.END}\nb\n")
    keep(tmp_path, "compromise", recovery_seconds=12.5, rows_lost=0)
    monkeypatch.setattr(report, "DOCUMENT", document)
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    monkeypatch.setattr(report, "CHART", tmp_path / "recovery.svg")
    assert report.main(["--only-write"]) == 0
    assert "12.5 s" in document.read_text()
    assert "old" not in document.read_text()
    (tmp_path / "x.json").write_text("{")
    before = document.read_text()
    assert report.main(["--only-write"]) == 1
    assert document.read_text() == before
