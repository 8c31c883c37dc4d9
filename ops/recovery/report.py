"""What the drills measured, as docs/recovery.md shows it: `python -m ops.recovery.report` runs them and writes it anew.

`--only-write` writes from what lies in `.local/recovery` without running anything. A scenario that nothing was measured of
says so: no number is ever made up, kept from an earlier run of other drills, or typed by hand.
"""

import argparse
import json
import re
import shutil
import subprocess  # nosec B404
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".local" / "recovery"
DOCUMENT = ROOT / "docs" / "recovery.md"
CHART = ROOT / "docs" / "images" / "recovery.svg"
BEGIN = "<!-- measured: begin (python -m ops.recovery.report) -->"
END = "<!-- measured: end -->"
NOT_MEASURED = "not measured"
# The chart's, in seconds.
_AXIS = (0.1, 1, 10, 100, 1000)


class Broken(Exception):
    """The document, or a file of figures, isn't what it should be. The sentence says which and why."""


@dataclass(frozen=True)
class Scenario:
    """One row of the table: what was asked for, what we aim at, and which figures tell.

    Attributes:
        target: the longest it may take until people can work again, in seconds (for `corruption` per gigabyte).
        seconds, lost: names of figures; of several the worst counts.
    """

    key: str
    name: str
    asked_time: str
    asked_loss: str
    priority: str
    target: float
    target_words: str
    target_loss: str
    seconds: tuple[str, ...]
    lost: tuple[str, ...]
    per: str = ""
    # Over how many seconds before the end files are missing; below `target`, too.
    files: tuple[str, ...] = ()


_LOST = ("lost_rows", "rows_lost")
SCENARIOS = (
    Scenario(
        "database_failure", "Database failure", "15 minutes", "1 hour", "Critical", 10, "10 s", "0 rows",
        ("longest_seconds", "recovery_seconds"), _LOST,
    ),
    Scenario(
        "service_down", "Service down", "5 minutes", "0", "Critical", 5, "5 s", "0 rows",
        ("usable_seconds", "recovery_seconds"), _LOST,
    ),
    Scenario(
        "region_outage", "Region outage", "4 hours", "1 hour", "High", 60, "60 s", "0 rows; files of the last 60 s",
        ("first_write_seconds", "recovery_seconds"), _LOST, files=("files_lost_seconds",),
    ),
    Scenario(
        "corruption", "Data corruption", "1 hour", "24 hours", "High", 60, "60 s per GB", "nothing before the chosen second",
        ("damaged_page_seconds_per_gb", "seconds_per_gigabyte", "recovery_seconds_per_gb"), ("undo_rows_lost",),
        per=" per GB",
    ),
    Scenario(
        "compromise", "Account compromise", "24 hours", "24 hours", "Medium", 300, "5 minutes", "0 rows",
        ("recovery_seconds",), _LOST,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Measurement:
    """What one drill measured."""

    scenario: str
    figures: Mapping[str, float | str]
    note: str
    at: datetime
    machine: str


@dataclass(frozen=True)
class Row:
    """One scenario with what was measured of it."""

    scenario: Scenario
    measurements: Sequence[Measurement] = field(default_factory=list)

    def _numbers(self, names: Sequence[str]) -> list[float]:
        found = [one.figures[name] for one in self.measurements for name in names if name in one.figures]
        return [value for value in found if not isinstance(value, str)]

    @property
    def seconds(self) -> float | None:
        return max(self._numbers(self.scenario.seconds), default=None)

    @property
    def lost(self) -> float | None:
        return max(self._numbers(self.scenario.lost), default=None)

    @property
    def files(self) -> float | None:
        return max(self._numbers(self.scenario.files), default=None)

    @property
    def loss(self) -> str:
        if self.lost is None:
            return NOT_MEASURED
        files = "" if self.files is None else f", files of {number(self.files)} s"
        return f"{number(self.lost)} rows{files}"

    @property
    def verdict(self) -> str:
        if self.seconds is None or self.lost is None:
            return NOT_MEASURED
        met = self.seconds < self.scenario.target and not self.lost and (self.files or 0) < self.scenario.target
        return "yes" if met else "**no**"


def read(folder: Path) -> list[Measurement]:
    """Return what lies in the folder. Raises `Broken`."""
    found = []
    for file in sorted(folder.glob("*.json")):
        try:
            line: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            figures = line["figures"]
            if not all(isinstance(value, int | float | str) for value in figures.values()):
                raise TypeError
            found.append(
                Measurement(
                    str(line["scenario"]),
                    figures,
                    str(line["note"]),
                    datetime.fromisoformat(line["at"]),
                    str(line["machine"]),
                )
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Broken(f"{file.name} holds no measurement: remove it and run its drill again.") from None
    return found


def rows(measurements: Sequence[Measurement]) -> list[Row]:
    return [Row(one, [found for found in measurements if found.scenario == one.key]) for one in SCENARIOS]


def number(value: float) -> str:
    """Return a number as people read it: whole from ten on, else with one or two digits behind the point."""
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(measurements: Sequence[Measurement]) -> str:
    """Return the table of the audit with targets and measurements, and below it everything that was measured."""
    lines = [
        "| scenario | asked for: RTO / RPO | priority | our target: RTO / RPO | measured RTO | measured loss | met | measured on |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(measurements):
        one, seconds = row.scenario, row.seconds
        newest = max(row.measurements, key=lambda found: found.at, default=None)
        lines.append(
            f"| {one.name} | {one.asked_time} / {one.asked_loss} | {one.priority} | {one.target_words} / {one.target_loss} | "
            f"{NOT_MEASURED if seconds is None else f'{number(seconds)} s{one.per}'} | "
            f"{row.loss} | {row.verdict} | "
            f"{f'{newest.at:%Y-%m-%d %H:%M} UTC, {newest.machine}' if newest else '–'} |"
        )
    lines += ["", "![Seconds until people can work again, measured beside the target](images/recovery.svg)", ""]
    lines += [
        "All that drills measured, of these and other scenarios:",
        "",
        "| scenario | what was done | figures |",
        "|---|---|---|",
    ]
    for found in sorted(measurements, key=lambda found: (found.scenario, found.note)):
        figures = ", ".join(
            f"{name.replace('_', ' ')} {value if isinstance(value, str) else number(value)}"
            for name, value in found.figures.items()
        )
        lines.append(f"| {found.scenario.replace('_', ' ')} | {_cell(found.note) or '–'} | {_cell(figures)} |")
    if not measurements:
        lines.append(f"| – | – | {NOT_MEASURED} |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def written_into(document: str, measurements: Sequence[Measurement]) -> str:
    """Return the document with the table between its marks. Raises `Broken` for one without them."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Broken(f"{DOCUMENT.name} has lost its marks: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table(measurements)}\n\n{END}{after}"


def chart(measurements: Sequence[Measurement]) -> str:
    """Return a bar chart (SVG): seconds measured beside the target, on a logarithmic scale."""
    import pygal
    from pygal.style import CleanStyle

    style = CleanStyle(background="white", plot_background="white", colors=("#b8bfc9", "#1f5fa8"), label_font_size=14)
    drawn = pygal.HorizontalBar(
        style=style, width=760, height=360, logarithmic=True, print_values=True, js=[], no_prefix=True,
        disable_xml_declaration=True, legend_at_bottom=True, range=(_AXIS[0], _AXIS[-1]), y_labels=_AXIS, zero=_AXIS[0], margin_right=40,
        value_formatter=lambda value: f"{number(value)} s",
    )  # fmt: skip
    # A horizontal bar chart begins at the bottom.
    found = rows(measurements)[::-1]
    drawn.x_labels = [f"{row.scenario.name}{row.scenario.per}" for row in found]
    drawn.add("target", [row.scenario.target for row in found])
    # On this scale there is no zero.
    drawn.add("measured", [None if row.seconds is None else max(row.seconds, _AXIS[0]) for row in found])
    # What pygal adds for pages that show values under the pointer has no use in a document.
    return re.sub(r"<script.*?</script>", "", str(drawn.render(is_unicode=True)), flags=re.S)


def drills() -> Iterator[Path]:
    """Yield the files of the tests that measure."""
    for file in sorted((ROOT / "tests").rglob("test_*.py")):
        if "import measured" in file.read_text(encoding="utf-8"):
            yield file


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only-write", action="store_true", help="run no drill: write what was measured before")
    options = parser.parse_args(arguments)
    if not options.only_write:
        shutil.rmtree(FOLDER, ignore_errors=True)
        files = [str(file.relative_to(ROOT)) for file in drills()]
        done = subprocess.run([sys.executable, "-m", "pytest", "-n0", "-q", *files], cwd=ROOT, check=False)  # nosec B603
        if done.returncode != 0:
            print("A drill failed: docs/recovery.md stays as it was.", file=sys.stderr)
            return done.returncode
    try:
        measurements = read(FOLDER)
        DOCUMENT.write_text(written_into(DOCUMENT.read_text(encoding="utf-8"), measurements), encoding="utf-8")
    except (Broken, OSError) as problem:
        print(problem, file=sys.stderr)
        return 1
    CHART.write_text(chart(measurements) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
