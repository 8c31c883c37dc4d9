"""The tables of the insights: what stands under a chart, and what is downloaded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forum.insights.figures import figures
from forum.insights.numbers import AGES, WEEKDAYS, Report

Row = Sequence[object]


@dataclass(frozen=True)
class Table:
    """A table of a report: its name in addresses, its header, and its rows."""

    name: str
    caption: str
    header: Sequence[str]
    rows: Callable[[Report], Sequence[Row]]


def _figures(report: Report) -> Sequence[Row]:
    def number(value: float | None, unit: str) -> object:
        if value is None:
            return ""
        return round(100 * value if unit == "%" else value, 1)

    return [
        (one.label, number(one.now, one.unit), number(one.before, one.unit), one.unit, one.detail, one.definition)
        for one in figures(report)
    ]


def _activity(report: Report) -> Sequence[Row]:
    return [
        (str(bucket), questions, answers)
        for bucket, questions, answers in zip(
            report.buckets, report.questions_over_time, report.answers_over_time, strict=True
        )
    ]


def _hours(report: Report) -> Sequence[Row]:
    return [(day, *hours) for day, hours in zip(WEEKDAYS, report.by_hour, strict=True)]


def _tags(report: Report) -> Sequence[Row]:
    return [(tag.name, tag.now, tag.before) for tag in report.tags]


def _contributors(report: Report) -> Sequence[Row]:
    return [(one.name, "staff" if one.is_staff else "", one.answers, one.endorsed) for one in report.contributors]


def _frequent(report: Report) -> Sequence[Row]:
    return [
        (group.first.title, f"#{group.first.number}", group.people, " ".join(f"#{one.number}" for one in group.others))
        for group in report.groups
    ]


def _unanswered(report: Report) -> Sequence[Row]:
    return list(zip(AGES, report.unanswered.ages, strict=True))


TABLES = {
    table.name: table
    for table in (
        Table("figures", "Numbers", ("Number", "Now", "Before", "Unit", "Counted", "Definition"), _figures),
        Table("activity", "Questions and answers over time", ("Days", "Questions", "Answers"), _activity),
        Table("hours", "By weekday and hour", ("Weekday", *(f"{hour:02}" for hour in range(24))), _hours),
        Table("tags", "Trending tags", ("Tag", "Questions", "Questions before"), _tags),
        Table("questions", "Asked again and again", ("Question", "Thread", "People", "Asked again in"), _frequent),
        Table("contributors", "Who answers", ("Name", "Role", "Answers", "With endorsement"), _contributors),
        Table("unanswered", "Unanswered now", ("Age", "Questions"), _unanswered),
    )
}
