"""Ask every question of a set through the same functions that answer threads."""

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence

from django.db import connection, transaction
from django.utils import timezone

from accounts.access import Member
from accounts.models import Course, Institution, Role, User
from ai_answers import ranking
from ai_answers.actions.budget import cost_of, price_of
from ai_answers.actions.calls import consult
from ai_answers.citations import Composition, is_exact
from ai_answers.engines import Engine, Request, Source, Statement, Task, Unavailable
from ai_answers.evaluation.metrics import RECALL, Outcome, summarise
from ai_answers.evaluation.sets import Case, Kind, QuestionSet
from ai_answers.indexing import index_passages
from ai_answers.models import (
    EvaluationCase,
    EvaluationRun,
    Expectation,
    Material,
    MaterialFormat,
    MaterialVersion,
    Passage,
    Purpose,
)
from ai_answers.search import Question, retrieve

DEADLINE_SECONDS = 60
# Asks an engine; returns what it says, and what that cost in millionths of a US dollar.
Speak = Callable[[Request], tuple[list[Statement], int]]


def evaluate_set(questions: QuestionSet, engine: Engine) -> list[Outcome]:
    """Ask a frozen set in a course of its own, which is gone afterwards: nothing of it stays in the database."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Embedding all documents takes a minute, in which the database hears nothing.
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        key = uuid.uuid4().hex[:12]
        institution = Institution.objects.create(name="Evaluation", slug=f"evaluation-{key}")
        course = Course.objects.create(
            institution=institution, slug=f"evaluation-{key}", code="EVAL", name="Evaluation", term="-"
        )
        keys = _put(questions, course)
        index_passages(keys)
        with connection.cursor() as cursor:
            cursor.execute(
                "ANALYZE ai_answers_passage, ai_answers_passagevector, ai_answers_materialversion, ai_answers_material"
            )
        outcomes = ask_all(_stranger(course), questions.cases, directly(engine), keys)
        transaction.set_rollback(True)
    return outcomes


def evaluate_course(course: Course, engine: Engine) -> list[Outcome]:
    """Ask the cases of a course of its own materials, with the eyes of a plain student.

    An engine outside this server is asked through the ledger: what it costs counts like any other call.
    """
    rows = EvaluationCase.objects.filter(course=course).select_related("version")
    speak = _through_the_ledger(engine, course) if engine.is_remote else directly(engine)
    return ask_all(_stranger(course), [_case(row) for row in rows], speak)


def directly(engine: Engine) -> Speak:
    """Return how a local engine is asked: it costs nothing."""

    def speak(request: Request) -> tuple[list[Statement], int]:
        said = engine.write(request, deadline=time.monotonic() + DEADLINE_SECONDS)
        return [statement for statement in said if isinstance(statement, Statement)], 0

    return speak


def _through_the_ledger(engine: Engine, course: Course) -> Speak:
    def speak(request: Request) -> tuple[list[Statement], int]:
        with consult(request, course=course, user=None, purpose=Purpose.EVALUATION, engine=engine) as consultation:
            statements = [said for said in consultation if isinstance(said, Statement)]
        if consultation.engine.name != engine.name:
            raise Unavailable(consultation.notice)
        price = price_of(course.institution_id, engine.name, engine.model, timezone.now().date())
        return statements, cost_of(price, consultation.usage) if price else 0

    return speak


def _case(row: EvaluationCase) -> Case:
    if row.expected == Expectation.ABSTAIN or row.version is None:
        return Case(row.title, Kind.ABSTAIN, body=row.body)
    return Case(row.title, Kind.ANSWER, [row.version.text[row.start : row.end]], body=row.body)


def _stranger(course: Course) -> Member:
    """Return a student of the course without any rows of their own."""
    return Member(User(institution_id=course.institution_id), course, Role.STUDENT)


def _put(questions: QuestionSet, course: Course) -> list[uuid.UUID]:
    """Store the documents of a set as materials; return the keys of their passages in order."""
    of = {"institution_id": course.institution_id}
    materials = [
        Material(course=course, title=f"{document.title} {number}"[:200], **of)
        for number, document in enumerate(questions.documents)
    ]
    Material.objects.bulk_create(materials, batch_size=1000)
    versions, passages = [], []
    for material, document in zip(materials, questions.documents, strict=True):
        text = "\n\n".join(text for _, text in document.passages)
        digest = hashlib.sha256(text.encode()).hexdigest()
        version = MaterialVersion(
            material=material, number=1, format=MaterialFormat.TEXT, text=text, sha256=digest, **of
        )
        versions.append(version)
        start = 0
        for position, (heading, part) in enumerate(document.passages):
            passages.append(
                Passage(
                    version=version, position=position, heading=heading[:300], start=start, end=start + len(part),
                    text=part, word_count=len(part.split()), **of,
                )
            )  # fmt: skip
            start += len(part) + 2
    MaterialVersion.objects.bulk_create(versions, batch_size=1000)
    Passage.objects.bulk_create(passages, batch_size=1000)
    for material, version in zip(materials, versions, strict=True):
        material.current_version = version
    Material.objects.bulk_update(materials, ["current_version"], batch_size=1000)
    return [passage.pk for passage in passages]


def ask_all(member: Member, cases: Sequence[Case], speak: Speak, keys: Sequence[uuid.UUID] = ()) -> list[Outcome]:
    """Ask each question as `member`; `keys` are the passages that cases name by their places."""
    if keys and cases:
        # The first question loads the model.
        retrieve(Question(cases[0].question), member=member)
    return [_ask(member, case, speak, keys) for case in cases]


def _ask(member: Member, case: Case, speak: Speak, keys: Sequence[uuid.UUID]) -> Outcome:
    started = time.perf_counter()
    question = Question(case.question, case.body)
    retrieval = retrieve(question, member=member, limit=max(RECALL))
    passages = [scored.passage for scored in retrieval.passages]
    sources = [Source(passage.heading, passage.text) for passage in passages]
    composition = Composition()
    request = Request(Task.ANSWER, question, sources, retrieval=retrieval)
    statements, cost = speak(request)
    for statement in statements:
        composition.add(statement, passages)
    seconds = time.perf_counter() - started
    claims = composition.claims
    texts = _texts([claim.passage for claim in claims])
    right = frozenset(keys[place] for place in case.passages)
    ranks = [
        rank
        for rank, passage in enumerate(passages, start=1)
        if (passage.pk in right if right else bool(case.golds) and case.is_in(passage.text))
    ]
    return Outcome(
        kind=case.kind,
        rank=ranks[0] if ranks else None,
        probability=ranking.answerable(retrieval.features) if passages else 0.0,
        answered=bool(claims),
        quotations=len(claims),
        exact=sum(is_exact(texts[claim.passage.version_id], claim.start, claim.end, claim.quote) for claim in claims),
        holds_gold=case.is_in(" ".join(claim.quote for claim in claims)) if case.golds else None,
        seconds=seconds,
        cost_micros=cost,
        features=retrieval.features,
    )


def _texts(passages: Sequence[Passage]) -> dict[uuid.UUID, str]:
    return dict(
        MaterialVersion.objects.filter(pk__in={passage.version_id for passage in passages}).values_list("pk", "text")
    )


def keep_run(
    *, name: str, engine: Engine, outcomes: Sequence[Outcome], institution: Institution, course: Course | None = None
) -> EvaluationRun:
    """Store how an engine did, where staff see it."""
    metrics: Mapping[str, float] = summarise(outcomes)
    return EvaluationRun.objects.create(
        institution=institution, course=course, dataset=name, engine=engine.name, model=engine.model,
        questions=len(outcomes), metrics=dict(metrics),
    )  # fmt: skip
