"""What becomes of an answer: drafts, edits, withdrawals, what readers say, sources that change, embargoes that end."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.access import Member, Refused
from accounts.models import AuditEvent, User
from ai_answers import actions, tasks
from ai_answers.actions.reviewing import edit_distance, unsupported_sentences
from ai_answers.engines import Request, Task
from ai_answers.models import (
    Answer,
    AnswerFeedback,
    AnswerStatus,
    Citation,
    FeedbackReason,
    MaterialFormat,
    MaterialKind,
    WithdrawalReason,
)
from forum import actions as forum_actions
from forum.models import Notification, Status, Thread
from forum.queue import queue
from tests import factories
from tests.engines import Said, ScriptedEngine, quote_first
from tests.factories import LECTURE, World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]
QUOTED = "evaluated once, when the function definition is executed"


@pytest.fixture
def answer(sam: Member, tim: Member) -> Answer:
    return factories.make_answer(sam, tim)


@pytest.fixture
def draft(sam: Member, tim: Member, ada: Member) -> Answer:
    actions.set_course_ai(by=ada, fields={"mode": "draft"})
    return factories.make_answer(sam, tim)


def url(answer: Answer, name: str) -> str:
    return reverse(f"ai_answers:{name}", args=["cs-101", answer.thread.number])


def page_of(client: Client, answer: Answer) -> str:
    return client.get(reverse("forum:thread", args=["cs-101", answer.thread.number])).content.decode()


def told(name: str, kind: str) -> int:
    run_tasks("forum.tell")
    return Notification.objects.filter(user__email=f"{name}@example.edu", kind=kind).count()


def new_version(by: Member, answer: Answer, text: str) -> None:
    material = answer.citations.all()[0].version.material
    actions.import_material(
        by=by,
        title=material.title,
        kind=MaterialKind.LECTURE,
        format=MaterialFormat.MARKDOWN,
        text=text,
        material=material,
    )
    material.refresh_from_db()
    actions.enqueue_recheck(material=material)


# Drafts


def test_a_draft_is_for_staff_alone(draft: Answer, world: World, signed_in: SignIn) -> None:
    assert draft.status == AnswerStatus.DRAFT
    assert told("sam", "ai_answer") == 0
    for name in ("sam", "noor"):
        client = signed_in(world.user(name))
        page = page_of(client, draft)
        assert "Staff look at the answer" in page
        panel = client.get(url(draft, "answer"), headers={"HX-Request": "true"}).content.decode()
        assert "Staff look at the answer" in panel
        assert QUOTED not in page + panel + client.get("/c/cs-101/search/?q=evaluated+once+in:answers").content.decode()
    member = world.member("noor")
    assert not Citation.objects.visible_to(member)
    assert Citation.objects.visible_to(world.member("tim"))
    page = page_of(signed_in(world.user("tim")), draft)
    assert QUOTED in page
    assert "Draft, only staff see it" in page


def test_publishing_a_draft_tells_the_asker(draft: Answer, world: World, signed_in: SignIn, sam: Member) -> None:
    assert signed_in(world.user("tim")).post(url(draft, "publish-answer")).status_code == 302
    draft.refresh_from_db()
    assert draft.status == AnswerStatus.PUBLISHED
    assert AuditEvent.objects.filter(verb="answer.published", actor=world.user("tim")).count() == 1
    assert told("sam", "ai_answer") == 1
    assert QUOTED in page_of(signed_in(world.user("noor")), draft)
    assert signed_in(world.user("tim")).post(url(draft, "publish-answer")).status_code == 403
    with pytest.raises(PermissionDenied):
        actions.publish_answer(by=sam, answer=draft)


def test_endorsing_a_draft_publishes_it(draft: Answer, tim: Member) -> None:
    actions.set_answer_endorsement(by=tim, answer=draft, on=False)
    draft.refresh_from_db()
    assert draft.status == AnswerStatus.DRAFT
    actions.set_answer_endorsement(by=tim, answer=draft, on=True)
    draft.refresh_from_db()
    assert draft.status == AnswerStatus.ENDORSED
    assert told("sam", "ai_answer") == 1
    actions.set_answer_endorsement(by=tim, answer=draft, on=False)
    draft.refresh_from_db()
    assert draft.status == AnswerStatus.PUBLISHED


# Edits


def test_an_edit_keeps_the_quotations_and_the_machines_words(
    answer: Answer, world: World, signed_in: SignIn, ada: Member
) -> None:
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    client, old = signed_in(world.user("tim")), answer.body
    form = client.get(url(answer, "edit-answer")).content.decode()
    assert "Endorsements go" in form
    body = "Defaults are made **once**, at the definition [1]. Mind lists!"
    data = {"body": body, "seen": actions.edit_token(answer)}
    assert client.post(url(answer, "edit-answer"), data)["Location"].endswith("#ai-answer")
    answer.refresh_from_db()
    assert (answer.status, answer.body, answer.original_body) == (AnswerStatus.EDITED, body, old)
    assert (answer.endorsement_count, answer.unsupported_count, answer.edited_by) == (0, 1, world.user("tim"))
    assert answer.edit_distance is not None
    assert 0.3 < answer.edit_distance <= 1
    assert "Defaults are made" in client.get("/c/cs-101/search/?q=Mind+lists").content.decode()
    page = page_of(signed_in(world.user("noor")), answer)
    assert "Edited by staff" in page
    assert 'href="#quotation-1"' in page
    assert 'id="quotation-2"' not in page  # its marker is gone
    assert "1 sentence without a quotation" in page_of(client, answer)
    history = client.get(url(answer, "answer-history")).content.decode()
    assert "<del>" in history
    assert "distance" in history
    actions.edit_answer(by=world.member("tim"), answer=answer, body=old, seen=actions.edit_token(answer))
    answer.refresh_from_db()
    assert (answer.edit_distance, answer.original_body) == (0, old)
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    actions.set_answer_endorsement(by=ada, answer=answer, on=False)
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.EDITED


@pytest.mark.parametrize(
    ("body", "said"), [("See [9].", "There is no quotation [9]"), ("No marker", "at least one"), ("", "some words")]
)
def test_an_edit_with_wrong_markers_is_refused_and_keeps_what_was_typed(
    answer: Answer, world: World, signed_in: SignIn, body: str, said: str
) -> None:
    response = signed_in(world.user("tim")).post(url(answer, "edit-answer"), {"body": body, "seen": "x"})
    assert response.status_code == 422
    assert said in response.content.decode()
    assert body in response.content.decode()


def test_two_people_dont_overwrite_each_other(answer: Answer, world: World, signed_in: SignIn, ada: Member) -> None:
    seen = actions.edit_token(answer)
    actions.edit_answer(by=ada, answer=answer, body="Mine [1].", seen=seen)
    response = signed_in(world.user("tim")).post(url(answer, "edit-answer"), {"body": "Theirs [1].", "seen": seen})
    assert response.status_code == 409
    assert "Theirs [1]." in response.content.decode()
    answer.refresh_from_db()
    assert answer.body == "Mine [1]."


def test_students_edit_and_withdraw_nothing(answer: Answer, world: World, signed_in: SignIn, sam: Member) -> None:
    client = signed_in(world.user("sam"))
    for name in ("edit-answer", "withdraw-answer", "answer-history", "regenerate-answer", "publish-answer"):
        assert client.post(url(answer, name)).status_code in {403, 405}
    with pytest.raises(PermissionDenied):
        actions.edit_answer(by=sam, answer=answer, body="Mine [1].", seen=actions.edit_token(answer))
    with pytest.raises(PermissionDenied):
        actions.withdraw_answer(by=sam, answer=answer, reason=WithdrawalReason.WRONG)
    with pytest.raises(PermissionDenied):
        actions.regenerate_answer(by=sam, answer=answer)


def test_sentences_without_a_marker_are_counted() -> None:
    assert unsupported_sentences("It is so [1]. And so. — !") == 1
    assert unsupported_sentences("It is so [1].") == 0


# Withdrawing, writing anew


def test_a_withdrawn_answer_says_so_calmly_and_tells_whom_it_concerns(
    answer: Answer, world: World, signed_in: SignIn, ada: Member, tim: Member
) -> None:
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    client = signed_in(world.user("tim"))
    assert client.get(url(answer, "withdraw-answer")).status_code == 200
    assert client.post(url(answer, "withdraw-answer"), {}).status_code == 422
    assert client.post(url(answer, "withdraw-answer"), {"reason": "wrong"}).status_code == 302
    answer.refresh_from_db()
    answer.thread.refresh_from_db()
    assert (answer.status, answer.withdrawal_reason, answer.withdrawn_by) == ("withdrawn", "wrong", tim.user)
    assert (answer.endorsement_count, answer.thread.endorsement_count, answer.thread.status) == (0, 0, Status.OPEN)
    assert (told("sam", "ai_withdrawn"), told("ada", "ai_withdrawn"), told("noor", "ai_withdrawn")) == (1, 1, 0)
    assert told("tim", "ai_withdrawn") == 0
    page = page_of(signed_in(world.user("noor")), answer)
    assert "Staff have withdrawn this answer: it was wrong." in page
    assert QUOTED not in page
    assert not Citation.objects.visible_to(world.member("noor"))
    assert client.post(url(answer, "withdraw-answer"), {"reason": "wrong"}).status_code == 403
    assert "withdrawn in" in signed_in(world.user("sam")).get(reverse("inbox:list")).content.decode()
    with pytest.raises(Refused, match="Say why"):
        actions.withdraw_answer(
            by=tim, answer=factories.make_answer(world.member("sam"), tim), reason=WithdrawalReason.SOURCE_CHANGED
        )


def test_written_anew_the_old_one_stays_in_the_history(
    answer: Answer, world: World, signed_in: SignIn, tim: Member
) -> None:
    actions.set_answer_endorsement(by=tim, answer=answer, on=True)
    client = signed_in(world.user("tim"))
    panel = client.post(url(answer, "regenerate-answer"), headers={"HX-Request": "true"}).content.decode()
    assert "next in line" in panel
    answer.refresh_from_db()
    assert (answer.status, answer.is_current, answer.endorsement_count) == ("superseded", None, 0)
    current = Answer.objects.current().get(thread=answer.thread)
    assert client.post(url(answer, "regenerate-answer")).status_code == 403  # one is on its way
    run_tasks(actions.GENERATE_TASK)
    current.refresh_from_db()
    assert current.status == AnswerStatus.PUBLISHED
    assert list(Answer.objects.history(tim, answer.thread)) == [current, answer]
    assert not Answer.objects.history(world.member("sam"), answer.thread)
    assert client.get(url(answer, "answer-history")).content.decode().count("asked for") == 2


# What readers say


def test_readers_say_whether_it_helps_once_each(
    answer: Answer, world: World, signed_in: SignIn, sam: Member, tim: Member
) -> None:
    client, htmx = signed_in(world.user("noor")), {"HX-Request": "true"}

    def counts() -> tuple[int, int]:
        answer.refresh_from_db()
        return answer.helpful_count, answer.unhelpful_count

    for value, expected in (("1", (1, 0)), ("1", (1, 0)), ("0", (0, 1)), ("", (0, 0)), ("", (0, 0)), ("0", (0, 1))):
        data = {"helpful": value, "reason": "wrong", "comment": "No."}
        assert client.post(url(answer, "answer-feedback"), data, headers=htmx).status_code == 200
        assert counts() == expected
    row = AnswerFeedback.objects.get()
    assert (row.reader, row.reason, row.comment) == (world.user("noor"), FeedbackReason.WRONG, "No.")
    assert "Take back" in page_of(client, answer)
    assert "choice" in client.post(url(answer, "answer-feedback"), {"helpful": "7"}, headers=htmx).content.decode()
    assert client.post(url(answer, "answer-feedback"), {"helpful": "7"}).status_code == 302
    history = signed_in(world.user("tim")).get(url(answer, "answer-history")).content.decode()
    assert "it is wrong: 1" in history
    assert "Noor" not in history
    with pytest.raises(PermissionDenied):
        actions.give_feedback(by=tim, answer=answer, helpful=True)
    assert not AuditEvent.objects.filter(actor=world.user("noor")).exists()


def test_asking_for_a_person_puts_the_thread_into_the_queue_until_staff_reply(
    answer: Answer, world: World, signed_in: SignIn, tim: Member
) -> None:
    def reasons() -> list[str]:
        return [r.text for entry in queue(tim) if entry.thread_id == answer.thread_id for r in entry.urgency.reasons]

    client = signed_in(world.user("sam"))
    assert "somebody asks for a person, not the AI" not in reasons()
    client.post(url(answer, "ask-person"), {"on": "1"})
    assert "somebody asks for a person, not the AI" in reasons()
    assert "Staff are asked to look" in page_of(client, answer)
    client.post(url(answer, "ask-person"), {"on": "0"})
    assert not AnswerFeedback.objects.exists()
    client.post(url(answer, "ask-person"), {"on": "1"})
    factories.make_post(tim, answer.thread, "Here I am.")
    assert "somebody asks for a person, not the AI" not in reasons()


# Sources that change


def test_a_quotation_that_moved_is_followed(answer: Answer, tim: Member) -> None:
    before = {c.number: (c.quote, c.version_id) for c in answer.citations.all()}
    new_version(tim, answer, "# New first lines\n\nSomething else stands here now.\n\n" + LECTURE)
    run_tasks(actions.RECHECK_TASK)
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.PUBLISHED
    for citation in answer.citations.select_related("version"):
        assert citation.version.number == 2
        assert citation.quote == before[citation.number][0]
        assert citation.version.text[citation.start : citation.end] == citation.quote
        assert citation.passage is not None
        assert citation.passage.version_id == citation.version_id


def test_a_quotation_whose_white_space_changed_is_followed(answer: Answer, tim: Member) -> None:
    new_version(tim, answer, LECTURE.replace("evaluated once, when", "evaluated once,\nwhen"))
    run_tasks(actions.RECHECK_TASK)
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.PUBLISHED
    assert {c.version.number for c in answer.citations.select_related("version")} == {2}


def test_an_answer_whose_quotation_is_gone_withdraws_itself_and_is_written_anew(
    answer: Answer, tim: Member, ada: Member, world: World, signed_in: SignIn
) -> None:
    actions.set_answer_endorsement(by=ada, answer=answer, on=True)
    new_version(tim, answer, LECTURE.replace("evaluated once", "worked out once"))
    for _ in range(2):  # a second run, as after a crash, changes nothing more
        actions.recheck_material(answer.citations.all()[0].version.material_id)
    answer.refresh_from_db()
    answer.thread.refresh_from_db()
    assert (answer.status, answer.withdrawal_reason, answer.withdrawn_by) == ("withdrawn", "source_changed", None)
    assert answer.thread.status == Status.OPEN
    assert AuditEvent.objects.filter(verb="answer.withdrawn", actor=None).count() == 1
    assert (told("sam", "ai_withdrawn"), told("ada", "ai_withdrawn")) == (1, 1)
    assert "A source has changed since" in page_of(signed_in(world.user("noor")), answer)
    assert "the AI’s answer lost its source" in {r.text for entry in queue(tim) for r in entry.urgency.reasons}
    run_tasks(actions.RECHECK_TASK, actions.REWRITE_TASK, actions.GENERATE_TASK)
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.SUPERSEDED
    current = Answer.objects.current().get(thread=answer.thread)
    assert current.status in (AnswerStatus.PUBLISHED, AnswerStatus.ABSTAINED, AnswerStatus.DRAFT)
    actions.rewrite_answer(answer.pk)  # again: nothing to do
    assert Answer.objects.current().get(thread=answer.thread) == current


def test_an_answer_whose_source_is_deleted_withdraws_itself(answer: Answer, ada: Member) -> None:
    actions.set_course_ai(by=ada, fields={"mode": "off"})
    material = answer.citations.all()[0].version.material
    material.deleted_at = timezone.now()
    material.save(update_fields=["deleted_at"])
    actions.enqueue_recheck(material=material)
    run_tasks(actions.RECHECK_TASK, actions.REWRITE_TASK)
    answer.refresh_from_db()
    assert (answer.status, answer.withdrawal_reason) == ("withdrawn", "source_deleted")
    assert answer.is_current  # switched off: none takes its place


def test_a_source_that_changes_while_the_engine_writes_is_checked_again(sam: Member, tim: Member) -> None:
    version = factories.make_material(tim)
    answer = Answer.objects.get(thread=factories.make_thread(sam, "When is a default parameter value evaluated?"))

    def script(request: Request) -> Sequence[Said]:
        said = quote_first(request)
        text = LECTURE.replace("default", "preset")
        actions.import_material(
            by=tim, title="Lecture on functions", kind=MaterialKind.LECTURE, format=MaterialFormat.MARKDOWN, text=text,
            material=version.material,
        )  # fmt: skip
        return said

    actions.generate_answer(answer.pk, engine=ScriptedEngine(script))
    run_tasks(actions.RECHECK_TASK)
    answer.refresh_from_db()
    assert (answer.status, answer.withdrawal_reason) == ("withdrawn", "source_changed")


def test_how_far_an_edit_goes_counts_the_quotations() -> None:
    quotes = {1: "a" * 50, 2: "b" * 50}
    assert edit_distance("See [1] and [2].", "See [1] and [2].", quotes) == 0
    assert edit_distance("See [1] and [2].", "Look at [1] and [2].", quotes) < 0.1
    assert edit_distance("See [1] and [2].", "See [1].", quotes) > 0.4


def test_a_material_that_is_gone_and_an_answer_that_quotes_others_stay_alone(answer: Answer, tim: Member) -> None:
    other = factories.make_material(tim, "# Something else\n\nNothing here is quoted by anybody.", "Other")
    assert actions.recheck_material(other.material_id) == 0
    assert actions.recheck_material(answer.pk) == 0
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.PUBLISHED


def test_one_that_cant_be_endorsed_any_more_says_why(
    answer: Answer, world: World, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ai_answers.actions.reviewing.still_hold", lambda citations: False)
    client = signed_in(world.user("tim"))
    panel = client.post(url(answer, "endorse-answer"), headers={"HX-Request": "true"}).content.decode()
    assert "no longer says what the answer quotes" in panel
    assert client.post(url(answer, "endorse-answer")).status_code == 302


# Embargo


def test_under_embargo_it_only_hints_and_answers_once_that_is_over(
    sam: Member, tim: Member, world: World, signed_in: SignIn
) -> None:
    factories.make_material(tim)
    soon = timezone.now() + timedelta(days=1)
    homework = forum_actions.save_assignment(
        by=tim, assignment=None, title="Homework 1", due_at=soon, embargo_until=soon
    )
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?", assignment=homework)
    answer = Answer.objects.get(thread=thread)
    engine = ScriptedEngine()
    actions.generate_answer(answer.pk, engine=engine)
    answer.refresh_from_db()
    assert answer.is_hint
    assert engine.requests[0].task == Task.HINT
    page = page_of(signed_in(world.user("sam")), answer)
    assert "A hint from the course materials" in page
    assert "Homework 1 is still being worked on" in page
    assert actions.replace_hints() == 0
    homework.embargo_until = timezone.now() - timedelta(minutes=1)
    homework.save(update_fields=["embargo_until"])
    tasks.replace_hints.func(timestamp=0)
    assert actions.replace_hints() == 0
    current = Answer.objects.current().get(thread=thread)
    actions.generate_answer(current.pk, engine=engine)
    current.refresh_from_db()
    assert (current.is_hint, current.status) == (False, AnswerStatus.PUBLISHED)
    assert engine.requests[1].task == Task.ANSWER
    answer.refresh_from_db()
    assert answer.status == AnswerStatus.SUPERSEDED


def test_others_reach_nothing_of_it(answer: Answer, world: World, signed_in: SignIn) -> None:
    for name in ("eve", "pat"):
        client = signed_in(world.user(name))
        for route in ("answer-feedback", "ask-person", "edit-answer", "withdraw-answer", "regenerate-answer"):
            address = url(answer, route)
            assert client.post(address, {"helpful": "1"}).status_code == 404
    assert not AnswerFeedback.objects.exists()
    Thread.objects.update(visibility="staff")
    client = signed_in(world.user("noor"))
    assert client.post(url(answer, "answer-feedback"), {"helpful": "1"}).status_code == 404
