"""What the rows of a course say about it, for its staff. Every number is counted from rows, and defined beside it."""

from forum.insights.numbers import KEPT_SECONDS, STAFF_MINUTES, Report, report
from forum.insights.period import DAYS, Period
from forum.insights.sources import MachineAnswers, register_machine_answers
from forum.insights.tables import TABLES, Table

__all__ = [
    "DAYS", "KEPT_SECONDS", "STAFF_MINUTES", "TABLES", "MachineAnswers", "Period", "Report", "Table",
    "register_machine_answers", "report",
]  # fmt: skip
