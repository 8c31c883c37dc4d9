"""What `tests.benchmarks.pages` measured, kept in docs/benchmarks.json and shown in docs/benchmarks.md, with a chart."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
HISTORY = ROOT / "docs" / "benchmarks.json"
CHART = ROOT / "docs" / "images" / "benchmarks.svg"
BEGIN = "<!-- measured: begin (python -m tests.benchmarks.pages --write) -->"
END = "<!-- measured: end -->"
RUNS = 30


def keep(run: dict[str, Any]) -> None:
    """Add a run to the history, and draw document and chart from it."""
    runs: list[dict[str, Any]] = json.loads(HISTORY.read_text()) if HISTORY.exists() else []
    runs = [*runs, run][-RUNS:]
    HISTORY.write_text(json.dumps(runs, indent=1) + "\n")
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{written(runs)}\n\n{END}{after}", encoding="utf-8")
    CHART.write_text(chart(run) + "\n", encoding="utf-8")


def written(runs: list[dict[str, Any]]) -> str:
    """Return the newest run as tables, and a line for each run before."""
    run = runs[-1]
    lines = [f"Measured {run['at']} UTC on {run['machine']}.", ""]
    for size in run["sizes"]:
        empty = ", ".join(f"{rate:.0f}" for rate in size["empty"].values())
        memory = ", ".join(f"{one:.0f}" for one in size["rss_mb"])
        lines += [
            f"### {size['threads']:,} threads",
            "",
            f"The empty view: {empty} requests/s at {' / '.join(size['empty'])} connections. Memory of the web workers afterwards:"
            f" {memory} MB.",
            "",
            "| page | requests/s at 1 / 8 / 32 | of the empty view's | p50 / p95 / p99 ms at 8 | at 32 | CPU ms: app + database | statements | KB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_row(page) for page in size["pages"]]
        lines.append("")
    lines += ["![Requests a second, as a part of the empty view's](images/benchmarks.svg)", ""]
    lines += ["Runs before, each page's part of the empty view at 8 connections with the most threads:", ""]
    names = [page["page"] for page in run["sizes"][0]["pages"]][:3]
    lines += [f"| run | machine | {' | '.join(names)} |", f"|---|---|{'---|' * len(names)}"]
    for one in reversed(runs):
        parts = {page["page"]: page["by_connections"].get("8", {}).get("of_empty") for page in one["sizes"][0]["pages"]}
        cells = " | ".join("–" if parts.get(name) is None else f"{parts[name]:.2f}" for name in names)
        lines.append(f"| {one['at']} | {one['machine']} | {cells} |")
    return "\n".join(lines)


def _row(page: dict[str, Any]) -> str:
    by = page["by_connections"]

    def each(name: str, digits: int = 0) -> str:
        return " / ".join(f"{by[n][name]:.{digits}f}" if n in by else "–" for n in ("1", "8", "32"))

    def times(connections: str) -> str:
        found = by.get(connections)
        return " / ".join(f"{found[name]:.0f}" for name in ("p50", "p95", "p99")) if found else "–"

    eight = by.get("8") or next(iter(by.values()))
    errors = sum(int(one["errors"]) for one in by.values())
    return (
        f"| {page['page']}{f' ({errors} errors)' if errors else ''} | {each('requests_per_second')} | {each('of_empty', 2)} |"
        f" {times('8')} | {times('32')} | {eight['app_cpu_ms']:.1f} + {eight['database_cpu_ms']:.1f} |"
        f" {page['queries'] or '–'} | {page['bytes'] / 1024:.0f} |"
    )


def chart(run: dict[str, Any]) -> str:
    """Return a bar chart (SVG): requests a second as a part of the empty view's at 8 connections, for each size."""
    import pygal
    from pygal.style import CleanStyle

    style = CleanStyle(background="white", plot_background="white", colors=("#1f5fa8", "#b8bfc9"), label_font_size=13)
    drawn = pygal.HorizontalBar(
        style=style, width=760, height=560, print_values=True, js=[], no_prefix=True, disable_xml_declaration=True,
        legend_at_bottom=True, value_formatter=lambda value: f"{value:.2f}",
    )  # fmt: skip
    drawn.x_labels = [page["page"] for page in run["sizes"][0]["pages"]][::-1]
    for size in run["sizes"]:
        parts = {page["page"]: page["by_connections"].get("8", {}).get("of_empty") for page in size["pages"]}
        drawn.add(f"{size['threads']:,} threads", [parts.get(name) for name in drawn.x_labels])
    return re.sub(r"<script.*?</script>", "", str(drawn.render(is_unicode=True)), flags=re.S)
