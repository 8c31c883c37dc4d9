"""What happens when something else happened meanwhile: nothing is done twice, and nothing breaks."""

import pytest
from django.http import Http404

from accounts.access import Member
from ai_answers import access, actions
from ai_answers.actions import calls, rechecking
from ai_answers.actions.budget import settle_call
from ai_answers.engines import Request, Task
from ai_answers.engines.extractive import ExtractiveEngine
from ai_answers.models import (
    Answer,
    AnswerStatus,
    CallOutcome,
    Material,
    ModelCall,
    PassageVector,
    Purpose,
    Spending,
    WithdrawalReason,
)
from ai_answers.search import Question
from forum import actions as forum_actions
from forum.models import Notification, NotificationKind
from tests import factories
from tests.factories import World
from tests.tasks import run_tasks


@pytest.fixture
def answer(sam: Member, tim: Member) -> Answer:
    return factories.make_answer(sam, tim)


def test_a_thread_without_an_answer_has_none(sam: Member) -> None:
    thread = factories.make_thread(sam, kind="discussion")
    with pytest.raises(Http404):
        access.get_answer(sam, thread)


def test_a_call_of_a_course_that_is_gone_is_settled(world: World) -> None:
    institution = world.institution
    call = ModelCall.objects.create(
        institution=institution,
        engine="openai",
        purpose=Purpose.ANSWER,
        outcome=CallOutcome.RESERVED,
        reserved_micros=5,
    )
    Spending.objects.create(
        institution=institution, scope="institution", scope_id=institution.pk, day=call.created_at.date(),
        reserved_micros=5,
    )  # fmt: skip
    assert settle_call(call, outcome=CallOutcome.ERROR, reason="lost") == 5
    assert settle_call(call, outcome=CallOutcome.ERROR, reason="lost") == 0
    spending = Spending.objects.get()
    assert (spending.spent_micros, spending.reserved_micros) == (5, 0)


def test_a_consultation_is_closed_once_and_a_local_one_discloses_nothing(sam: Member) -> None:
    request = Request(Task.ANSWER, Question("What is it?"), [])
    with calls.consult(request, course=sam.course, user=sam.user, purpose=Purpose.ANSWER) as consultation:
        list(consultation)
    before = ModelCall.objects.values().get()
    consultation.close(CallOutcome.ERROR, "again")
    consultation._attempt._disclose()
    assert ModelCall.objects.values().get() == before
    assert ExtractiveEngine().most(request).input_tokens == 0


def test_a_material_that_never_had_a_text_comes_back(tim: Member) -> None:
    course = tim.course
    material = Material.objects.create(institution_id=course.institution_id, course=course, title="Nothing yet")
    actions.delete_material(by=tim, material=material)
    actions.restore_material(by=tim, material=material)
    material.refresh_from_db()
    assert material.deleted_at is None


def test_what_does_not_quote_a_material_is_left_alone(answer: Answer, tim: Member) -> None:
    other = factories.make_material(tim, "# Other\n\nSomething else altogether stands here.", "Other").material
    assert not rechecking._recheck(answer, other)
    waiting = factories.put_answer(factories.make_thread(tim, "Another question?"), "queued")
    assert not rechecking._regenerate(waiting)
    assert Answer.objects.get(pk=waiting.pk).status == AnswerStatus.QUEUED


def test_an_edited_draft_is_published_and_told_of(world: World, sam: Member, tim: Member, ada: Member) -> None:
    actions.set_course_ai(by=ada, fields={"mode": "draft"})
    draft = factories.make_answer(sam, tim)
    assert draft.status == AnswerStatus.DRAFT
    run_tasks()
    told = Notification.objects.filter(user=sam.user, kind=NotificationKind.AI_ANSWER)
    assert not told.exists()
    actions.edit_answer(by=tim, answer=draft, body="At the definition [1].", seen=actions.edit_token(draft))
    run_tasks()
    assert told.exists()


def test_nobody_is_told_of_a_draft_that_is_withdrawn(sam: Member, tim: Member, ada: Member) -> None:
    actions.set_course_ai(by=ada, fields={"mode": "draft"})
    draft = factories.make_answer(sam, tim)
    actions.withdraw_answer(by=tim, answer=draft, reason=WithdrawalReason.WRONG)
    run_tasks()
    assert not Notification.objects.filter(kind=NotificationKind.AI_WITHDRAWN).exists()


def test_vectors_are_seen_by_who_may_read_their_passage(world: World, tim: Member, noor: Member) -> None:
    version = factories.make_material(tim)
    run_tasks()
    assert PassageVector.objects.visible_to(noor).filter(passage__version=version).exists()
    assert not PassageVector.objects.visible_to(world.member("pat", world.other_course)).exists()
    assert not PassageVector.objects.visible_to(world.member("eve", world.foreign_course)).exists()


def test_accepting_twice_accepts_once(sam: Member, noor: Member) -> None:
    thread = factories.make_thread(sam)
    post = factories.make_post(noor, thread)
    for _ in range(2):
        forum_actions.accept_answer(by=sam, post=post, accepted=True)
    thread.refresh_from_db()
    assert thread.accepted_post_id == post.pk
