"""`manage.py evaluate_answers`: how well answers are found, quoted, and held back."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.models import Course, Institution
from ai_answers.engines import Engine, Unavailable, configured_engine, default_engine
from ai_answers.engines.configured import connections
from ai_answers.evaluation import (
    Outcome,
    drops,
    evaluate_course,
    evaluate_set,
    keep_run,
    packaged_sets,
    read_baseline,
    shared_sets,
    summarise,
)
from ai_answers.evaluation.baseline import BASELINE


class Command(BaseCommand):
    help = "Ask questions whose right answer is known. Ends with an error when a number has fallen behind the baseline."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--data", type=Path, help="a folder with more sets (docs/evaluation.md)")
        parser.add_argument(
            "--most", type=int, default=0, help="so many questions of each set of --data (default: all)"
        )
        parser.add_argument("--engine", default="", help="extractive (default), openai or anthropic")
        parser.add_argument("--course", default="", help="institution/course: ask the cases of this course instead")
        parser.add_argument("--baseline", type=Path, default=BASELINE, help="what is compared with")
        parser.add_argument("--write", action="store_true", help="keep the results, where staff see them")
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

    def handle(self, *args: Any, **options: Any) -> None:
        engine = _engine(options["engine"])
        course = _course(options["course"])
        results: dict[str, list[Outcome]] = {}
        if engine.is_remote and course is None:
            # The frozen sets are asked in a transaction that is rolled back, and what was paid with it.
            raise CommandError("Name a course: an engine outside this server is asked the cases of a course alone.")
        if course is not None:
            try:
                results["course"] = evaluate_course(course, engine)
            except Unavailable as error:
                raise CommandError(f"The engine can't be asked: {error}") from None
            if not results["course"]:
                raise CommandError("The course has no cases yet: endorsed answers become cases.")
        else:
            sets = packaged_sets()
            if options["data"]:
                sets += _found(options["data"], options["most"])
            for questions in sets:
                results[questions.name] = evaluate_set(questions, engine)
        metrics = {name: summarise(outcomes) for name, outcomes in results.items()}
        self.stdout.write(json.dumps(metrics, indent=2) if options["json"] else _table(metrics))
        if options["write"]:
            _keep(results, engine, course)
        baseline = read_baseline(options["baseline"]) if engine.name == default_engine().name else {}
        behind = [sentence for name, found in metrics.items() for sentence in drops(name, found, baseline)]
        if behind:
            raise CommandError("\n".join(behind))


def _engine(name: str) -> Engine:
    engine = configured_engine(name or default_engine().name)
    if engine is None:
        known = ", ".join([default_engine().name, *connections()])
        raise CommandError(f"There is no engine “{name}” here. There is: {known}.")
    return engine


def _course(name: str) -> Course | None:
    if not name:
        return None
    institution, _, slug = name.partition("/")
    course = Course.objects.select_related("institution").filter(institution__slug=institution, slug=slug).first()
    if course is None:
        raise CommandError("There is no such course. Name it like --course home/cs-101 (institution/course).")
    return course


def _found(folder: Path, most: int) -> Any:
    sets = shared_sets(folder, most)
    if not sets:
        raise CommandError(f"There is no set in {folder}. docs/evaluation.md says what files it needs.")
    return sets


def _keep(results: dict[str, list[Outcome]], engine: Engine, course: Course | None) -> None:
    institutions = [course.institution] if course else list(Institution.objects.all())
    for name, outcomes in results.items():
        for institution in institutions:
            keep_run(name=name, engine=engine, outcomes=outcomes, institution=institution, course=course)


def _table(metrics: dict[str, dict[str, float]]) -> str:
    names = list(dict.fromkeys(name for found in metrics.values() for name in found))
    width = max(len(name) for name in [*names, "metric"])
    lines = ["  ".join([f"{'metric':<{width}}", *(f"{name:>18}" for name in metrics)])]
    for name in names:
        cells = (f"{found[name]:>18.4g}" if name in found else f"{'–':>18}" for found in metrics.values())
        lines.append("  ".join([f"{name:<{width}}", *cells]))
    return "\n".join(lines)
