"""The numbers of a report as they are read: with what they were before, and what exactly was counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from forum.insights.numbers import STAFF_MINUTES, Counts, Report

N = TypeVar("N", int, float)


@dataclass(frozen=True)
class Figure(Generic[N]):
    """One big number. `now` and `before` are None where there was nothing to count."""

    key: str
    label: str
    definition: str
    now: N | None
    before: N | None
    shown: str
    shown_before: str
    detail: str
    unit: str
    # What the change is called upwards and downwards.
    words: tuple[str, str] = ("more", "fewer")

    @property
    def direction(self) -> str:
        """Return `up`, `down`, `same`, or nothing where there is nothing to compare."""
        if self.now is None or self.before is None:
            return ""
        return "same" if self.shown == self.shown_before else ("up" if self.now > self.before else "down")

    @property
    def change(self) -> str:
        """Say in words how it compares with the period before."""
        match self.direction:
            case "up" | "down" as direction:
                return f"{self.words[direction == 'down']} than before ({self.shown_before})"
            case "same":
                return "the same as before"
        return "nothing before to compare with" if self.now is not None else ""


def span(wait: timedelta | None) -> str:
    """Return a waiting time as `25 min`, `3 h 20 min` or `2 d 4 h`; a dash for none."""
    if wait is None:
        return "–"
    minutes = round(wait.total_seconds() / 60)
    if minutes < 1:
        return "under 1 min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h")] if days else [(hours, "h"), (minutes, "min")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def figures(report: Report) -> Sequence[Figure[int] | Figure[float]]:
    """Return the numbers of a report in the order of the page."""
    now, before = report.now, report.before

    def count(key: str, label: str, definition: str, detail: str = "") -> Figure[int]:
        one, other = getattr(now, key), getattr(before, key)
        return Figure(key, label, definition, one, other, str(one), str(other), detail, "")

    def share(key: str, label: str, definition: str) -> Figure[float]:
        one, other = _share(getattr(now, key), now.questions), _share(getattr(before, key), before.questions)
        detail = f"{getattr(now, key)} of {now.questions}" if now.questions else ""
        return Figure(
            key, label, definition, one, other, _percent(one), _percent(other), detail, "%", ("higher", "lower")
        )

    def wait(key: str, among: str, label: str, definition: str) -> Figure[float]:
        one, other, of = getattr(now, key), getattr(before, key), getattr(now, among)
        detail = f"of {of} answered question{'' if of == 1 else 's'}" if of else ""
        return Figure(
            key, label, definition, _minutes(one), _minutes(other), span(one), span(other), detail, "min",
            ("longer", "shorter"),
        )  # fmt: skip

    return (
        count(
            "questions", "Questions asked",
            "Questions asked in these days. Private ones count, as staff see them. What is deleted, hidden, waiting for "
            "approval or merged into another question doesn't.",
        ),
        share(
            "answered", "Answered",
            "Of these questions, those that somebody but the asker has answered, or with an answer staff endorsed, or "
            "marked as resolved. Comments aren't answers.",
        ),
        wait(
            "wait", "by_people", "Median time to the first answer",
            "From a question to the first answer by anybody but the asker: half of the answered questions waited no "
            "longer. Questions without such an answer yet aren't in it. The machine's answers aren't either.",
        ),
        wait(
            "staff_wait", "by_staff", "Median time to the first staff answer",
            "The same for the first answer by a teaching assistant or instructor. Only questions that have one.",
        ),
        count(
            "answers", "Answers by people",
            "Answers given in these days to questions of any age, by anybody but the asker. Comments don't count.",
        ),
        share(
            "machine", "Answered from materials",
            "Of the questions asked in these days, those under which a machine's answer with quotations is published.",
        ),
        share(
            "endorsed", "Endorsed",
            "Of the questions asked in these days, those with an answer that staff put their name under: a person's or "
            "the machine's.",
        ),
        count(
            "deflections", "Duplicates not asked",
            "How often somebody who was about to ask was shown an earlier thread, or what the materials say, and said that "
            "it answers them.",
        ),
        Figure(
            "minutes_saved", "Staff minutes saved",
            f"An estimate. Duplicates not asked, plus questions only the machine answered and that staff endorsed or the "
            f"asker marked as resolved, times {STAFF_MINUTES} minutes. That a member of staff needs {STAFF_MINUTES} "
            f"minutes for a question is our assumption, not a measurement.",
            now.minutes_saved, before.minutes_saved, str(now.minutes_saved), str(before.minutes_saved), _formula(now),
            "min",
        ),
    )  # fmt: skip


def _formula(counts: Counts) -> str:
    return f"({counts.deflections} not asked + {counts.spared} by the machine alone) × {STAFF_MINUTES} min (assumed)"


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def _minutes(wait: timedelta | None) -> float | None:
    return None if wait is None else wait.total_seconds() / 60
