"""Private conversations: what is said in them, that it is true to its sources, and that nobody else reads it."""

import csv
import io
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import PermissionDenied
from django.core.signals import request_finished
from django.db import close_old_connections, connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob

from accounts.access import Member, Refused
from accounts.models import AuditEvent, Course, Enrollment, EnrollmentStatus, User
from ai_answers import access, actions, exporting, tasks
from ai_answers.engines import Abstention, Quote, Request, Statement, Task, Unavailable
from ai_answers.models import (
    AnswerMode,
    CallOutcome,
    Citation,
    Conversation,
    CourseAI,
    InstitutionAI,
    Material,
    MaterialKind,
    MaterialVersion,
    Message,
    MessageState,
    ModelCall,
    ModelPrice,
    Purpose,
)
from ai_answers.transcripts import shown
from forum import actions as forum_actions
from forum import points
from forum.models import MAX_BODY, Draft, Thread
from quokkaq.lib import events
from tests import factories
from tests.engines import Said, ScriptedEngine, let_speak
from tests.factories import World
from tests.tasks import run_tasks

pytestmark = pytest.mark.django_db

QUESTION = "When is a default parameter value evaluated?"
ONCE = "A default parameter value is evaluated once, when the function definition is executed."
SAME = "The same object is used for each call."
CANARY = "zebra-finch-4711"


@pytest.fixture
def lecture(tim: Member) -> MaterialVersion:
    return factories.make_material(tim)


def begin(by: Member, text: str = QUESTION) -> Conversation:
    return actions.start_conversation(by=by, text=text, form_key=uuid.uuid4())


def reply_in(conversation: Conversation) -> Message:
    return Message.objects.filter(conversation=conversation, speaker="machine").latest("position")


def url(name: str, *args: Any) -> str:
    return reverse(f"ai_answers:{name}", args=["cs-101", *args])


def speaking(monkeypatch: pytest.MonkeyPatch, *said: Said | Callable[[Request], Sequence[Said]]) -> ScriptedEngine:
    """Let the course's engine say this."""

    def script(request: Request) -> Iterator[Said]:
        for one in said:
            if callable(one):
                yield from one(request)
            else:
                yield one

    return let_speak(monkeypatch, ScriptedEngine(script))


def close(response: Any) -> None:
    """End a response as the server does, without its closing the connection of the test's transaction."""
    request_finished.disconnect(close_old_connections)
    try:
        response.close()
    finally:
        request_finished.connect(close_old_connections)


# Asking and answering


def test_a_question_is_answered_with_quotations(lecture: MaterialVersion, sam: Member) -> None:
    talk = begin(sam)
    assert reply_in(talk).state == MessageState.QUEUED
    run_tasks()
    reply = reply_in(talk)
    assert reply.state == MessageState.DONE
    assert ONCE in [citation.quote for citation in reply.citations.all()]
    assert f'href="#quotation-{reply.position}-1"' in reply.body_html
    assert (reply.engine, reply.is_remote) == ("extractive", False)
    call = ModelCall.objects.get()
    assert (call.purpose, call.outcome, call.user) == (Purpose.CONVERSATION, CallOutcome.ANSWERED, sam.user)


def test_the_title_is_the_first_question_on_one_line(lecture: MaterialVersion, sam: Member) -> None:
    talk = begin(sam, "When is\n\na default  evaluated? " + "x" * 300)
    assert talk.title.startswith("When is a default evaluated?")
    assert len(talk.title) == 200


def test_what_the_materials_do_not_say_is_not_answered(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam, "Who won the football cup in nineteen fifty four?")
    run_tasks()
    reply = reply_in(talk)
    assert (reply.state, reply.body) == (MessageState.ABSTAINED, "")
    page = signed_in(sam.user).get(url("conversation", talk.pk)).content.decode()
    assert "don’t seem to say" in page
    assert f"?from=question:{reply.pk}" in page
    asked = signed_in(sam.user).get(f"{reverse('forum:ask', args=['cs-101'])}?from=question:{reply.pk}")
    assert "football cup" in asked.content.decode()


def test_statements_come_one_by_one_and_only_when_they_hold(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = begin(sam)
    reply = reply_in(talk)
    seen: list[tuple[str, int]] = []

    def look() -> list[Said]:
        row = Message.objects.get(pk=reply.pk)
        seen.append((row.body, row.citations.count()))
        return []

    def at(position: int, text: str, quote: str) -> Callable[[Request], list[Said]]:
        def say(request: Request) -> list[Said]:
            number = next(n for n, source in enumerate(request.sources, 1) if quote[:20] in source.text)
            return [Statement(text, [Quote(number, quote)])]

        return say

    speaking(
        monkeypatch,
        Statement("Words alone."),
        lambda request: look(),
        Statement("Made up.", [Quote(1, "nobody ever wrote these words")]),
        lambda request: look(),
        at(1, "Once.", ONCE),
        lambda request: look(),
        at(2, "Shared.", SAME),
        lambda request: look(),
    )
    run_tasks()
    bodies = [body for body, _ in seen]
    # Before the first quotation nothing is shown; afterwards whole statements are.
    assert bodies[:2] == ["", ""]
    assert bodies[2] == "Words alone. Once [1]."
    assert bodies[3].endswith("Shared [2].")
    assert [count for _, count in seen] == [0, 0, 1, 2]
    reply.refresh_from_db()
    assert (reply.state, reply.unsupported_count) == (MessageState.DONE, 1)
    assert "Made up" not in reply.body


@pytest.mark.parametrize("said", [Statement("Words alone."), Statement("No.", [Quote(1, "nobody wrote these words")])])
def test_an_answer_without_a_true_quotation_is_shown_to_nobody(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch, said: Statement, signed_in: Any
) -> None:
    speaking(monkeypatch, said)
    talk = begin(sam)
    run_tasks()
    reply = reply_in(talk)
    assert (reply.state, reply.error_code, reply.body) == (MessageState.ABSTAINED, "unsupported", "")
    assert ModelCall.objects.get().outcome == CallOutcome.REFUSED
    page = signed_in(sam.user).get(url("conversation", talk.pk)).content.decode()
    assert said.text not in page
    assert "had no quotation that holds" in page


def test_the_page_says_what_left_the_server(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    engine = speaking(monkeypatch, lambda request: [Statement("Once.", [Quote(1, request.sources[0].text)])])
    engine.is_remote = True
    actions.set_consent(by=sam.user, is_given=True)
    ModelPrice.objects.create(
        institution=sam.course.institution, engine=engine.name, model=engine.model, input_micros=0, output_micros=0,
        valid_from=date(2026, 1, 1),
    )  # fmt: skip
    talk = begin(sam)
    run_tasks()
    client = signed_in(sam.user)
    assert (
        "Written by test-1; what you asked was sent to it." in client.get(url("conversation", talk.pk)).content.decode()
    )
    speaking(monkeypatch, Abstention("x")).is_remote = True
    talk = begin(sam, "Does it say that, or not?")
    run_tasks()
    assert "What you asked was sent to test-1." in client.get(url("conversation", talk.pk)).content.decode()


def test_a_follow_up_is_understood_by_what_was_said_before(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = begin(sam)
    run_tasks()
    engine = speaking(monkeypatch, Abstention("x"))
    actions.ask(by=sam, conversation=talk, text="And for lists?", form_key=uuid.uuid4())
    run_tasks()
    (request,) = engine.requests
    assert request.task == Task.CONVERSATION
    assert [turn.by_machine for turn in request.history] == [False, True]
    assert request.history[0].text == QUESTION
    assert request.question.title == f"{QUESTION} And for lists?"
    for number in range(5):
        actions.ask(by=sam, conversation=talk, text=f"And what about the number {number} then?", form_key=uuid.uuid4())
        run_tasks()
    assert len(engine.requests[-1].history) == 6
    assert engine.requests[-1].question.title == "And what about the number 4 then?"


def test_one_question_at_a_time(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam)
    client = signed_in(sam.user)
    response = client.post(url("conversation", talk.pk), {"text": "Another one, before the answer?"})
    assert response.status_code == 409
    page = response.content.decode()
    assert "still being written" in page
    assert "Another one, before the answer?" in page


def test_the_same_form_sent_twice_asks_once(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    client, key = signed_in(sam.user), str(uuid.uuid4())
    first, second = (client.post(url("conversations"), {"text": QUESTION, "form_key": key}) for _ in range(2))
    assert first["Location"] == second["Location"]
    talk = Conversation.objects.get()
    run_tasks()
    for _ in range(2):
        client.post(url("conversation", talk.pk), {"text": "Is it shared?", "form_key": key})
    assert Message.objects.filter(conversation=talk).count() == 4
    assert ProcrastinateJob.objects.filter(task_name=actions.REPLY_TASK).count() == 2


@pytest.mark.parametrize("text", ["", "   ", "x" * 4001, "damaged \ufffd"])
def test_a_bad_question_is_refused_and_kept(lecture: MaterialVersion, sam: Member, signed_in: Any, text: str) -> None:
    client = signed_in(sam.user)
    response = client.post(url("conversations"), {"text": text})
    assert response.status_code == 422
    assert text.strip() in response.content.decode()
    talk = begin(sam)
    assert client.post(url("conversation", talk.pk), {"text": text}).status_code == 422
    assert Conversation.objects.count() == 1


def test_so_many_an_hour_and_no_more(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=2)
    client = signed_in(sam.user)
    first = begin(sam)
    run_tasks()
    # Deleting gives none back.
    actions.delete_conversation(by=sam, conversation=first)
    begin(sam, "Another question altogether?")
    response = client.post(url("conversations"), {"text": "A third question?"})
    assert response.status_code == 429
    assert 3500 < int(response.headers["Retry-After"]) <= 3600
    page = response.content.decode()
    assert "asked 2 times within an hour" in page
    assert "You can ask again at" in page
    assert "A third question?" in page
    ModelCall.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert client.post(url("conversations"), {"text": "A third question?"}).status_code == 302


def test_with_a_limit_of_none_nothing_is_asked(lecture: MaterialVersion, sam: Member) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=0)
    with pytest.raises(Refused, match="switched off asking"):
        begin(sam)


def test_a_call_that_failed_takes_nothing_from_the_limit(lecture: MaterialVersion, sam: Member) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=1)
    talk = begin(sam)
    actions.fail_reply(reply_in(talk).pk, RuntimeError("x"))
    ModelCall.objects.create(
        institution=sam.course.institution, course=sam.course, user=sam.user, purpose="conversation",
        engine="x", outcome=CallOutcome.ERROR,
    )  # fmt: skip
    begin(sam, "May I ask something else?")


@pytest.mark.parametrize(
    ("policy", "said"),
    [({"mode": "off"}, "switched the AI off"), ({"conversations": False}, "switched private conversations off")],
)
def test_where_staff_switched_it_off_one_reads_and_does_not_ask(
    lecture: MaterialVersion, sam: Member, signed_in: Any, policy: dict[str, Any], said: str
) -> None:
    talk = begin(sam)
    run_tasks()
    CourseAI.objects.create(institution=sam.course.institution, course=sam.course, **policy)
    client = signed_in(sam.user)
    for address in (url("conversations"), url("conversation", talk.pk)):
        assert said in client.get(address).content.decode()
        response = client.post(address, {"text": "May I still ask this?"})
        assert response.status_code == 409
        assert "May I still ask this?" in response.content.decode()
    assert ONCE[:30] in client.get(url("conversation", talk.pk)).content.decode()


def test_during_an_exam_students_do_not_ask_and_staff_do(world: World, lecture: MaterialVersion) -> None:
    Course.objects.filter(pk=world.course.pk).update(posting_closed_until=timezone.now() + timedelta(hours=1))
    world.course.refresh_from_db()
    with pytest.raises(Refused, match="exam"):
        begin(world.member("sam"))
    begin(world.member("tim"))


def test_in_an_archived_course_one_reads(world: World, lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam)
    run_tasks()
    factories.archive(world.course)
    client = signed_in(sam.user)
    assert client.get(url("conversation", talk.pk)).status_code == 200
    assert client.post(url("conversation", talk.pk), {"text": "And now?"}).status_code == 409


def test_what_belongs_to_an_embargoed_assignment_is_hinted_at_only(
    lecture: MaterialVersion, sam: Member, tim: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    soon = timezone.now() + timedelta(days=1)
    forum_actions.save_assignment(by=tim, assignment=None, title="Homework 7", due_at=soon, embargo_until=soon)
    engine = speaking(monkeypatch, lambda request: [Statement("Read this.", [Quote(1, request.sources[0].text)])])
    talk = begin(sam, "How do I solve homework 7 about a default parameter value?")
    begin(sam)
    begin(tim, "How is homework 7 about a default parameter value solved?")
    run_tasks()
    assert [request.task for request in engine.requests] == [Task.HINT, Task.CONVERSATION, Task.CONVERSATION]
    assert reply_in(talk).is_hint
    assert "Hints only" in signed_in(sam.user).get(url("conversation", talk.pk)).content.decode()
    Material.objects.update(kind=MaterialKind.ASSIGNMENT)
    begin(sam, "When is a default parameter value evaluated, again?")
    run_tasks()
    assert engine.requests[-1].task == Task.HINT


# Stop, failure, another try


def test_stop_ends_it_between_two_statements(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    talk = begin(sam)
    reply = reply_in(talk)
    client = signed_in(sam.user)

    def press(request: Request) -> list[Said]:
        client.post(url("stop-message", reply.pk))
        return [Statement("Shared.", [Quote(1, request.sources[0].text)])]

    def never(request: Request) -> list[Said]:
        raise AssertionError("nobody asked for more")

    speaking(monkeypatch, lambda request: [Statement("Once.", [Quote(1, request.sources[0].text)])], press, never)
    run_tasks()
    reply.refresh_from_db()
    assert reply.state == MessageState.STOPPED
    assert reply.body.startswith("Once [1].")
    assert ModelCall.objects.get().outcome == CallOutcome.STOPPED
    assert "Stopped here." in client.get(url("conversation", talk.pk)).content.decode()
    # Another try begins anew.
    speaking(monkeypatch, lambda request: [Statement("Again.", [Quote(1, request.sources[0].text)])])
    assert client.post(url("retry-message", reply.pk)).status_code == 302
    run_tasks()
    reply.refresh_from_db()
    assert (reply.state, reply.body, reply.attempts) == (MessageState.DONE, "Again [1].", 2)
    assert reply.citations.count() == 1


def test_stop_before_it_begins(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam)
    reply = reply_in(talk)
    fragment = signed_in(sam.user).post(url("stop-message", reply.pk), HTTP_HX_REQUEST="true")
    assert "Stopped before there was anything to show." in fragment.content.decode()
    run_tasks()
    reply.refresh_from_db()
    assert (reply.state, reply.attempts) == (MessageState.STOPPED, 0)
    assert not ModelCall.objects.exists()


def test_stop_reaches_a_worker_that_died(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    reply = reply_in(begin(sam))
    Message.objects.filter(pk=reply.pk).update(state="writing")
    fragment = signed_in(sam.user).post(url("stop-message", reply.pk), HTTP_HX_REQUEST="true").content.decode()
    assert "Stopping…" in fragment
    assert ">Stop<" not in fragment
    actions.write_reply(reply.pk)  # the job is rescued
    reply.refresh_from_db()
    assert reply.state == MessageState.STOPPED


def test_stopping_what_is_done_changes_nothing(lecture: MaterialVersion, sam: Member) -> None:
    reply = reply_in(begin(sam))
    run_tasks()
    actions.stop_reply(by=sam, message=reply)
    reply.refresh_from_db()
    assert (reply.state, reply.stop_asked_at) == (MessageState.DONE, None)
    with pytest.raises(PermissionDenied):
        actions.retry_reply(by=sam, message=reply)


def test_it_begins_anew_after_a_crash_in_the_middle(lecture: MaterialVersion, sam: Member) -> None:
    reply = reply_in(begin(sam))
    actions.write_reply(reply.pk)
    before = Message.objects.values().get(pk=reply.pk)
    # As if the process had died before the end.
    Message.objects.filter(pk=reply.pk).update(state="writing")
    actions.write_reply(reply.pk)
    actions.write_reply(reply.pk)  # and jobs may run twice
    after = Message.objects.values().get(pk=reply.pk)
    assert after["body"] == before["body"]
    assert after["attempts"] == 2
    assert Citation.objects.filter(message=reply).count() == len(set(reply.citations.values_list("number", flat=True)))


def test_a_run_that_was_overtaken_stores_nothing(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply = reply_in(begin(sam))

    def overtake(request: Request) -> list[Said]:
        Message.objects.filter(pk=reply.pk).update(attempts=5)
        return [Statement("Late.", [Quote(1, request.sources[0].text)])]

    speaking(monkeypatch, overtake)
    actions.write_reply(reply.pk)
    reply.refresh_from_db()
    assert (reply.state, reply.body) == (MessageState.WRITING, "")

    def overtake_and_abstain(request: Request) -> list[Said]:
        Message.objects.filter(pk=reply.pk).update(attempts=9)
        return [Abstention("x")]

    speaking(monkeypatch, overtake_and_abstain)
    actions.write_reply(reply.pk)
    reply.refresh_from_db()
    assert reply.state == MessageState.WRITING


def test_a_conversation_deleted_meanwhile_ends_quietly(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = begin(sam)

    def delete(request: Request) -> list[Said]:
        actions.delete_conversation(by=sam, conversation=talk)
        return [Statement("Gone.", [Quote(1, request.sources[0].text)])]

    speaking(monkeypatch, delete)
    run_tasks()
    assert not Message.objects.exists()
    actions.write_reply(uuid.uuid4())


def test_a_failure_is_tried_again_and_then_shown(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch, signed_in: Any
) -> None:
    talk = begin(sam)
    reply = reply_in(talk)

    def fail(request: Request) -> list[Said]:
        raise Unavailable("slow")

    speaking(monkeypatch, fail)
    for attempt in range(tasks.REPLY_ATTEMPTS):
        context: Any = SimpleNamespace(job=SimpleNamespace(attempts=attempt))
        with pytest.raises(Unavailable):
            tasks.reply.func(context, str(reply.pk))
    reply.refresh_from_db()
    assert (reply.state, reply.error_code) == (MessageState.FAILED, "Unavailable")
    client = signed_in(sam.user)
    assert "failed, several times" in client.get(url("conversation", talk.pk)).content.decode()
    fragment = client.post(url("retry-message", reply.pk), HTTP_HX_REQUEST="true").content.decode()
    assert "next in line" in fragment
    actions.retry_reply(by=sam, message=reply)  # twice is once
    assert Message.objects.get(pk=reply.pk).state == MessageState.QUEUED


def test_a_refused_retry_says_why(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    reply = reply_in(begin(sam))
    actions.fail_reply(reply.pk, RuntimeError("x"))
    CourseAI.objects.create(institution=sam.course.institution, course=sam.course, mode=AnswerMode.OFF)
    client = signed_in(sam.user)
    response = client.post(url("retry-message", reply.pk), HTTP_HX_REQUEST="true")
    assert response["HX-Redirect"].startswith(url("conversation", reply.conversation_id))
    page = client.post(url("retry-message", reply.pk), follow=True).content.decode()
    assert "switched the AI off" in page


# Privacy


@pytest.mark.parametrize("who", ["noor", "ada", "tim", "eve", "pat", "dana", "carl"])
def test_nobody_else_reaches_a_conversation(
    world: World, lecture: MaterialVersion, sam: Member, signed_in: Any, who: str
) -> None:
    talk = begin(sam, f"{QUESTION} {CANARY}")
    run_tasks()
    reply = reply_in(talk)
    client = signed_in(world.user(who))
    gets = [
        url("conversation", talk.pk), url("message", reply.pk), url("message-stream", reply.pk),
        url("delete-conversation", talk.pk), url("preview-panel", talk.pk),
    ]  # fmt: skip
    posts = [
        url("conversation", talk.pk), url("stop-message", reply.pk), url("retry-message", reply.pk),
        url("delete-conversation", talk.pk), url("accept-preview", talk.pk),
        *(url("export-conversation", talk.pk, kind) for kind in exporting.KINDS),
    ]  # fmt: skip
    for address in gets:
        assert client.get(address).status_code == 404, address
        assert client.get(address, HTTP_HX_REQUEST="true").status_code == 404, address
    for address in posts:
        assert client.post(address, {"text": "Mine now?"}).status_code == 404, address
    for address in (url("conversations"), reverse("ai:overview")):
        assert CANARY not in client.get(address).content.decode()
    for origin in (f"conversation:{talk.pk}", f"question:{reply.pk}"):
        page = client.get(f"{reverse('forum:ask', args=['cs-101'])}?from={origin}").content.decode()
        assert CANARY not in page
    assert Conversation.objects.filter(pk=talk.pk).exists()


def test_a_conversation_appears_nowhere_else(
    world: World, lecture: MaterialVersion, sam: Member, signed_in: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    talk = begin(sam, f"{QUESTION} {CANARY}")
    Message.objects.filter(conversation=talk, speaker="machine").update(body=CANARY, body_html=CANARY)
    for who in ("sam", "ada"):
        client = signed_in(world.user(who))
        for name in ("list", "activity", "queue", "insights", "audit", "course"):
            assert CANARY not in client.get(reverse(f"forum:{name}", args=["cs-101"])).content.decode(), name
        found = client.get(reverse("forum:search", args=["cs-101"]), {"q": "default evaluated"}).content.decode()
        assert CANARY not in found
        assert CANARY not in client.get(reverse("inbox:list")).content.decode()
    arguments = json.dumps(list(ProcrastinateJob.objects.values_list("args", flat=True)))
    assert CANARY not in arguments
    assert str(sam.user.pk) not in arguments
    assert CANARY not in caplog.text
    assert CANARY not in json.dumps(list(AuditEvent.objects.values("verb", "data")))


def test_admin_shows_operators_how_it_went_and_nobody_what_was_said(
    world: World, lecture: MaterialVersion, sam: Member, signed_in: Any
) -> None:
    talk = begin(sam, f"{QUESTION} {CANARY}")
    run_tasks()
    Message.objects.filter(conversation=talk).exclude(speaker="person").update(body_html=CANARY)
    root = User.objects.create_superuser("root@example.edu", display_name="Root", institution=world.institution)
    User.objects.filter(pk=world.user("ada").pk).update(is_staff=True)
    ada = User.objects.get(pk=world.user("ada").pk)
    ada.user_permissions.set(Permission.objects.filter(content_type__app_label="ai_answers"))
    for model, row in (("conversation", talk), ("message", reply_in(talk))):
        for address in (
            reverse(f"admin:ai_answers_{model}_changelist"),
            reverse(f"admin:ai_answers_{model}_change", args=[row.pk]),
        ):
            page = signed_in(root).get(address)
            assert page.status_code == 200
            assert CANARY not in page.content.decode()
            assert "Surname-sam" not in page.content.decode()
        listed = signed_in(ada).get(reverse(f"admin:ai_answers_{model}_changelist"))
        assert "0 " in listed.content.decode()
        assert str(row.pk) not in listed.content.decode()
    searched = signed_in(root).get(reverse("admin:ai_answers_conversation_changelist"), {"q": CANARY})
    assert str(talk.pk) not in searched.content.decode()
    quotations = signed_in(root).get(reverse("admin:ai_answers_citation_changelist")).content.decode()
    assert ONCE not in quotations


def test_who_is_taken_out_of_the_course_gets_no_answer_any_more(
    world: World, lecture: MaterialVersion, sam: Member, signed_in: Any
) -> None:
    talk = begin(sam)
    Enrollment.objects.filter(user=sam.user).update(status=EnrollmentStatus.DROPPED)
    run_tasks()
    assert reply_in(talk).state == MessageState.STOPPED
    assert not ModelCall.objects.exists()
    assert signed_in(sam.user).get(url("conversation", talk.pk)).status_code == 404
    assert QUESTION not in signed_in(sam.user).get(reverse("ai:overview")).content.decode()


def test_the_stream_ends_for_who_is_taken_out_of_the_course(
    lecture: MaterialVersion, sam: Member, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0)
    response = signed_in(sam.user).get(url("message-stream", reply_in(begin(sam)).pk))
    chunks = iter(response)
    assert b"retry" in next(chunks)
    assert b"event: shown" in next(chunks)
    Enrollment.objects.filter(user=sam.user).update(status=EnrollmentStatus.DROPPED)
    assert b"event: gone" in next(chunks)
    close(response)


def test_conversations_go_with_the_person(lecture: MaterialVersion, sam: Member) -> None:
    begin(sam)
    run_tasks()
    sam.user.delete()
    assert not Conversation.objects.exists()
    assert not Message.objects.exists()
    assert not Citation.objects.exists()
    assert ModelCall.objects.get().user is None


def test_deleting_asks_first_and_leaves_nothing(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam, f"{QUESTION} {CANARY}")
    run_tasks()
    client = signed_in(sam.user)
    assert "gone for good" in client.get(url("delete-conversation", talk.pk)).content.decode()
    assert Conversation.objects.exists()
    assert client.post(url("delete-conversation", talk.pk), follow=True).status_code == 200
    assert not Conversation.objects.exists()
    assert not Citation.objects.exists()
    event = AuditEvent.objects.get(verb="conversation.deleted")
    # The staff of the course aren't told who talks with the machine.
    assert (event.course, event.data) == (None, {})


def test_actions_refuse_other_people(lecture: MaterialVersion, sam: Member, noor: Member) -> None:
    talk = begin(sam)
    reply = reply_in(talk)
    for act in (
        lambda: actions.ask(by=noor, conversation=talk, text="Mine?", form_key=uuid.uuid4()),
        lambda: actions.delete_conversation(by=noor, conversation=talk),
        lambda: actions.stop_reply(by=noor, message=reply),
        lambda: actions.retry_reply(by=noor, message=reply),
    ):
        with pytest.raises(PermissionDenied):
            act()
    with pytest.raises(Http404):
        access.get_message(noor, reply.pk)


# What is shown, checked each time


def test_an_answer_is_withheld_when_its_source_can_no_longer_be_read(
    lecture: MaterialVersion, sam: Member, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk = begin(sam)
    run_tasks()
    Material.objects.update(deleted_at=timezone.now())
    client = signed_in(sam.user)
    page = client.get(url("conversation", talk.pk)).content.decode()
    assert "This answer is withheld" in page
    assert ONCE not in page
    for kind in exporting.KINDS:
        assert ONCE not in b"".join(client.post(url("export-conversation", talk.pk, kind), follow=True)).decode()
    # Nor does it come back through what was said before.
    engine = speaking(monkeypatch, Abstention("x"))
    actions.ask(by=sam, conversation=talk, text="Could you repeat that, please?", form_key=uuid.uuid4())
    run_tasks()
    assert [turn.by_machine for turn in engine.requests[0].history] == [False]


def test_an_answer_is_withheld_when_a_source_says_something_else(
    lecture: MaterialVersion, sam: Member, signed_in: Any
) -> None:
    talk = begin(sam)
    run_tasks()
    with connection.cursor() as cursor:
        # The database itself lets no version change: as if somebody had gone around that.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE ai_answers_materialversion DISABLE TRIGGER ai_answers_keep_version")
        cursor.execute("UPDATE ai_answers_materialversion SET text = replace(text, 'evaluated', 'xvaluated')")
    page = signed_in(sam.user).get(url("conversation", talk.pk)).content.decode()
    assert "This answer is withheld" in page


def test_what_people_wrote_is_text_and_not_markup(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam, "<script>alert(1)</script> **bold** default parameter?")
    page = signed_in(sam.user).get(url("conversation", talk.pk)).content.decode()
    assert "<script>alert" not in page
    assert "**bold**" in page


# Pages


def test_a_page_costs_the_same_at_any_number(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=1000)
    client = signed_in(sam.user)
    talk = begin(sam)
    run_tasks()
    addresses = [url("conversations"), url("conversation", talk.pk), reverse("ai:overview")]

    def costs() -> list[int]:
        counts = []
        for address in addresses:
            client.get(address)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                client.get(address)
            counts.append(len(queries))
        return counts

    before = costs()
    for number in range(6):
        begin(sam, f"{QUESTION} {number}")
        actions.ask(by=sam, conversation=talk, text=f"{QUESTION} {number}", form_key=uuid.uuid4())
        run_tasks()
    assert costs() == before


def test_the_list_goes_on_by_pages(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    now = timezone.now()
    for number in range(27):
        Conversation.objects.create(
            institution=sam.course.institution, user=sam.user, course=sam.course, title=f"Talk {number:02}",
            last_message_at=now - timedelta(minutes=number),
        )  # fmt: skip
    client = signed_in(sam.user)
    first = client.get(url("conversations"))
    assert "Talk 24" in first.content.decode()
    assert "Talk 25" not in first.content.decode()
    second = client.get(url("conversations"), {"cursor": first.context["next"]}).content.decode()
    assert "Talk 25" in second
    assert "Talk 26" in second
    broken = client.get(url("conversations"), {"cursor": "x"})
    assert broken.status_code == 400
    assert "Talk 00" in broken.content.decode()
    # Of each course, the overview shows the latest.
    overview = client.get(reverse("ai:overview")).content.decode()
    assert "Talk 04" in overview
    assert "Talk 05" not in overview


def test_who_is_in_no_course_is_told_so(world: World, signed_in: Any) -> None:
    assert "You aren’t in a course yet" in signed_in(world.user("dana")).get(reverse("ai:overview")).content.decode()


def test_a_fragment_without_htmx_leads_to_its_page(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam)
    reply = reply_in(talk)
    response = signed_in(sam.user).get(url("message", reply.pk))
    assert response["Location"] == f"{url('conversation', talk.pk)}#message-2"
    fragment = signed_in(sam.user).get(url("message", reply.pk), HTTP_HX_REQUEST="true").content.decode()
    assert "next in line" in fragment
    assert "<html" not in fragment


# The stream


def test_the_stream_sends_what_grows_and_ends(
    lecture: MaterialVersion, sam: Member, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0)
    monkeypatch.setattr(events, "LASTS_SECONDS", 600)
    reply = reply_in(begin(sam))
    client = signed_in(sam.user)
    response = client.get(url("message-stream", reply.pk))
    assert response["Content-Type"].startswith("text/event-stream")
    chunks = iter(response)
    next(chunks)
    assert b"next in line" in next(chunks)
    run_tasks()
    last = next(chunks).decode()
    assert ONCE[:40] in last
    assert b"event: done" in next(chunks)
    with pytest.raises(StopIteration):
        next(chunks)
    close(response)
    # A browser that comes back with what it has seen gets it once.
    seen = last.splitlines()[0].removeprefix("id: ")
    again = client.get(url("message-stream", reply.pk), headers={"last-event-id": seen})
    assert b"event: shown" not in b"".join(again)


def test_there_are_so_many_streams_and_the_rest_polls(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    address = url("message-stream", reply_in(begin(sam)).pk)
    client = signed_in(sam.user)
    held = [client.get(address) for _ in range(events.AT_ONCE)]
    assert [response.status_code for response in held] == [200] * events.AT_ONCE
    assert client.get(address).status_code == 204
    # One whose reader left before a byte was sent gives its place back, and only once.
    close(held[0])
    close(held[0])
    another = client.get(address)
    assert another.status_code == 200
    assert client.get(address).status_code == 204
    for response in (*held, another):
        close(response)


def test_a_stream_lasts_a_while_and_says_that_it_lives(
    lecture: MaterialVersion, sam: Member, signed_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "LASTS_SECONDS", 0.3)
    monkeypatch.setattr(events, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(events, "LOOK_EVERY_SECONDS", 0.02)
    body = b"".join(signed_in(sam.user).get(url("message-stream", reply_in(begin(sam)).pk)))
    assert b": still here" in body
    assert b"event: done" not in body


# Taking it along, and sharing it


def test_a_conversation_can_be_taken_along(lecture: MaterialVersion, sam: Member, signed_in: Any) -> None:
    talk = begin(sam, f"=1+1 {QUESTION}")
    run_tasks()
    client = signed_in(sam.user)
    markdown = client.post(url("export-conversation", talk.pk, "md"), follow=True)
    text = b"".join(markdown.streaming_content).decode()
    assert ONCE in text
    assert "/c/cs-101/materials/" in text
    assert "default" not in markdown["Content-Disposition"]
    loaded = json.loads(b"".join(client.post(url("export-conversation", talk.pk, "json"), follow=True)))
    (asked, answered) = loaded["messages"]
    assert asked["text"] == f"=1+1 {QUESTION}"
    quotation = answered["quotations"][0]
    text = MaterialVersion.objects.get(number=quotation["version"]).text
    assert text[quotation["start"] : quotation["end"]] == quotation["quote"]
    rows = list(
        csv.reader(io.StringIO(b"".join(client.post(url("export-conversation", talk.pk, "csv"), follow=True)).decode()))
    )
    assert rows[1][3] == f"'=1+1 {QUESTION}"
    assert any(ONCE in cell for row in rows for cell in row)
    assert client.post(url("export-conversation", talk.pk, "pdf")).status_code == 404


def test_a_conversation_becomes_a_thread_only_when_its_owner_posts_it(
    lecture: MaterialVersion, sam: Member, signed_in: Any
) -> None:
    talk = begin(sam)
    run_tasks()
    client = signed_in(sam.user)
    ask = reverse("forum:ask", args=["cs-101"])
    forum_actions.save_draft(by=sam, thread=None, post=None, fields={"title": "Half a question", "body": "Hm"})
    opened = client.get(f"{ask}?from=conversation:{talk.pk}")
    form = opened.context["form"]
    assert form["title"].value() == QUESTION
    assert ONCE in form["body"].value()
    # What was being written before isn't lost from sight.
    assert "Half a question" in opened.content.decode()
    assert not Thread.objects.exists()
    before = points.standing(sam).total
    data = {
        "title": QUESTION, "body": form["body"].value() + "\n\nIs that so?", "kind": "question", "visibility": "course",
        "anonymity": "named", "origin": form["origin"].value(), "form_key": form["form_key"].value(),
    }  # fmt: skip
    assert client.post(ask, data).status_code == 302
    talk.refresh_from_db()
    assert talk.thread == Thread.objects.get()
    assert "Shared as" in client.get(url("conversation", talk.pk)).content.decode()
    # 2 for the question, 15 for sharing; deleting the thread takes both.
    assert points.standing(sam).total - before == 17
    assert {entry.reason for entry in points.whole_ledger(sam)} == {points.Reason.QUESTION, points.Reason.SHARED}
    forum_actions.delete_thread(by=sam, thread=talk.thread)
    assert points.standing(sam).total == before
    assert "Shared as" not in client.get(url("conversation", talk.pk)).content.decode()


def test_nobody_claims_the_conversation_of_somebody_else(lecture: MaterialVersion, sam: Member, noor: Member) -> None:
    talk = begin(sam)
    for origin in (f"conversation:{talk.pk}", "conversation:x", "conversation:", "nonsense", "question:x"):
        draft = forum_actions.ThreadDraft(title="A question", body="Something", origin=origin)
        forum_actions.start_thread(by=noor, draft=draft, form_key=uuid.uuid4())
    talk.refresh_from_db()
    assert talk.thread is None
    assert points.standing(noor).total == 10


def test_a_long_conversation_is_cut_to_what_a_post_holds(
    lecture: MaterialVersion, sam: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=1000)
    talk = begin(sam, "First of all? " + "a" * 3500)
    run_tasks()
    for letter in "bcd":
        actions.ask(by=sam, conversation=talk, text=letter * 3500, form_key=uuid.uuid4())
        run_tasks()
    prefill = exporting.as_thread(talk, shown(sam, access.messages_of(sam, talk)))
    assert len(prefill["body"]) <= MAX_BODY
    assert prefill["body"].startswith(exporting.LEFT_OUT)
    assert "d" * 3500 in prefill["body"]
    assert len(prefill["title"]) <= 200


@pytest.mark.parametrize(("text", "title"), [("Hm?", ""), ("x" * 250, "x" * 199 + "…"), (" a  title ", "a title")])
def test_a_title_fits_a_thread(text: str, title: str) -> None:
    assert exporting.as_title(text) == title


def test_an_unknown_origin_opens_the_page_as_ever(sam: Member, signed_in: Any) -> None:
    forum_actions.save_draft(by=sam, thread=None, post=None, fields={"title": "Half a question", "body": "Hm"})
    page = signed_in(sam.user).get(f"{reverse('forum:ask', args=['cs-101'])}?from=conversation:{uuid.uuid4()}")
    assert page.context["form"]["title"].value() == "Half a question"
    assert Draft.objects.exists()


# Together


@pytest.fixture
def jobs_go(transactional_db: None) -> Iterator[None]:
    """Leave no jobs behind: the tables of the queue aren't emptied with ours."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM procrastinate_jobs")


@pytest.mark.django_db(transaction=True)
def test_two_tabs_at_once_ask_once(jobs_go: None) -> None:
    world = factories.make_world()
    sam = world.member("sam")
    key, failures = uuid.uuid4(), []

    def press() -> None:
        try:
            actions.start_conversation(by=sam, text=QUESTION, form_key=key)
        except Exception as error:
            failures.append(error)
        finally:
            connection.close()

    pressing = [threading.Thread(target=press) for _ in range(4)]
    for thread in pressing:
        thread.start()
    for thread in pressing:
        thread.join()
    assert failures == []
    assert Conversation.objects.count() == 1
    assert Message.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_the_limit_holds_for_many_at_once(jobs_go: None) -> None:
    world = factories.make_world()
    sam = world.member("sam")
    InstitutionAI.objects.create(institution=sam.course.institution, asks_per_hour=3)
    refused = []

    def press(number: int) -> None:
        try:
            actions.start_conversation(by=sam, text=f"Question number {number}?", form_key=uuid.uuid4())
        except Refused as refusal:
            refused.append(refusal)
        finally:
            connection.close()

    pressing = [threading.Thread(target=press, args=[number]) for number in range(8)]
    for thread in pressing:
        thread.start()
    for thread in pressing:
        thread.join()
    assert len(refused) == 5
    assert Conversation.objects.count() == 3


def test_strangers_are_asked_to_sign_in(lecture: MaterialVersion, sam: Member) -> None:
    talk = begin(sam)
    for address in (url("conversation", talk.pk), url("message-stream", reply_in(talk).pk), reverse("ai:overview")):
        assert Client().get(address).status_code == 302
