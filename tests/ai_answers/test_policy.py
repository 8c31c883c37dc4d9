"""What a course lets the machine do."""

from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.access import Member, Refused
from accounts.models import AuditEvent, User
from ai_answers import access, actions
from ai_answers.models import Answer, AnswerStatus, CourseAI
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
PAGE = "/c/cs-101/answers/settings/"
VALUES = {
    "mode": "draft", "engine": "extractive", "publish_of_100": "80", "draft_of_100": "30", "daily_cap": "2.50",
    "previews": "on",
}  # fmt: skip
TITLE = "When is a default parameter value evaluated?"


def test_an_instructor_changes_it(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("ada"))
    page = client.get(PAGE).content.decode()
    assert 'value="50"' in page
    assert "staff would endorse at least 75%" in page
    assert client.post(PAGE, VALUES, follow=True).status_code == 200
    row = CourseAI.objects.get(course=world.course)
    assert (row.mode, row.engine, row.publish_from, row.draft_from) == ("draft", "extractive", 0.8, 0.3)
    assert (row.daily_cap_micros, row.conversations, row.previews) == (2_500_000, False, True)
    event = AuditEvent.objects.get(verb="course_ai.changed")
    assert event.actor == world.user("ada")
    assert "mode" in event.data["fields"]
    assert client.post(PAGE, VALUES).status_code == 302
    assert AuditEvent.objects.filter(verb="course_ai.changed").count() == 1  # nothing changed
    assert 'value="2.5' in client.get(PAGE).content.decode()


def test_wrong_values_are_kept_and_explained(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("ada"))
    response = client.post(PAGE, VALUES | {"draft_of_100": "90"})
    assert response.status_code == 422
    assert "be above what is published" in response.content.decode()
    assert 'value="90"' in response.content.decode()
    for wrong in ({"publish_of_100": "101"}, {"mode": "loud"}, {"engine": "magic"}, {"daily_cap": "-1"}):
        assert client.post(PAGE, VALUES | wrong).status_code == 422
    assert not CourseAI.objects.exists()


def test_others_dont(world: World, signed_in: SignIn, tim: Member, sam: Member) -> None:
    assert "Only instructors can change this" in signed_in(world.user("tim")).get(PAGE).content.decode()
    for name, status in (("tim", 403), ("sam", 403), ("pat", 404), ("dana", 404)):
        assert signed_in(world.user(name)).post(PAGE, VALUES).status_code == status
    signed_in(world.user("eve")).post(PAGE, VALUES)  # hers has the same name
    assert CourseAI.objects.get().course == world.foreign_course
    assert signed_in(world.user("sam")).get(PAGE).status_code == 403
    for member in (tim, sam):
        with pytest.raises(PermissionDenied):
            actions.set_course_ai(by=member, fields={"mode": "off"})
    factories.archive(world.course)
    assert signed_in(world.user("ada")).post(PAGE, VALUES).status_code == 403
    assert "while the course is archived" in signed_in(world.user("ada")).get(PAGE).content.decode()


def test_switched_off_nothing_is_written_and_nothing_is_made_up_for(
    world: World, ada: Member, sam: Member, tim: Member, signed_in: SignIn
) -> None:
    factories.make_material(tim)
    waiting = Answer.objects.get(thread=factories.make_thread(sam, TITLE))
    actions.set_course_ai(by=ada, fields={"mode": "off"})
    waiting.refresh_from_db()
    assert waiting.status == AnswerStatus.SUPERSEDED
    actions.generate_answer(waiting.pk)  # its job is still in the queue
    thread = factories.make_thread(sam, TITLE)
    assert not Answer.objects.filter(thread=thread).exists()
    assert 'id="ai-answer"' not in signed_in(world.user("sam")).get(thread.get_absolute_url()).content.decode()
    actions.set_course_ai(by=ada, fields={"mode": "publish"})
    assert not Answer.objects.current().exists()
    new = factories.make_thread(sam, TITLE)
    assert Answer.objects.get(thread=new).status == AnswerStatus.QUEUED


def test_switched_off_while_an_engine_writes_what_it_says_is_dropped(ada: Member, sam: Member, tim: Member) -> None:
    factories.make_material(tim)
    for before in ("queued", "generating"):
        answer = Answer.objects.get(thread=factories.make_thread(sam, TITLE))
        CourseAI.objects.update_or_create(
            course=ada.course, defaults={"institution_id": ada.course.institution_id, "mode": "off"}
        )
        if before == "queued":
            actions.generate_answer(answer.pk)
        else:
            from ai_answers.actions.answers import _finish
            from ai_answers.engines import ExtractiveEngine

            Answer.objects.filter(pk=answer.pk).update(status="generating")
            _finish(answer.pk, ExtractiveEngine(), None, {})
        answer.refresh_from_db()
        assert answer.status == AnswerStatus.SUPERSEDED
        CourseAI.objects.update(mode="publish")


def test_written_anew_in_a_course_that_switched_it_off_is_refused(ada: Member, sam: Member, tim: Member) -> None:
    answer = factories.make_answer(sam, tim)
    actions.set_course_ai(by=ada, fields={"mode": "off"})
    with pytest.raises(Refused, match="switched off"):
        actions.regenerate_answer(by=tim, answer=answer)
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.PUBLISHED


@pytest.mark.parametrize(
    ("publish", "draft", "status"),
    [(0.0, 0.0, "published"), (0.99, 0.0, "draft"), (0.99, 0.98, "abstained")],
)
def test_the_thresholds_decide(
    ada: Member, sam: Member, tim: Member, publish: float, draft: float, status: str
) -> None:
    actions.set_course_ai(by=ada, fields={"publish_from": publish, "draft_from": draft})
    answer = factories.make_answer(sam, tim)
    assert answer.status == status
    assert answer.confidence is not None
    assert answer.features["answerable"] > 0.5
    assert answer.citations.exists() == (status != "abstained")


def test_where_nobody_has_chosen_the_defaults_count_and_reading_writes_nothing(world: World) -> None:
    with CaptureQueriesContext(connection) as queries:
        policy = access.policy_of(world.course)
    assert len(queries) == 1
    assert (policy.mode, policy.publish_from, policy.draft_from) == ("publish", 0.5, 0.25)
    assert str(policy).startswith("AI of")
    assert not CourseAI.objects.exists()
