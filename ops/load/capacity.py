"""How much machine and money so many students take: `python -m ops.load.capacity`, with --write into docs/capacity.md.

What it starts from stands in `capacity.toml`; what requests and rows cost was measured (`measured.json`). Nothing else is
known here, so that each figure of the table can be followed back to one of the two.
"""

import argparse
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ops.load import acts

ROOT = Path(__file__).resolve().parents[2]
MEASURED = Path(__file__).with_name("measured.json")
DOCUMENT = ROOT / "docs" / "capacity.md"
CHART = ROOT / "docs" / "images" / "capacity.svg"
BEGIN = "<!-- computed: begin (python -m ops.load.capacity --write) -->"
END = "<!-- computed: end -->"
DAY = 86_400
DAYS_A_YEAR, MONTHS = 365, 12
WRITINGS = ("new_thread", "reply")


@dataclass(frozen=True)
class Capacity:
    """What a number of students takes. Money is US dollars a month, over the year; the rest is for the busiest minutes."""

    students: int
    there: int
    requests_a_day: float
    writes_a_day: float
    mails_a_day: float
    ai_questions_a_day: float
    tokens_a_day: float
    peak: float
    exam_peak: float
    web_cores: int
    database_cores: int
    replica_cores: int
    worker_cores: int
    web_memory_gb: float
    disk_gb_a_year: float
    objects_gb_a_year: float
    connections: int
    databases: int
    institutions: int
    money: Mapping[str, float]

    @property
    def a_student_a_year(self) -> float:
        return sum(self.money.values()) * MONTHS / self.students


def compute(students: int, inputs: Mapping[str, Any], measured: Mapping[str, Any]) -> Capacity:
    """Return what so many students take."""
    people, ai, machines, prices = (inputs[name] for name in ("people", "ai", "machines", "prices"))
    requests: Mapping[str, float] = inputs["requests"]
    there = students * people["there_share"]
    a_day, busy = sum(requests.values()), float(machines["busy_share"])
    peak = there * a_day / DAY * people["peak_factor"]
    exam = students * people["exam_there_share"] * people["exam_factor"] * a_day / DAY * people["peak_factor"]
    writings = there * sum(requests[kind] for kind in WRITINGS)
    questions = there * (requests["new_thread"] + ai["private_messages"] + ai["previews"])

    def cores(part: str, kinds: Mapping[str, float]) -> float:
        """Return how many cores the exam's peak takes in web or database, full to no more than their share."""
        costs = measured["cpu_ms"]
        mean: float = sum(many * costs[kind][part] for kind, many in kinds.items() if kind in costs) / a_day
        return float(exam * mean / 1000 / busy)

    redundant = students >= machines["redundant_from"]
    of_replica = {kind: requests[kind] for kind in machines["replica_kinds"] if kind in requests}
    database, replica = cores("database", requests), cores("database", of_replica)
    embedded = exam / a_day * (questions / there) * ai["embedded_seconds"] / busy
    web_cores = max(2 if redundant else 1, math.ceil(cores("web", requests)))
    database_cores = max(2 if redundant else 1, math.ceil(database - (replica if redundant else 0)))
    worker_cores = max(2 if redundant else 1, math.ceil(embedded))
    # What a term writes falls on its days; people are there all year.
    disk = (
        writings * people["term_days"] * measured["forum"]["per_writing"] + students * measured["forum"]["per_person"]
    ) / 1e9
    objects = students * inputs["files"]["per_student_year"] / 1000
    web_memory = (machines["web_process"] * web_cores + machines["worker_process"] * worker_cores) / 1000
    database_memory = disk * machines["database_cached_share"]
    copies = 2 if redundant else 1
    replica_cores = math.ceil(replica) if redundant else 0
    term = people["term_days"] / MONTHS
    tokens_in, tokens_out = (questions * ai["remote_share"] * ai[name] for name in ("tokens_in", "tokens_out"))

    def memory_money(wanted: float, with_cores: int) -> float:
        return float(max(0.0, wanted - with_cores * prices["gb_with_core"]) * prices["memory_gb"])

    money = {
        "web and workers": (web_cores + worker_cores) * prices["core"]
        + memory_money(web_memory + machines["base"] / 1000 * copies, web_cores + worker_cores),
        "databases": copies * (database_cores * prices["database_core"] + memory_money(database_memory, database_cores))
        # Standbys serve as replicas; only what is past their own cores is paid for.
        + max(0, replica_cores - database_cores) * prices["database_core"],
        "disks and files": copies * disk * prices["disk_gb"] + objects * prices["object_gb"],
        "traffic and mail": there * inputs["files"]["sent_per_day"] * term / 1000 * prices["traffic_gb"]
        + writings * inputs["mail"]["per_post"] * term / 1000 * prices["mail_thousand"],
        "models": term * (tokens_in * ai["price_in"] + tokens_out * ai["price_out"]) / 1e6,
    }
    money["all else"] = prices["overhead_share"] * (sum(money.values()) - money["models"])
    return Capacity(
        students=students,
        there=round(there),
        requests_a_day=there * a_day,
        writes_a_day=writings,
        mails_a_day=writings * inputs["mail"]["per_post"],
        ai_questions_a_day=questions,
        tokens_a_day=tokens_in + tokens_out,
        peak=peak,
        exam_peak=exam,
        web_cores=web_cores,
        database_cores=database_cores,
        replica_cores=replica_cores,
        worker_cores=worker_cores,
        web_memory_gb=web_memory + machines["base"] / 1000 * copies,
        disk_gb_a_year=disk,
        objects_gb_a_year=objects,
        connections=web_cores * machines["pool"] + worker_cores * machines["worker_connections"],
        databases=math.ceil(database_cores / machines["database_cores_most"]),
        institutions=math.ceil(students / people["per_institution"]),
        money=money,
    )


def number(value: float) -> str:
    """Return a number as people read it: with no more than three digits that say something."""
    if value >= 100:
        step = 10 ** (math.floor(math.log10(value)) - 2)
        return f"{round(value / step) * step:,}"
    return f"{value:.0f}" if value >= 10 or value == round(value) else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def table(rows: list[Capacity], measured: Mapping[str, Any]) -> str:
    """Return the tables of the document, as Markdown."""
    head = ["| students | " + " | ".join(f"{row.students:,}" for row in rows) + " |", "|---|" + "---:|" * len(rows)]
    lines: dict[str, list[Any]] = {
        "institutions": [row.institutions for row in rows],
        "there on a day of term": [row.there for row in rows],
        "requests a day": [row.requests_a_day for row in rows],
        "threads and replies written a day": [row.writes_a_day for row in rows],
        "mails a day": [row.mails_a_day for row in rows],
        "questions to the AI a day": [row.ai_questions_a_day for row in rows],
        "tokens a day": [row.tokens_a_day for row in rows],
        "requests/s in the busiest minutes of a day": [row.peak for row in rows],
        "**requests/s on an exam's eve** (what is built for)": [row.exam_peak for row in rows],
        "cores: web": [row.web_cores for row in rows],
        "cores: task workers": [row.worker_cores for row in rows],
        "cores: primary databases (the standby has as many)": [row.database_cores for row in rows],
        "beside it, work that standbys do as read replicas, in cores": [row.replica_cores for row in rows],
        "memory of web and workers, GB": [row.web_memory_gb for row in rows],
        "database on disk, GB more a year": [row.disk_gb_a_year for row in rows],
        "files, GB more a year": [row.objects_gb_a_year for row in rows],
        "database connections without PgBouncer": [row.connections for row in rows],
        "databases (cells)": [row.databases for row in rows],
        **{f"$ a month: {part}": [row.money[part] for row in rows] for part in rows[0].money},
        "**$ a month**": [sum(row.money.values()) for row in rows],
        "**$ a student and year**": [row.a_student_a_year for row in rows],
    }
    forum, busy = measured["forum"], measured["others"] >= 0.1
    costs = [
        "| request | web, ms of a core | database, ms of a core |",
        "|---|---:|---:|",
        *(f"| {kind} | {cost['web']:.1f} | {cost['database']:.1f} |" for kind, cost in measured["cpu_ms"].items()),
    ]
    return "\n".join([
        *head,
        *(f"| {name} | " + " | ".join(number(float(value)) for value in values) + " |" for name, values in lines.items()),
        "",
        "![US dollars a student and year, by what they are for](images/capacity.svg)",
        "",
        f"What requests cost, measured {measured['measured_on']} on {measured['cores']} cores with {forum['threads']:,} threads"
        + (f", while other programs had {measured['others']:.1f} cores (without them it is less):" if busy else ":"),
        "",
        *costs,
        "",
        f"On the database's disk, with indexes and all that hangs on them: {forum['per_writing']:,} bytes for each thread or"
        f" reply, {forum['per_person']:,} for each person.",
    ])  # fmt: skip


def chart(rows: list[Capacity]) -> str:
    """Return the picture: dollars a student and year, stacked by what they are for."""
    import pygal
    from pygal.style import Style

    drawn = pygal.StackedBar(
        style=Style(
            background="#FFFFFF", plot_background="#FFFFFF", foreground="#2A2721", foreground_strong="#2A2721",
            colors=("#8A6B3D", "#5E7D4A", "#2D6CDF", "#B45309", "#A855F7", "#625C52"), font_family="sans-serif",
        ),
        width=720, height=360, legend_at_bottom=True, legend_at_bottom_columns=3, js=(), disable_xml_declaration=True,
        no_prefix=True, pretty_print=True, y_title="$ a student and year",
    )  # fmt: skip
    drawn.x_labels = [f"{row.students:,} students" for row in rows]
    for part in rows[0].money:
        drawn.add(part, [round(row.money[part] * MONTHS / row.students, 3) for row in rows])
    # Without what pygal says of itself, and its script's settings.
    return re.sub(r"<!--.*?-->|<script.*?</script>", "", str(drawn.render(is_unicode=True)), flags=re.S)


def rows() -> tuple[list[Capacity], dict[str, Any]]:
    """Return the computed rows and what was measured."""
    inputs, measured = acts.inputs(), json.loads(MEASURED.read_text())
    return [compute(students, inputs, measured) for students in inputs["sizes"]["students"]], measured


def written(document: str, computed: str) -> str:
    """Return the document with the tables between its marks. Raises `ValueError` without marks."""
    begin, end = document.index(BEGIN) + len(BEGIN), document.index(END)
    return f"{document[:begin]}\n{computed}\n{document[end:]}"


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--write", action="store_true", help="into docs/capacity.md and its picture")
    wanted = arguments.parse_args()
    found, measured = rows()
    computed = table(found, measured)
    if wanted.write:
        DOCUMENT.write_text(written(DOCUMENT.read_text(), computed))
        CHART.write_text(chart(found) + "\n")
    else:
        print(computed)


if __name__ == "__main__":
    main()
