"""Confidence is a probability that holds: features, prior, calibration, and the page that shows how far it can be trusted."""

import random
import uuid
from collections.abc import Callable

import pytest
from django.test import Client

from accounts.access import Member, Refused
from accounts.models import AuditEvent, Course, User
from ai_answers import actions, confidence, tasks
from ai_answers.actions.confidence import probability_of
from ai_answers.confidence import Level
from ai_answers.models import Answer, Calibration, WithdrawalReason
from forum.models import Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
PAGE = "/c/cs-101/answers/confidence/"


def test_features_are_shares() -> None:
    found = confidence.features(answerable=1.7, scores=[4.0, 1.0], statements=4, citations=9, unsupported=1, dropped=1)
    assert found == {"answerable": 1.0, "margin": 0.75, "citations": 1.0, "unsupported": 0.25, "dropped": 0.2}
    nothing = confidence.features(answerable=0, scores=[], statements=0, citations=0, unsupported=0, dropped=0)
    assert set(nothing.values()) == {0.0}


def test_the_prior_says_what_it_is_documented_to_say() -> None:
    assert confidence.probability(confidence.score({"answerable": 0.5}), "prior", {}) == pytest.approx(0.52, abs=0.01)
    assert confidence.probability(confidence.score({"answerable": 1.0}), "prior", {}) == pytest.approx(0.75, abs=0.01)
    better, worse = confidence.score({"answerable": 0.8}), confidence.score({"answerable": 0.8, "unsupported": 1.0})
    assert better > worse


def test_the_words_have_one_meaning() -> None:
    assert [confidence.level(p) for p in (0.75, 0.7499, 0.5, 0.4999)] == [
        Level.HIGH, Level.MEDIUM, Level.MEDIUM, Level.LOW,
    ]  # fmt: skip
    assert "75%" in confidence.MEANING[Level.HIGH]


def test_calibrations_are_told_again_from_their_parameters() -> None:
    assert confidence.probability(0.0, "platt", {"slope": 2.0, "offset": 0.0}) == 0.5
    steps = {"scores": [0.0, 1.0], "probabilities": [0.2, 0.6]}
    said = [confidence.probability(x, "isotonic", steps) for x in (-5.0, 0.0, 0.5, 1.0, 5.0)]
    assert said == pytest.approx([0.2, 0.2, 0.4, 0.6, 0.6])
    assert confidence.probability(1e9, "prior", {}) == pytest.approx(1.0)


def test_errors_are_measured() -> None:
    said, outcomes = [0.05, 0.95, 0.95, 1.0], [False, True, True, False]
    bins = confidence.reliability(said, outcomes)
    assert [(row.start, row.count) for row in bins] == [(0.0, 1), (0.9, 3)]
    assert confidence.calibration_error(bins) == pytest.approx((0.05 + 3 * abs(2.9 / 3 - 2 / 3)) / 4, abs=1e-3)
    assert confidence.brier([1.0, 0.0], [True, True]) == 0.5
    assert confidence.brier([], []) == confidence.calibration_error([]) == 0.0


def judge(by: Member, count: int, *, course: Course | None = None, seed: int = 1) -> None:
    """Let `count` answers be judged; of those with a coverage of x, a share of x² is good."""
    draw = random.Random(seed)
    course = course or by.course
    threads = [
        Thread(
            institution_id=course.institution_id,
            course=course,
            number=1000 + n,
            title=f"Question {n}",
            body="?",
            submission_key=uuid.uuid4(),
        )
        for n in range(count)
    ]
    Thread.objects.bulk_create(threads)
    rows = []
    for thread in threads:
        coverage = draw.random()
        good = draw.random() < coverage**2
        rows.append(
            Answer(
                institution_id=course.institution_id, thread=thread, status="edited" if good else "withdrawn",
                features={"answerable": coverage}, edit_distance=0.1 if good else None,
                withdrawal_reason="" if good else "wrong",
            )
        )  # fmt: skip
    Answer.objects.bulk_create(rows)


def test_what_people_judged_is_known(sam: Member, tim: Member, noor: Member, world: World) -> None:
    answers = [factories.make_answer(sam, tim) for _ in range(6)]
    endorsed, little, much, wrong, disliked, alone = answers
    actions.set_answer_endorsement(by=tim, answer=endorsed, on=True)
    for answer, body in ((little, little.body + " Yes."), (much, "All of this is said otherwise by us [1]. " * 20)):
        actions.edit_answer(by=tim, answer=answer, body=body, seen=actions.edit_token(answer))
    actions.withdraw_answer(by=tim, answer=wrong, reason=WithdrawalReason.WRONG)
    for reader in (sam, noor):
        actions.give_feedback(by=reader, answer=disliked, helpful=False)
    judged = {answer.pk: answer.was_good for answer in Answer.objects.judged()}
    assert judged == {endorsed.pk: True, little.pk: True, much.pk: False, wrong.pk: False, disliked.pk: False}
    assert alone.pk not in judged


def test_too_little_is_not_learned_from(ada: Member, world: World, signed_in: SignIn) -> None:
    judge(ada, 20)
    with pytest.raises(Refused, match="20 judged answers, of 50"):
        actions.refit_course(by=ada)
    assert actions.refit_all() == 0
    client = signed_in(world.user("ada"))
    assert "too little to learn from" in client.post(f"{PAGE}fit/", follow=True).content.decode()
    assert "weights chosen by hand" in client.get(PAGE).content.decode()


def test_it_learns_and_holds_what_it_says(ada: Member, world: World, signed_in: SignIn) -> None:
    judge(ada, 300)
    client = signed_in(world.user("ada"))
    page = client.post(f"{PAGE}fit/", follow=True).content.decode()
    assert "Learned from 300 judged answers" in page
    assert 'aria-labelledby="reliability-title' in page
    fitted = Calibration.objects.get()
    assert (fitted.method, fitted.course, fitted.judged) == ("platt", world.course, 300)
    assert fitted.brier is not None
    assert fitted.calibration_error is not None
    assert fitted.brier < 0.2
    assert fitted.calibration_error < 0.1
    # The prior was far too sure of poor answers; what was fitted isn't.
    poor = {"answerable": 0.2}
    assert probability_of(poor, None) > 0.35
    assert probability_of(poor, fitted) < 0.2
    assert AuditEvent.objects.filter(verb="calibration.fitted", actor=world.user("ada")).count() == 1
    assert str(fitted) == "Platt scaling from 300"


def test_with_many_judgements_a_rising_curve_is_fitted(ada: Member) -> None:
    judge(ada, 1000)
    fitted = actions.refit_course(by=ada)
    assert fitted.method == "isotonic"
    said = [probability_of({"answerable": x / 10}, fitted) for x in range(11)]
    assert said == sorted(said)
    assert said[10] > 0.7
    assert said[2] < 0.3
    assert fitted.calibration_error is not None
    assert fitted.calibration_error < 0.08


def test_a_course_without_judgements_uses_its_institutions_and_no_others(
    ada: Member, world: World, sam: Member, tim: Member
) -> None:
    judge(world.member("pat", world.other_course), 60)
    tasks.refit_calibrations.func(timestamp=0)
    assert {row.course for row in Calibration.objects.all()} == {None, world.other_course}
    found = actions.calibration_for(world.course)
    assert found is not None
    assert found.course is None
    assert actions.calibration_for(world.foreign_course) is None
    answer = factories.make_answer(sam, tim)
    assert answer.calibration == found
    assert answer.confidence == pytest.approx(probability_of(answer.features, found))
    judge(ada, 60)
    actions.refit_course(by=ada)
    again = actions.calibration_for(world.course)
    assert again is not None
    assert again.course == world.course


def test_readers_see_the_word_and_what_it_means(world: World, signed_in: SignIn, sam: Member, tim: Member) -> None:
    answer = factories.make_answer(sam, tim)
    page = signed_in(world.user("sam")).get(answer.thread.get_absolute_url()).content.decode()
    assert f"Confidence: {answer.level}" in page
    assert f"{answer.meaning[0].upper()}{answer.meaning[1:]}; an estimate" in page
    assert Answer(confidence=None).level is None
    assert Answer(confidence=None).meaning == ""


def test_the_page_is_for_staff_of_the_course(world: World, signed_in: SignIn) -> None:
    for name, seen, fitted in (("tim", 200, 403), ("sam", 403, 403), ("pat", 404, 404), ("dana", 404, 404)):
        client = signed_in(world.user(name))
        assert client.get(PAGE).status_code == seen
        assert client.post(f"{PAGE}fit/").status_code == fitted


def test_another_institutions_judgements_are_nothing_to_it(ada: Member, world: World, signed_in: SignIn) -> None:
    judge(ada, 60)
    page = signed_in(world.user("eve")).get(PAGE).content.decode()  # her course has the same name
    assert "0 answers of this course are judged" in page
