"""The life of an answer: asked for, written, checked, shown, endorsed, or given up."""

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from procrastinate import JobContext

from accounts.access import Member
from accounts.models import AuditEvent, User
from ai_answers import access, actions, tasks
from ai_answers.citations import Claim, Composition, UnsupportedQuotation, check_claims, is_exact, locate, still_hold
from ai_answers.engines import Quote, Request, Statement
from ai_answers.models import Answer, AnswerStatus, Citation, Material, MaterialVersion, ModelCall, Passage
from ai_answers.models.answers import NEXT
from forum.models import Status, Thread
from tests import factories
from tests.engines import Said, ScriptedEngine, quote_first
from tests.factories import World

SignIn = Callable[[User], Client]


@pytest.fixture
def answer(sam: Member, tim: Member) -> Answer:
    return factories.make_answer(sam, tim)


@pytest.fixture
def waiting(sam: Member, tim: Member) -> Answer:
    """An answer that nobody has written yet, to a question the materials answer."""
    factories.make_material(tim)
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?")
    return Answer.objects.get(thread=thread)


def test_an_answer_quotes_its_source_word_for_word(answer: Answer) -> None:
    assert answer.status == AnswerStatus.PUBLISHED
    citations = list(answer.citations.all())
    assert 1 <= len(citations) <= 4
    for citation in citations:
        assert citation.version.text[citation.start : citation.end] == citation.quote
        assert f"[{citation.number}]" in answer.body
    assert "evaluated once, when the function definition is executed" in citations[0].quote
    call = ModelCall.objects.get()
    assert (call.engine, call.outcome, call.input_tokens, call.cost_micros) == ("extractive", "answered", 0, 0)


def test_without_a_fitting_passage_it_abstains(sam: Member, tim: Member) -> None:
    factories.make_material(tim)
    for title in ("When is the midterm?", "Where do quokkas sleep at night?"):
        found = Answer.objects.get(thread=factories.make_thread(sam, title))
        actions.generate_answer(found.pk)
        found.refresh_from_db()
        assert found.status == AnswerStatus.ABSTAINED
        assert not found.citations.exists()


@pytest.mark.parametrize(
    "corrupt",
    [
        lambda text: Quote(1, text.replace("once", "twice")),
        lambda text: Quote(1, text + "!"),
        lambda text: Quote(1, ""),
        lambda text: Quote(1, " \n "),
        lambda text: Quote(1, "A default"),  # too short to say anything
        lambda text: Quote(0, text),
        lambda text: Quote(99, text),
        lambda text: Quote(1, text.upper()),
    ],
)
def test_a_corrupted_quotation_is_never_published(waiting: Answer, corrupt: Callable[[str], Quote]) -> None:
    engine = ScriptedEngine(lambda request: [Statement("So it is.", [corrupt(request.sources[0].text)])])
    with pytest.raises(UnsupportedQuotation):
        actions.generate_answer(waiting.pk, engine=engine)
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.GENERATING
    assert not Citation.objects.exists()
    assert ModelCall.objects.get().outcome == "refused"


def test_an_uncorrupted_quotation_of_the_same_engine_is_published(waiting: Answer) -> None:
    actions.generate_answer(waiting.pk, engine=ScriptedEngine())
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.PUBLISHED
    assert waiting.body == "See the notes [1]."


def test_a_statement_whose_quotations_are_made_up_is_left_out_and_counted(waiting: Answer) -> None:
    def script(request: Request) -> list[Said]:
        text = request.sources[0].text
        return [
            Statement("Made up.", [Quote(1, "Nothing like this stands there.")]),
            Statement("Nobody said this"),
            Statement("True [7].", [Quote(1, "  ".join(text.split())), Quote(1, "Nor does this stand there.")]),
            Statement("Again!", [Quote(1, text)]),
            Statement("  "),
        ]

    actions.generate_answer(waiting.pk, engine=ScriptedEngine(script))
    waiting.refresh_from_db()
    assert waiting.body == "Nobody said this True \\[7] [1]. Again [1]!"
    assert (waiting.unsupported_count, waiting.dropped_count, waiting.citations.count()) == (1, 1, 1)
    citation = waiting.citations.get()
    assert citation.quote == citation.version.text[citation.start : citation.end]


def test_an_answer_of_statements_without_quotations_is_refused(waiting: Answer) -> None:
    with pytest.raises(UnsupportedQuotation, match="no claims"):
        actions.generate_answer(waiting.pk, engine=ScriptedEngine(lambda request: [Statement("Trust me.")]))


def test_claims_are_compared_with_what_is_stored(waiting: Answer) -> None:
    passage = Passage.objects.order_by("position")[1]
    claim = locate(Quote(1, passage.text), [passage])
    assert claim is not None
    check_claims([claim])
    for wrong in (
        Claim(passage, claim.start + 1, claim.end + 1, claim.quote),
        Claim(passage, -5, 3, claim.quote),
        Claim(Passage(version_id=uuid.uuid4()), claim.start, claim.end, claim.quote),
    ):
        with pytest.raises(UnsupportedQuotation, match="claim 2 of 2"):
            check_claims([claim, wrong])


def test_markers_are_listed_and_counted_once() -> None:
    passages = [Passage(text="The first of the sentences. And the second one.", start=10)]
    composition = Composition()
    quotes = [Quote(1, "The first of the sentences."), Quote(1, "And the second one."), Quote(1, "And the second one.")]
    assert composition.add(Statement("Both say so", quotes), passages)
    assert composition.body == "Both say so [1] and [2]."
    assert [(claim.start, claim.end) for claim in composition.claims] == [(10, 37), (38, 57)]


def test_an_answer_goes_only_where_it_may(answer: Answer) -> None:
    for before in AnswerStatus:
        for after in AnswerStatus:
            values = {"is_current": None if before == "superseded" else True, "withdrawal_reason": "staff"}
            Answer.objects.all().delete()
            row = Answer.objects.create(
                institution_id=answer.institution_id, thread_id=answer.thread_id, status=before, **values
            )
            current = None if after == "superseded" else True
            change = Answer.objects.filter(pk=row.pk)
            if after == before or after in NEXT[before]:
                change.update(status=after, is_current=current)
            else:
                with pytest.raises(IntegrityError, match="can't become"), transaction.atomic():
                    change.update(status=after, is_current=current)


def test_the_database_refuses_a_wrong_quotation(answer: Answer) -> None:
    citation = answer.citations.get(number=1)
    with pytest.raises(IntegrityError), transaction.atomic():
        Citation.objects.filter(pk=citation.pk).update(quote=citation.quote[::-1])
    with pytest.raises(IntegrityError), transaction.atomic():
        MaterialVersion.objects.update(text="Something else")


def test_a_quotation_that_no_longer_holds_is_not_shown(answer: Answer, world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("noor"))
    url = reverse("forum:thread", args=["cs-101", answer.thread.number])
    quote = "evaluated once"
    assert quote in client.get(url).content.decode()
    with connection.cursor() as cursor:  # what no code of ours can do
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE ai_answers_materialversion DISABLE TRIGGER ai_answers_keep_version")
        MaterialVersion.objects.update(text="x" * 2000)
        cursor.execute("ALTER TABLE ai_answers_materialversion ENABLE TRIGGER ai_answers_keep_version")
    page = client.get(url).content.decode()
    assert "This answer is withheld" in page
    assert quote not in page
    assert not still_hold([])


def test_exactness_is_by_code_point() -> None:
    text = "naïve 😀 café"
    assert is_exact(text, 6, 7, "😀")
    assert not is_exact(text, 6, 7, " ")
    assert not is_exact(text, 0, 99, text)
    assert not is_exact("a   b", 1, 4, "   ")


def test_written_twice_it_is_one_answer(answer: Answer) -> None:
    before = list(answer.citations.values_list("pk", flat=True))
    actions.generate_answer(answer.pk)
    assert list(answer.citations.values_list("pk", flat=True)) == before
    assert ModelCall.objects.count() == 1
    assert actions.request_answer(thread=answer.thread) == answer
    actions.generate_answer(uuid.uuid4())  # deleted meanwhile: nothing to do


def test_the_slower_of_two_workers_changes_nothing(waiting: Answer) -> None:
    def script(request: Request) -> Sequence[Said]:
        actions.generate_answer(waiting.pk)  # the other worker finishes first
        return quote_first(request)

    actions.generate_answer(waiting.pk, engine=ScriptedEngine(script))
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.PUBLISHED
    assert ModelCall.objects.count() == 2  # both cost something


def run_task(answer: Answer, attempts: int) -> None:
    class Job:
        pass

    job = Job()
    job.attempts = attempts  # type: ignore[attr-defined]
    context = JobContext.__new__(JobContext)
    object.__setattr__(context, "job", job)
    tasks.generate_answer.func(context, answer_id=str(answer.pk), request_id="test-request-1")


def test_a_failure_is_retried_then_shown_and_can_be_tried_again(
    waiting: Answer, monkeypatch: pytest.MonkeyPatch, world: World, signed_in: SignIn
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("sam@example.edu asked something odd")

    monkeypatch.setattr("ai_answers.actions.answers.retrieve", broken)
    for attempt in range(tasks.MAX_ATTEMPTS):
        with pytest.raises(RuntimeError):
            run_task(waiting, attempt)
    waiting.refresh_from_db()
    assert (waiting.status, waiting.error_code, waiting.attempts) == (AnswerStatus.FAILED, "RuntimeError", 4)
    client = signed_in(world.user("sam"))
    url = reverse("forum:thread", args=["cs-101", waiting.thread.number])
    assert "failed, several times" in client.get(url).content.decode()
    assert "Try again" not in signed_in(world.user("noor")).get(url).content.decode()
    monkeypatch.undo()
    retry = reverse("ai_answers:retry-answer", args=["cs-101", waiting.thread.number])
    assert signed_in(world.user("noor")).post(retry).status_code == 403
    assert client.post(retry)["Location"].endswith("#ai-answer")
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.QUEUED
    run_task(waiting, 0)
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.PUBLISHED


def test_a_failed_task_ends_no_finished_answer(answer: Answer) -> None:
    actions.fail_answer(answer.pk, RuntimeError())
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.PUBLISHED


def test_the_panel_tells_how_far_it_is(waiting: Answer, world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    url = reverse("ai_answers:answer", args=["cs-101", waiting.thread.number])
    htmx = {"HX-Request": "true"}

    def shown() -> str:
        return client.get(url, headers=htmx).content.decode()

    assert "next in line" in shown()
    assert 'hx-trigger="load delay:1s"' in shown()
    Answer.objects.update(status="generating")
    assert "Reading the course materials" in shown()
    Answer.objects.update(queued_at=timezone.now() - timedelta(minutes=2))
    assert "takes longer than usual" in shown()
    Answer.objects.update(status="queued")
    actions.generate_answer(waiting.pk)
    assert "hx-trigger" not in shown()
    assert "Not reviewed by staff" in shown()
    assert client.get(url)["Location"].endswith(f"/c/cs-101/{waiting.thread.number}/")
    assert "don’t seem to say" in _abstained(client, waiting)


def _abstained(client: Client, answer: Answer) -> str:
    Answer.objects.all().delete()
    Answer.objects.create(institution_id=answer.institution_id, thread_id=answer.thread_id, status="abstained")
    url = reverse("ai_answers:answer", args=["cs-101", answer.thread.number])
    return client.get(url, headers={"HX-Request": "true"}).content.decode()


def test_staff_endorse_an_answer_under_their_name(
    answer: Answer, world: World, signed_in: SignIn, sam: Member, tim: Member
) -> None:
    url = reverse("ai_answers:endorse-answer", args=["cs-101", answer.thread.number])
    client = signed_in(world.user("tim"))
    for _ in range(2):
        page = client.post(url, {"on": "1"}, headers={"HX-Request": "true"}).content.decode()
    assert "Endorsed by <strong>Tim Surname-tim</strong> (teaching assistant)" in page
    answer.refresh_from_db()
    answer.thread.refresh_from_db()
    assert (answer.endorsement_count, answer.thread.endorsement_count, answer.thread.status) == (1, 1, Status.ANSWERED)
    assert AuditEvent.objects.filter(verb="answer.endorsed", actor=tim.user).count() == 1
    for _ in range(2):
        client.post(url, {"on": "0"})
    answer.thread.refresh_from_db()
    assert (answer.thread.endorsement_count, answer.thread.status) == (0, Status.OPEN)
    with pytest.raises(PermissionDenied):
        actions.set_answer_endorsement(by=sam, answer=answer, on=True)


def test_only_the_engines_markers_link_to_quotations() -> None:
    html = actions.render_answer("“Notes \\[2\\] \ue0001\ue001” says [1], [2] and [7].", 2)
    assert html.count('<a class="marker"') == 2
    assert '<a class="marker" href="#quotation-1">[1]</a>' in html
    assert "Notes [2] 1" in html
    assert "and [7]" in html


def test_what_an_anonymous_or_erased_asker_asks_is_answered(sam: Member, tim: Member) -> None:
    factories.make_material(tim)
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?", anonymity="all")
    Thread.objects.update(author=None)
    found = Answer.objects.get(thread=thread)
    actions.generate_answer(found.pk)
    found.refresh_from_db()
    assert found.status == AnswerStatus.PUBLISHED


def test_answers_and_materials_stay_in_their_course(answer: Answer, world: World, sam: Member, noor: Member) -> None:
    pat, eve = world.member("pat", world.other_course), world.member("eve", world.foreign_course)
    querysets: Sequence[Callable[[Member], object]] = [
        Answer.objects.visible_to, Citation.objects.visible_to, Material.objects.visible_to,
        MaterialVersion.objects.visible_to, Passage.objects.visible_to,
    ]  # fmt: skip
    for visible_to in querysets:
        assert list(visible_to(noor))  # type: ignore[call-overload]
        assert not list(visible_to(pat))  # type: ignore[call-overload]
        assert not list(visible_to(eve))  # type: ignore[call-overload]
    Thread.objects.update(visibility="staff")
    assert access.find_answer(noor, answer.thread) is None
    assert access.find_answer(sam, answer.thread) == answer


def test_rows_have_names(answer: Answer, tim: Member) -> None:
    actions.set_answer_endorsement(by=tim, answer=answer, on=True)
    citation = answer.citations.get(number=1)
    passage = citation.passage
    rows = [
        answer,
        citation,
        citation.version,
        citation.version.material,
        passage,
        ModelCall.objects.get(),
        answer.endorsements.get(),
    ]
    assert all(str(row) for row in rows)
