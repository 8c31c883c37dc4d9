"""Questions whose right answer is known: sets, metrics, the command, the page, and endorsed answers as cases."""

import json
from collections.abc import Callable, Iterator
from datetime import date
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member
from accounts.models import Course, Institution, User
from ai_answers import actions
from ai_answers.engines import Quote, Request, Statement, Unavailable, Usage
from ai_answers.engines.extractive import ExtractiveEngine
from ai_answers.evaluation import (
    Case,
    Document,
    Kind,
    Outcome,
    QuestionSet,
    ask_all,
    directly,
    drops,
    evaluate_course,
    evaluate_set,
    keep_run,
    packaged_sets,
    read_baseline,
    shared_sets,
    summarise,
)
from ai_answers.evaluation.metrics import auroc, calibration_error
from ai_answers.models import (
    Answer,
    EvaluationCase,
    EvaluationRun,
    Material,
    ModelCall,
    ModelPrice,
    Passage,
    PassageVector,
)
from forum.models import Thread
from tests import factories
from tests.engines import Said, ScriptedEngine
from tests.factories import World

SMALL = QuestionSet(
    "small",
    [
        Document(
            "Defaults", [("Defaults", "A default parameter value is evaluated once, when the function is defined.")]
        ),
        Document("Loops", [("Loops", "The break statement leaves the nearest enclosing loop at once.")]),
    ],
    [
        Case("When is a default parameter value evaluated?", Kind.ANSWER, ["evaluated once"]),
        Case("Which statement leaves a loop?", Kind.ANSWER, ["break statement"], frozenset([1])),
        Case("Who painted the Sistine Chapel?", Kind.OFF_TOPIC),
    ],
)


def outcome(kind: Kind = Kind.ANSWER, rank: int | None = 1, probability: float = 0.9, **fields: object) -> Outcome:
    values = {"answered": True, "quotations": 2, "exact": 2, "holds_gold": True, "seconds": 0.1} | fields
    return Outcome(kind=kind, rank=rank, probability=probability, **values)  # type: ignore[arg-type]  # values of mixed types


# Metrics


def test_metrics_say_what_they_mean() -> None:
    found = summarise(
        [
            outcome(),
            outcome(rank=4, holds_gold=False),
            outcome(rank=None, probability=0.2, answered=False, quotations=0, exact=0, holds_gold=None),
            outcome(Kind.ABSTAIN, None, 0.6, exact=1),
            outcome(Kind.OFF_TOPIC, None, 0.1, answered=False, quotations=0, exact=0, seconds=2.0),
        ]
    )
    assert (found["recall_1"], found["recall_5"], found["mrr"]) == (0.3333, 0.6667, 0.4167)
    assert (found["answered"], found["gold_in_quotes"]) == (0.6667, 0.5)
    assert found["citations_exact"] == round(5 / 6, 4)
    assert (found["refused_unanswerable"], found["refused_off_topic"]) == (0.0, 1.0)
    assert (found["auroc_unanswerable"], found["auroc_off_topic"]) == (0.6667, 1.0)
    assert found["refused_off_topic_at_95"] == 1.0
    assert (found["p50_ms"], found["p95_ms"]) == (100.0, 2000.0)


def test_what_nothing_was_asked_for_is_left_out() -> None:
    assert summarise([]) == {}
    assert "auroc_off_topic" not in summarise([outcome()])


def test_ties_count_half() -> None:
    assert auroc([0.5, 0.5], [0.5]) == 0.5
    assert auroc([0.9, 0.4], [0.5, 0.1]) == 0.75


def test_calibration_error_is_the_gap_between_said_and_true() -> None:
    assert calibration_error([0.8] * 5, [True, True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0, 0.0], [False, False]) == pytest.approx(0.5)


def test_a_drop_beyond_its_tolerance_is_said() -> None:
    baseline: dict[str, dict[str, list[float]]] = {
        "small": {"recall_1": [0.8, 0.05], "p95_ms": [100, 50], "mrr": [0.5, 0.1]}
    }
    assert drops("small", {"recall_1": 0.76, "p95_ms": 140, "mrr": 0.9}, baseline) == []
    said = drops("small", {"recall_1": 0.7, "p95_ms": 200}, baseline)
    assert len(said) == 3
    assert "recall_1 is 0.7" in said[0]
    assert drops("other", {}, baseline) == []


# Sets


def test_the_set_that_comes_with_it_is_large_enough_and_has_its_answers() -> None:
    (found,) = packaged_sets()
    kinds = [case.kind for case in found.cases]
    assert kinds.count(Kind.ANSWER) >= 120
    assert kinds.count(Kind.ABSTAIN) >= 60
    assert kinds.count(Kind.OFF_TOPIC) >= 40
    passages = [text for document in found.documents for _, text in document.passages]
    for case in found.cases:
        assert all(case.is_in(passages[place]) for place in case.passages)
        assert bool(case.passages) == (case.kind == Kind.ANSWER)
    assert len({case.question for case in found.cases}) == len(found.cases)


def test_sets_beside_the_project_are_read(tmp_path: Path) -> None:
    assert shared_sets(tmp_path) == []
    squad = {
        "passages": [{"passage": "The crisis began in 1973."}],
        "questions": [
            {"question": "When did it begin?", "passage": 0, "answerable": True, "answers": ["1973"]},
            {"question": "When did it end?", "passage": 0, "answerable": False, "answers": []},
        ],
    }
    (tmp_path / "squad2_half.json").write_text(json.dumps(squad))
    (tmp_path / "mlquestions_passages.jsonl").write_text('"A loss is a number."\n"A model has parameters."\n')
    lines = [json.dumps({"question": f"What is a loss {n}?", "passages": [0]}) for n in range(5)]
    (tmp_path / "mlquestions_dev.jsonl").write_text("\n".join(lines))
    one, two = shared_sets(tmp_path, 3)
    assert [case.kind for case in one.cases] == [Kind.ANSWER, Kind.ABSTAIN, Kind.OFF_TOPIC]
    assert one.cases[0].is_in("It began\nin 1973")
    assert len(two.cases) == 3
    assert two.cases[0].passages == {0}
    (tmp_path / "squad2_half.json").write_text(
        json.dumps({"passages": [], "questions": [{"answers": None, "passage": 0}]})
    )
    with pytest.raises(ValueError, match=r"docs/evaluation\.md"):
        shared_sets(tmp_path)


# Running


def test_a_run_measures_and_leaves_nothing_behind(db: None) -> None:
    outcomes = evaluate_set(SMALL, ExtractiveEngine())
    assert [outcome.rank for outcome in outcomes[:2]] == [1, 1]
    assert all(outcome.answered and outcome.holds_gold in (True, None) for outcome in outcomes[:2])
    assert all(outcome.exact == outcome.quotations >= 1 for outcome in outcomes[:2])
    assert not outcomes[2].answered
    for model in (Institution, Course, Material, Passage, PassageVector, EvaluationRun):
        assert not model.objects.exists()


def test_an_engine_that_makes_things_up_counts_as_not_answering(world: World, ada: Member, noor: Member) -> None:
    factories.make_material(ada)
    liar = ScriptedEngine(lambda request: [Statement("It says so.", [Quote(1, "words that stand nowhere at all")])])
    (found,) = ask_all(
        noor, [Case("When is a default value evaluated?", Kind.ANSWER, ["evaluated once"])], directly(liar)
    )
    assert not found.answered
    assert found.rank == 1
    assert found.holds_gold is False


def test_the_command_prints_compares_and_keeps(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("ai_answers.management.commands.evaluate_answers.packaged_sets", lambda: [SMALL])
    out = StringIO()
    call_command("evaluate_answers", "--write", stdout=out)
    assert "recall_1" in out.getvalue()
    assert EvaluationRun.objects.count() == Institution.objects.count() == 2
    run = EvaluationRun.objects.first()
    assert run is not None
    assert (run.dataset, run.engine, run.questions, run.course) == ("small", "extractive", 3, None)
    assert run.metrics["citations_exact"] == 1.0
    out = StringIO()
    call_command("evaluate_answers", "--json", stdout=out)
    assert json.loads(out.getvalue())["small"]["recall_1"] == 1.0
    baseline = tmp_path / "baseline.json"
    baseline.write_text(json.dumps({"small": {"mrr": [1.5, 0.1]}}))
    with pytest.raises(CommandError, match=r"mrr is 1; it was 1\.5"):
        call_command("evaluate_answers", "--baseline", str(baseline), stdout=StringIO())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--engine", "oracle"], "no engine “oracle”"),
        (["--course", "home/none"], "no such course"),
        (["--course", "home/cs-101"], "no cases yet"),
        (["--data", "/nowhere"], "no set in /nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(world: World, arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("evaluate_answers", *arguments, stdout=StringIO())


@pytest.mark.drill
def test_no_number_has_fallen_behind_the_baseline(db: None) -> None:
    (found,) = packaged_sets()
    baseline = read_baseline()
    assert found.name in baseline
    assert drops(found.name, summarise(evaluate_set(found, ExtractiveEngine())), baseline) == []


# Endorsed answers


def endorsed(sam: Member, ada: Member) -> Answer:
    answer = factories.make_answer(sam, ada)
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    answer.refresh_from_db()
    return answer


def test_an_endorsed_answer_becomes_a_case_and_is_asked(world: World, sam: Member, ada: Member) -> None:
    answer = endorsed(sam, ada)
    case = actions.keep_as_case(answer)
    assert case is not None
    assert actions.keep_as_case(answer) == case
    assert case.version is not None
    citation = answer.citations.order_by("number").first()
    assert citation is not None
    assert case.version.text[case.start : case.end] == citation.quote
    (found,) = evaluate_course(world.course, ExtractiveEngine())
    assert (found.kind, found.rank, found.holds_gold) == (Kind.ANSWER, 1, True)
    EvaluationCase.objects.create(
        institution=world.institution, course=world.course, title="Where is the exam?", expected="abstain"
    )
    out = StringIO()
    call_command("evaluate_answers", "--course", "home/cs-101", "--write", stdout=out)
    assert EvaluationRun.objects.get().course == world.course


def test_what_is_not_endorsed_or_not_for_all_is_no_case(sam: Member, ada: Member) -> None:
    answer = endorsed(sam, ada)
    assert actions.keep_as_case(answer) is not None
    Thread.objects.filter(pk=answer.thread_id).update(visibility="staff")
    assert actions.keep_as_case(answer) is None
    assert not EvaluationCase.objects.exists()
    Thread.objects.filter(pk=answer.thread_id).update(visibility="course")
    actions.set_answer_endorsement(by=ada, answer=answer, on=False)
    assert actions.keep_as_case(answer) is None


# The page


def test_staff_see_how_it_went_and_nobody_else_does(
    world: World, signed_in: Callable[[User], Client], ada: Member, noor: Member
) -> None:
    url = reverse("ai_answers:evaluation", args=["cs-101"])
    client = signed_in(ada.user)
    assert "Nothing measured yet" in client.get(url).content.decode()
    metrics = [outcome(), outcome(Kind.OFF_TOPIC, None, 0.1)]
    for course in (None, world.course):
        keep_run(
            name="small", engine=ExtractiveEngine(), outcomes=metrics, institution=world.institution, course=course
        )
    keep_run(name="theirs", engine=ExtractiveEngine(), outcomes=metrics, institution=world.other_institution)
    keep_run(
        name="other course", engine=ExtractiveEngine(), outcomes=metrics, institution=world.institution,
        course=world.other_course,
    )  # fmt: skip
    with CaptureQueriesContext(connection) as one:
        page = client.get(url).content.decode()
    assert "Right passage first" in page
    assert "100.0 %" in page
    assert "theirs" not in page
    assert page.count("<section") == 2
    for _ in range(5):
        keep_run(name="small", engine=ExtractiveEngine(), outcomes=metrics, institution=world.institution)
    with CaptureQueriesContext(connection) as many:
        client.get(url)
    assert len(one) == len(many)
    assert EvaluationRun.objects.visible_to(noor).count() == EvaluationCase.objects.visible_to(noor).count() == 0
    assert signed_in(noor.user).get(url).status_code == 403
    assert signed_in(world.user("pat")).get(url).status_code == 404
    # Eve teaches a course of the same name elsewhere.
    theirs = signed_in(world.user("eve")).get(url).content.decode()
    assert "theirs" in theirs
    assert "small" not in theirs.replace("button small", "")


class RemoteEngine(ScriptedEngine):
    """As if it were outside this server, and charged for what it reads and writes."""

    name = "openai"
    is_remote = True

    def most(self, request: Request) -> Usage:
        return Usage(1000, 100)

    def write(self, request: Request, *, deadline: float) -> Iterator[Said]:
        yield from super().write(request, deadline=deadline)
        yield Usage(500, 50)


def test_a_model_outside_is_paid_for_like_every_call(
    world: World, ada: Member, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = factories.make_answer(sam, ada)
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    engine = RemoteEngine()
    with pytest.raises(Unavailable, match="Nobody has said yet what this model costs"):
        evaluate_course(world.course, engine)
    ModelPrice.objects.create(
        institution=world.institution, engine="openai", model=engine.model, input_micros=2_000_000,
        output_micros=10_000_000, valid_from=date(2026, 1, 1),
    )  # fmt: skip
    (outcome,) = evaluate_course(world.course, engine)
    assert outcome.answered
    assert outcome.cost_micros == 1500
    call = ModelCall.objects.get(engine="openai")
    assert (call.purpose, call.outcome, call.cost_micros, call.user) == ("evaluation", "answered", 1500, None)
    monkeypatch.setattr("ai_answers.management.commands.evaluate_answers.configured_engine", lambda name: engine)
    with pytest.raises(CommandError, match="Name a course"):
        call_command("evaluate_answers", engine="openai")
