"""Runs as the staff page shows them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from accounts.access import Member
from ai_answers.models import EvaluationRun

# Runs read, over all sets; and shown of each.
READ = 60
SHOWN_RUNS = 6
# Name of a metric, what it is called, and how it is written.
METRICS = (
    ("recall_1", "Right passage first", "share"),
    ("recall_5", "Right passage among five", "share"),
    ("recall_10", "Right passage among ten", "share"),
    ("mrr", "Mean reciprocal rank", "number"),
    ("answered", "Answerable questions answered", "share"),
    ("gold_in_quotes", "Right words in the quotations, of those", "share"),
    ("citations_exact", "Quotations exact", "share"),
    ("refused_unanswerable", "Held back: on the topic, not in the materials", "share"),
    ("refused_off_topic", "Held back: another topic", "share"),
    ("auroc_unanswerable", "AUROC, on the topic but not in the materials", "number"),
    ("auroc_off_topic", "AUROC, another topic", "number"),
    ("calibration_error", "Calibration error", "number"),
    ("p50_ms", "Time, half of the questions", "time"),
    ("p95_ms", "Time, 95 of 100 questions", "time"),
)


@dataclass
class Table:
    """The runs on one set, newest first, and their numbers as rows of texts."""

    name: str
    runs: list[EvaluationRun] = field(default_factory=list)

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """A row per metric that any run has: what it is called, and its value in each run."""
        return [
            (label, [_written(run.metrics.get(name), kind) for run in self.runs])
            for name, label, kind in METRICS
            if any(name in run.metrics for run in self.runs)
        ]


def newest_runs(member: Member) -> dict[str, Table]:
    """Return the newest runs staff may see, by set."""
    tables: dict[str, Table] = {}
    for run in EvaluationRun.objects.visible_to(member)[:READ]:
        name = "this course" if run.course_id else run.dataset
        table = tables.setdefault(name, Table(name))
        if len(table.runs) < SHOWN_RUNS:
            table.runs.append(run)
    return tables


def over_time(table: Table) -> Sequence[EvaluationRun]:
    """Return the runs of a table, oldest first."""
    return table.runs[::-1]


def _written(value: float | None, kind: str) -> str:
    if value is None:
        return "–"
    if kind == "share":
        return f"{100 * value:.1f} %"
    return f"{value:.0f} ms" if kind == "time" else f"{value:.3f}"
