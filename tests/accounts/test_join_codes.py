"""Codes with which people join a course by themselves."""

import re
import threading
from collections.abc import Callable
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, connection, connections, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import actions
from accounts.access import Member, Refused, find_join_code
from accounts.models import CODE_LETTERS, AuditEvent, Enrollment, JoinCode, User
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
CODE_PAGE = "/c/cs-101/course/join-code/"


@pytest.fixture
def lena(world: World) -> User:
    """Somebody of the institution who is in no course."""
    return factories.make_user(world.institution, "lena")


@pytest.fixture
def code(ada: Member) -> JoinCode:
    return actions.make_join_code(by=ada)


def join(client: Client, code: JoinCode) -> str:
    return client.post(f"/join/{code.code}/", follow=True).content.decode()


# Joining


def test_somebody_types_the_code_sees_the_course_and_joins(
    world: World, signed_in: SignIn, lena: User, ada: Member
) -> None:
    code = actions.make_join_code(by=ada, settings={"section": "Mon"})
    client = signed_in(lena)
    assert "Join with a code" in client.get("/courses/").content.decode()
    typed = f" {code.code[:4].lower()} - {code.code[4:].lower()} "
    page = client.post("/join/", {"code": typed}, follow=True)
    assert page.redirect_chain == [(f"/join/{code.code}/", 302)]
    assert "CS-101 Course cs-101" in page.content.decode()
    assert "in Mon" in page.content.decode()
    assert not Enrollment.objects.filter(user=lena).exists()
    assert "Welcome to CS-101." in join(client, code)
    row = Enrollment.objects.get(user=lena)
    assert (row.role, row.status, row.section) == ("student", "active", "Mon")
    event = AuditEvent.objects.get(verb="enrollment.joined")
    assert (event.actor, event.course, event.target_id) == (lena, world.course, row.pk)
    # Twice is harmless, and counts once.
    assert "You are in this course" in client.get(f"/join/{code.code}/").content.decode()
    assert "Welcome" in join(client, code)
    assert Enrollment.objects.filter(user=lena).count() == 1
    code.refresh_from_db()
    assert code.uses == 1


def test_a_stranger_signs_in_and_comes_back_to_the_code(lena: User, code: JoinCode) -> None:
    client = Client()
    sign_in = client.get(f"/join/{code.code}/")["Location"]
    assert unquote(sign_in) == f"/sign-in/?next=/join/{code.code}/"
    form = {"email": lena.email, "password": factories.PASSWORD, "next": f"/join/{code.code}/"}
    assert "Join this course?" in client.post("/sign-in/", form, follow=True).content.decode()


def test_nobody_learns_why_a_code_does_not_work(
    world: World, signed_in: SignIn, lena: User, code: JoinCode, ada: Member
) -> None:
    elsewhere = actions.make_join_code(by=world.member("eve", world.foreign_course))
    expired = actions.make_join_code(by=world.member("pat", world.other_course))
    JoinCode.objects.filter(pk=expired.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    revoked = code
    live = actions.make_join_code(by=ada)
    spent = JoinCode.objects.create(
        institution=world.institution, course=factories.make_course(world.institution, "full"), code="SPENT234",
        max_uses=1, uses=1,
    )  # fmt: skip
    client = signed_in(lena)

    def said(tried: str) -> set[tuple[int, str]]:
        answers = set()
        for response in (
            client.post("/join/", {"code": tried}),
            client.get(f"/join/{tried}/"),
            client.post(f"/join/{tried}/"),
        ):
            text = response.content.decode()
            text = text[text.index("<main") :].replace(tried, "CODE")
            answers.add((response.status_code, re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", text)))
        return answers

    expected = said("NNNNNNNN")
    assert {status for status, _ in expected} == {422, 404}
    for wrong in (elsewhere.code, expired.code, revoked.code, spent.code):
        assert said(wrong) == expected
    for odd in ("x", "", "\x00" * 8, "ÄÖÜÄÖÜÄÖ", "12345678 9", "a" * 500):
        assert find_join_code(lena, odd) is None
        assert client.post("/join/", {"code": odd}).status_code == 422
    assert find_join_code(lena, live.code) == live
    assert not Enrollment.objects.filter(user=lena).exists()


def test_whom_staff_dropped_does_not_come_back_by_code(world: World, signed_in: SignIn, code: JoinCode) -> None:
    client = signed_in(world.user("dana"))
    page = client.post(f"/join/{code.code}/")
    assert page.status_code == 409
    assert "staff have taken you out. Ask them to add you again" in page.content.decode()
    assert Enrollment.objects.get(user=world.user("dana")).status == "dropped"


def test_who_is_in_the_course_stays_what_they_are(world: World, signed_in: SignIn, code: JoinCode) -> None:
    Enrollment.objects.filter(user=world.user("sam")).update(is_banned=True, ban_reason="Insults")
    before = list(Enrollment.objects.order_by("pk").values())
    for name in ("ada", "tim", "sam", "carl"):
        assert "Welcome" in join(signed_in(world.user(name)), code)
    assert list(Enrollment.objects.order_by("pk").values()) == before
    # They are led there also by a code that nobody else can use any more.
    JoinCode.objects.update(revoked_at=timezone.now())
    assert "Welcome" in join(signed_in(world.user("sam")), code)


def test_an_archived_course_takes_nobody(world: World, signed_in: SignIn, lena: User, code: JoinCode) -> None:
    factories.archive(world.course)
    client = signed_in(lena)
    assert "archived: nobody can join it any more" in client.get(f"/join/{code.code}/").content.decode()
    assert client.post(f"/join/{code.code}/").status_code == 409
    assert not Enrollment.objects.filter(user=lena).exists()


def test_the_action_asks_again_what_the_door_asked(world: World, lena: User, code: JoinCode) -> None:
    with pytest.raises(Refused):
        actions.join_course(by=world.user("eve"), code=code)
    JoinCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(Refused):
        actions.join_course(by=lena, code=code)


@pytest.mark.django_db(transaction=True)
def test_the_last_place_is_taken_once() -> None:
    world = factories.make_world()
    code = actions.make_join_code(by=world.member("ada"), settings={"max_uses": 1})
    people = [factories.make_user(world.institution, f"p{n}") for n in range(3)]
    start = threading.Barrier(4)
    results: list[str] = []

    def work(user: User) -> None:
        try:
            start.wait(timeout=10)
            results.append(str(actions.join_course(by=user, code=code).user_id))
        except Refused as refusal:
            results.append(str(refusal))
        finally:
            connections.close_all()

    # One of them clicks twice.
    workers = [threading.Thread(target=work, args=(user,)) for user in (*people, people[0])]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert Enrollment.objects.filter(user__in=people).count() == 1
    assert len(results) == 4
    code.refresh_from_db()
    assert (code.uses, code.problem) == (1, "It has been used as often as you allowed.")


# The course's page


def test_instructors_make_limit_rotate_and_switch_off(world: World, signed_in: SignIn, lena: User) -> None:
    client = signed_in(world.user("ada"))
    assert "The course has no code now" in client.get(CODE_PAGE).content.decode()
    client.post(CODE_PAGE, {"new": "1"})
    first = JoinCode.objects.get()
    page = client.get(CODE_PAGE).content.decode()
    assert f"{first.code[:4]}-{first.code[4:]}" in page
    assert f"/join/{first.code}/" in page
    assert 'src="data:image/svg+xml' in page
    assert set(first.code) <= set(CODE_LETTERS)
    assert not set("01OIL") & set(CODE_LETTERS)
    until = timezone.now() + timedelta(days=3)
    form = {"section": " Mon  early ", "expires_at": f"{until:%Y-%m-%dT%H:%M}", "max_uses": "30"}
    assert "Saved." in client.post(CODE_PAGE, form, follow=True).content.decode()
    first.refresh_from_db()
    assert (first.section, first.max_uses) == ("Mon early", 30)
    assert first.expires_at is not None
    # A new one stops the old one at once, and keeps its limits.
    assert "the old one no longer" in client.post(CODE_PAGE, {"new": "1"}, follow=True).content.decode()
    second = JoinCode.objects.live().get()
    assert (second.section, second.max_uses, second.expires_at) == ("Mon early", 30, first.expires_at)
    assert (find_join_code(lena, first.code), find_join_code(lena, second.code)) == (None, second)
    client.post(CODE_PAGE, {"off": "1"})
    assert find_join_code(lena, second.code) is None
    verbs = AuditEvent.objects.filter(verb__startswith="join_code").order_by("pk").values_list("verb", flat=True)
    assert list(verbs) == ["join_code.made", "join_code.limited", "join_code.rotated", "join_code.switched_off"]
    page_after = client.post(CODE_PAGE, {"off": "1"})
    assert page_after.status_code == 409
    assert "somebody has switched it off" in page_after.content.decode()


def test_limits_that_make_no_sense_are_said_and_kept(
    world: World, signed_in: SignIn, code: JoinCode, lena: User
) -> None:
    actions.join_course(by=lena, code=code)
    factories.make_user(world.institution, "omar")
    actions.join_course(by=User.objects.get(email="omar@example.edu"), code=code)
    client = signed_in(world.user("ada"))
    past = f"{timezone.now() - timedelta(days=1):%Y-%m-%dT%H:%M}"
    for sent, status, said in (
        ({"expires_at": past}, 422, "This time has passed"), ({"max_uses": "0"}, 422, "greater than or equal to 1"),
        ({"max_uses": "x"}, 422, "whole number"), ({"max_uses": "1"}, 409, "used 2 times already"),
        ({"section": "x" * 41}, 422, "at most 40"),
    ):  # fmt: skip
        page = client.post(CODE_PAGE, sent)
        assert (page.status_code, said in page.content.decode()) == (status, True)
        assert str(next(iter(sent.values()))) in page.content.decode()
    JoinCode.objects.update(expires_at=timezone.now() - timedelta(days=1))
    page = client.get(CODE_PAGE)
    assert "Nobody can join with it now. It has expired." in page.content.decode()
    assert page.context["qr"] == ""
    # A code that has run out isn't made anew with a time that has passed.
    assert actions.make_join_code(by=world.member("ada")).problem == ""
    assert JoinCode.objects.exclude(revoked_at=None).get().problem == "It is switched off."


@pytest.mark.parametrize("act", ["new", "off", "section"])
def test_tas_show_the_code_and_do_not_change_it(world: World, signed_in: SignIn, code: JoinCode, act: str) -> None:
    client = signed_in(world.user("tim"))
    page = client.get(CODE_PAGE).content.decode()
    assert code.spelled in page
    assert "Make a new code" not in page
    assert client.post(CODE_PAGE, {act: "1"}).status_code == 403
    factories.archive(world.course)
    assert signed_in(world.user("ada")).post(CODE_PAGE, {act: "1"}).status_code == 403
    assert list(JoinCode.objects.live()) == [code]


def test_outside_the_staff_there_is_no_code(world: World, signed_in: SignIn, code: JoinCode) -> None:
    assert signed_in(world.user("sam")).get(CODE_PAGE).status_code == 403
    assert signed_in(world.user("pat")).get(CODE_PAGE).status_code == 404
    assert code.spelled not in signed_in(world.user("eve")).get(CODE_PAGE).content.decode()
    assert Client().get(CODE_PAGE).status_code == 302
    for member in (world.member("sam"), world.member("tim")):
        with pytest.raises(PermissionDenied):
            actions.make_join_code(by=member)
        with pytest.raises(PermissionDenied):
            actions.switch_off_join_code(by=member)
        with pytest.raises(PermissionDenied):
            actions.limit_join_code(by=member, section="", expires_at=None, max_uses=None)
    assert list(JoinCode.objects.of_course(world.member("sam"))) == []


def test_a_course_has_one_code_at_a_time(world: World, code: JoinCode) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        JoinCode.objects.create(institution=world.institution, course=world.course, code="AAAAAAAA")
    with pytest.raises(IntegrityError), transaction.atomic():
        JoinCode.objects.filter(pk=code.pk).update(max_uses=1, uses=2)
    assert str(code) == f"Join code of {world.course.pk}"


def test_the_pages_cost_the_same_in_a_small_and_a_large_course(
    world: World, signed_in: SignIn, code: JoinCode, lena: User
) -> None:
    def queries() -> list[int]:
        counted = []
        for user, url in ((world.user("ada"), CODE_PAGE), (lena, f"/join/{code.code}/")):
            client = signed_in(user)
            client.get(url)
            with CaptureQueriesContext(connection) as captured:
                client.get(url)
            counted.append(len(captured))
        return counted

    before = queries()
    for n in range(20):
        actions.join_course(by=factories.make_user(world.institution, f"p{n}"), code=code)
    assert queries() == before


# Guessing


def test_who_guesses_codes_waits_and_learns_nothing_meanwhile(
    world: World, signed_in: SignIn, lena: User, code: JoinCode
) -> None:
    client = signed_in(lena)
    tried = [client.post("/join/", {"code": f"NNNNNN{n:02}"}).status_code for n in range(10)]
    tried += [client.get(f"/join/NNNNNN{n:02}/").status_code for n in range(10)]
    assert tried == [422] * 10 + [404] * 10
    answers = [client.post("/join/", {"code": code.code}), client.get(f"/join/{code.code}/")]
    answers += [client.post(f"/join/{code.code}/"), client.post("/join/", {"code": "NNNNNNNN"})]
    for answer in answers:
        assert answer.status_code == 429
        assert 880 < int(answer.headers["Retry-After"]) <= 900
        assert "Too many codes were tried. Try again in 15 minutes." in answer.content.decode()
    assert not Enrollment.objects.filter(user=lena).exists()
    # Somebody else at the same address still comes in.
    assert "Welcome" in join(signed_in(factories.make_user(world.institution, "omar")), code)


def test_a_hall_may_join_from_one_address_and_not_guess(world: World, signed_in: SignIn, code: JoinCode) -> None:
    for n in range(120):
        person = factories.make_user(world.institution, f"p{n}")
        wait = actions.join_code_blocked(person, "192.0.2.7")
        assert wait == 0, n
    for _ in range(100):
        actions.note_wrong_join_code("192.0.2.7")
    person = factories.make_user(world.institution, "last")
    assert 880 < actions.join_code_blocked(person, "192.0.2.7") <= 900
    # What was refused by the address doesn't count against the person.
    assert [actions.join_code_blocked(person, "192.0.2.8") > 0 for _ in range(21)] == [False] * 20 + [True]


@pytest.mark.django_db(transaction=True)
def test_guesses_that_come_together_are_counted_one_by_one(world: World) -> None:
    lena = factories.make_user(world.institution, "lena")
    passed: list[bool] = []

    def guess() -> None:
        passed.extend(actions.join_code_blocked(lena, "192.0.2.7") == 0 for _ in range(5))
        connections.close_all()

    threads = [threading.Thread(target=guess) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(passed) == [False] * 20 + [True] * 20
