"""The page of answers that need staff, and doing one thing to many."""

import uuid
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from accounts.access import Member, Refused
from accounts.models import AuditEvent, User
from ai_answers import actions
from ai_answers.models import Answer, AnswerEndorsement, AnswerFeedback, AnswerStatus, Citation
from forum.queue import queue
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
REVIEW = "/c/cs-101/answers/review/"


@pytest.fixture
def answers(sam: Member, tim: Member) -> list[Answer]:
    return [factories.make_answer(sam, tim) for _ in range(3)]


def be(answer: Answer, status: str, **fields: object) -> Answer:
    """Let an answer be in a status with its quotations, however it would come to it."""
    citations = list(answer.citations.all())
    body = {"body": answer.body, "body_html": answer.body_html, "confidence": answer.confidence}
    new = factories.put_answer(answer.thread, status, **(body | fields))
    Citation.objects.bulk_create(
        Citation(
            institution_id=new.institution_id, answer=new, number=c.number, version_id=c.version_id,
            passage_id=c.passage_id, start=c.start, end=c.end, quote=c.quote,
        )
        for c in citations
    )  # fmt: skip
    return new


def dislike(answer: Answer, *people: Member) -> None:
    for person in people:
        actions.give_feedback(by=person, answer=answer, helpful=False)


def test_it_lists_what_needs_somebody_the_most_urgent_first(
    answers: list[Answer], world: World, signed_in: SignIn, sam: Member, noor: Member, tim: Member
) -> None:
    draft, unsure = be(answers[0], "draft"), be(answers[1], "published", confidence=0.3)
    dislike(answers[2], sam, noor)
    client = signed_in(world.user("tim"))
    page = client.get(REVIEW)
    assert [row[0] for row in page.context["rows"]] == [answers[2], draft, unsure]
    text = page.content.decode()
    for reason in (
        "a draft of the AI waits for you",
        "readers find the AI’s answer unhelpful",
        "not sure of its answer",
    ):
        assert reason in text
    actions.ask_person(by=noor, answer=unsure, on=True)
    assert [row[0] for row in client.get(REVIEW).context["rows"]] == [unsure, answers[2], draft]
    reasons = {entry.thread_id: {reason.text for reason in entry.urgency.reasons} for entry in queue(tim)}
    assert "a draft of the AI waits for you" in reasons[draft.thread_id]
    assert "readers find the AI’s answer unhelpful" in reasons[answers[2].thread_id]


def test_its_filters_show_one_kind(answers: list[Answer], world: World, signed_in: SignIn) -> None:
    draft, failed = be(answers[0], "draft"), be(answers[1], "failed")
    client = signed_in(world.user("tim"))

    def shown(show: str) -> list[Answer]:
        return [row[0] for row in client.get(f"{REVIEW}?show={show}").context["rows"]]

    assert shown("drafts") == [draft]
    assert shown("failed") == [failed]
    assert shown("unreviewed") == [answers[2]]
    assert shown("withdrawn") == []
    assert shown("nonsense") == shown("all") == [draft]
    Answer.objects.all().delete()
    assert "No answer of the AI needs you here" in client.get(REVIEW).content.decode()


def test_many_are_endorsed_published_or_withdrawn_at_once(
    answers: list[Answer], world: World, signed_in: SignIn
) -> None:
    client = signed_in(world.user("tim"))
    drafts = [be(answer, "draft") for answer in answers]
    keys = [str(draft.pk) for draft in drafts]
    assert client.post(f"{REVIEW}?show=drafts", {"act": "publish", "answers": keys[:2]})["Location"].endswith(
        "show=drafts"
    )
    assert set(Answer.objects.filter(pk__in=keys[:2]).values_list("status", flat=True)) == {"published"}
    client.post(REVIEW, {"act": "endorse", "answers": keys})
    assert AnswerEndorsement.objects.filter(endorser=world.user("tim")).count() == 3
    page = client.post(REVIEW, {"act": "withdraw", "answers": keys, "reason": "off_topic"}, follow=True)
    assert "3 answers withdrawn." in page.content.decode()
    assert AuditEvent.objects.filter(verb="answer.withdrawn").count() == 3
    assert set(Answer.objects.values_list("withdrawal_reason", flat=True)) == {"off_topic"}


def test_when_one_refuses_none_is_changed_and_ticks_stay(
    answers: list[Answer], world: World, signed_in: SignIn
) -> None:
    client = signed_in(world.user("tim"))
    draft = be(answers[0], "draft")
    keys = [str(draft.pk), str(answers[1].pk)]
    page = client.post(f"{REVIEW}?show=unreviewed", {"act": "publish", "answers": keys})
    assert page.status_code == 409
    text = page.content.decode()
    assert (
        f"Nothing was changed. The answer to #{answers[1].thread.number} can’t be published: it is published." in text
    )
    assert f'value="{answers[1].pk}" checked' in text
    draft.refresh_from_db()
    assert draft.status == AnswerStatus.DRAFT
    for data, said in (
        ({"act": "endorse"}, "Tick the answers"),
        ({"act": "endorse", "answers": ["x", str(uuid.uuid4())]}, "replaced or moved"),
        ({"act": "endorse", "answers": [str(uuid.uuid4()) for _ in range(101)]}, "up to 100"),
    ):
        response = client.post(REVIEW, data)
        assert response.status_code == 409
        assert said in response.content.decode()
    for data in ({"act": "withdraw", "answers": keys}, {"act": "burn", "answers": keys}, {}):
        assert client.post(REVIEW, data).status_code == 422


def test_it_is_for_staff_of_the_course(answers: list[Answer], world: World, signed_in: SignIn, sam: Member) -> None:
    for name, status in (("sam", 403), ("pat", 404), ("dana", 404)):
        client = signed_in(world.user(name))
        assert client.get(REVIEW).status_code == status
        data = {"act": "endorse", "answers": [str(answers[0].pk)]}
        assert client.post(REVIEW, data).status_code == status
    eve = signed_in(world.user("eve"))  # her course has the same name
    assert not eve.get(f"{REVIEW}?show=unreviewed").context["rows"]
    assert eve.post(REVIEW, {"act": "endorse", "answers": [str(answers[0].pk)]}).status_code == 409
    pat = world.member("pat", world.other_course)
    with pytest.raises(Refused, match="replaced or moved"):
        actions.do_to_answers(by=pat, keys={answers[0].pk}, act=actions.REVIEW_ACTS["endorse"])
    with pytest.raises(PermissionDenied):
        actions.do_to_answers(by=sam, keys={answers[0].pk}, act=actions.REVIEW_ACTS["endorse"])
    assert not AnswerEndorsement.objects.exists()


def test_an_archived_course_shows_it_without_buttons(answers: list[Answer], world: World, signed_in: SignIn) -> None:
    factories.archive(world.course)
    client = signed_in(world.user("tim"))
    assert "Do it" not in client.get(f"{REVIEW}?show=unreviewed").content.decode()
    assert client.post(REVIEW, {"act": "endorse", "answers": [str(answers[0].pk)]}).status_code == 403


def test_who_asked_and_who_disliked_it_stands_nowhere(
    tim: Member, sam: Member, noor: Member, world: World, signed_in: SignIn
) -> None:
    factories.make_material(tim)
    thread = factories.make_thread(sam, "When is a default parameter value evaluated?", anonymity="all")
    answer = Answer.objects.get(thread=thread)
    actions.generate_answer(answer.pk)
    dislike(answer, sam, noor)
    actions.ask_person(by=sam, answer=answer, on=True)
    client = signed_in(world.user("tim"))
    for address in (REVIEW, f"/c/cs-101/{thread.number}/answer/history/"):
        page = client.get(address).content.decode()
        assert "Surname-sam" not in page
        assert "Surname-noor" not in page


def test_it_costs_the_same_at_one_and_at_many(
    sam: Member, noor: Member, tim: Member, world: World, signed_in: SignIn
) -> None:
    client = signed_in(world.user("tim"))

    def cost() -> int:
        with CaptureQueriesContext(connection) as queries:
            assert client.get(f"{REVIEW}?show=unreviewed").status_code == 200
        return len(queries)

    answer = factories.make_answer(sam, tim)
    AnswerFeedback.objects.create(institution=answer.institution, answer=answer, reader=noor.user, is_helpful=False)
    cost()
    one = cost()
    for _ in range(12):
        factories.make_answer(sam, tim)
    assert cost() == one
    assert reverse("ai_answers:review", args=["cs-101"]) == REVIEW
