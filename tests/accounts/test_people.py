"""Signing in and out, settings, pictures."""

import uuid
from collections.abc import Callable

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.http import Http404
from django.test import Client
from django.urls import reverse

from accounts import access
from accounts import actions as account_actions
from accounts.access import Member, Refused
from accounts.models import AuditEvent, Course, Enrollment, Institution, Purpose, Role, Upload, User
from quokkaq.lib.inspecting import Rejection
from quokkaq.lib.inspecting import sentence as sentence_for
from quokkaq.lib.storage import store
from tests import factories
from tests.factories import PASSWORD, World
from tests.tasks import run_tasks

SignIn = Callable[[User], Client]


def credentials(**changes: str) -> dict[str, str]:
    return {"email": "sam@example.edu", "password": PASSWORD} | changes


# Signing in


def test_signing_in_leads_to_my_courses_and_out_again(world: World) -> None:
    client = Client()
    assert client.get("/")["Location"] == "/courses/"
    response = client.post("/sign-in/", credentials(email=" SAM@Example.edu "), follow=True)
    assert "CS-101" in response.content.decode()
    assert client.get("/sign-in/")["Location"] == "/courses/"
    assert "signed out" in client.post("/sign-out/", follow=True).content.decode()
    assert client.get("/courses/").status_code == 302


@pytest.mark.parametrize(
    "changes", [{"password": "wrong"}, {"email": "nobody@example.edu"}, {"email": "sam@example.edu", "password": "x"}]
)
def test_every_wrong_sign_in_says_the_same(world: World, changes: dict[str, str]) -> None:
    response = Client().post("/sign-in/", credentials(**changes))
    page = response.content.decode()
    assert response.status_code == 422
    assert "This e-mail and password don’t match" in page.replace("&#x27;", "’")
    assert changes.get("email", "sam@example.edu") in page
    assert PASSWORD not in page


def test_an_incomplete_sign_in_says_what_is_missing(world: World) -> None:
    response = Client().post("/sign-in/", {"email": "no address"})
    assert response.status_code == 422
    assert b"Enter a valid email address." in response.content


def test_a_disabled_account_cannot_sign_in(world: World) -> None:
    User.objects.filter(email="sam@example.edu").update(is_active=False)
    assert Client().post("/sign-in/", credentials()).status_code == 422


@pytest.mark.parametrize(
    ("target", "lands"),
    [
        ("/c/cs-101/ask/", "/c/cs-101/ask/"),
        ("https://evil.example/", "/courses/"),
        ("//evil.example", "/courses/"),
        ("a-plain-word", "/courses/"),
        ("", "/courses/"),
    ],
)
def test_after_signing_in_one_lands_on_this_site_only(world: World, target: str, lands: str) -> None:
    assert Client().post("/sign-in/", credentials(next=target))["Location"] == lands


def test_demo_help_appears_in_demo_mode_only(world: World, settings: object) -> None:
    assert b"quokka-demo" not in Client().get("/sign-in/").content
    settings.DEMO = True  # type: ignore[attr-defined]
    assert b"quokka-demo" in Client().get("/sign-in/").content


# Courses


def test_my_courses_are_those_i_have_not_dropped(world: World, signed_in: SignIn) -> None:
    assert b"CS-101" in signed_in(world.user("carl")).get("/courses/").content
    assert b"Completed" in signed_in(world.user("carl")).get("/courses/").content
    assert b"aren\xe2\x80\x99t in a course" in signed_in(world.user("dana")).get("/courses/").content
    assert {c.slug for c in Course.objects.visible_to(world.user("sam"))} == {"cs-101"}
    assert list(Institution.objects.visible_to(world.user("eve"))) == [world.other_institution]


def test_a_membership_is_looked_up_in_one_query(
    world: World, django_assert_num_queries: Callable[[int], object]
) -> None:
    with django_assert_num_queries(1):  # type: ignore[attr-defined]
        member = access.get_member(world.user("tim"), "cs-101")
    assert (member.role, member.is_staff, member.may_write) == (Role.TA, True, True)
    with pytest.raises(Http404):
        access.get_member(world.user("dana"), "cs-101")


def test_roles_open_the_right_doors(world: World) -> None:
    sam, tim, carl = (world.member(name) for name in ("sam", "tim", "carl"))
    access.require_staff(tim)
    access.require_writer(sam)
    with pytest.raises(PermissionDenied):
        access.require_staff(sam)
    with pytest.raises(PermissionDenied):
        access.require_writer(carl)
    former_staff = Member(tim.user, tim.course, Role.TA, active=False)
    assert not former_staff.is_staff
    assert access.get_admin_member(world.user("tim"), world.course).role == Role.TA
    with pytest.raises(PermissionDenied):
        access.get_admin_member(world.user("tim"), world.other_course)
    operator = User.objects.create_superuser("op@example.org", "x", display_name="Op")
    assert access.get_admin_member(operator, world.course).role == Role.INSTRUCTOR
    assert Course.objects.run_by(operator).count() == 3
    assert set(Course.objects.run_by(world.user("tim"))) == {world.course}
    assert operator.institution.slug == "operators"
    second = User.objects.create_superuser("op2@example.org", "x", display_name="Op", institution=world.institution)
    assert second.institution == world.institution


def test_staff_see_who_is_in_their_course_and_what_happened(world: World, tim: Member) -> None:
    factories.make_material(tim)
    assert Enrollment.objects.visible_to(world.user("tim")).count() == 6
    assert Enrollment.objects.visible_to(world.user("sam")).count() == 1
    assert AuditEvent.objects.visible_to(world.user("ada")).exists()
    for name in ("sam", "pat", "eve"):
        assert not AuditEvent.objects.visible_to(world.user(name)).exists()


# Settings


def settings_form(**changes: str) -> dict[str, str]:
    return {
        "display_name": "Samantha",
        "pronouns": "they/them",
        "time_zone": "Europe/Berlin",
        "theme": "dark",
    } | changes


def test_settings_are_saved_and_used(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    page = client.post("/me/", settings_form(), follow=True).content.decode()
    assert "Your settings are saved." in page
    assert 'data-theme="dark"' in page
    sam = User.objects.get(email="sam@example.edu")
    assert (sam.display_name, sam.time_zone, sam.get_short_name()) == ("Samantha", "Europe/Berlin", "Samantha")
    assert AuditEvent.objects.get(verb="profile.updated").actor == sam
    factories.make_thread(world.member("sam"))
    assert " CE" in client.get("/c/cs-101/").content.decode()  # CET or CEST in the title of a time


@pytest.mark.parametrize(
    "changes", [{"display_name": ""}, {"time_zone": "Mars/Phobos"}, {"theme": "neon"}, {"pronouns": "x" * 41}]
)
def test_refused_settings_change_nothing(world: World, signed_in: SignIn, changes: dict[str, str]) -> None:
    response = signed_in(world.user("sam")).post("/me/", settings_form(**changes))
    assert response.status_code == 422
    assert User.objects.get(email="sam@example.edu").display_name == "Sam Surname-sam"


def test_a_student_cannot_make_themselves_more(world: World, signed_in: SignIn) -> None:
    extra = {
        "is_staff": "on",
        "is_superuser": "on",
        "email": "x@x.example",
        "institution": str(world.other_institution.pk),
        "role": "ta",
    }
    signed_in(world.user("sam")).post("/me/", settings_form(**extra))
    sam = User.objects.get(display_name="Samantha")
    assert (sam.is_staff, sam.is_superuser, sam.email, sam.institution) == (
        False,
        False,
        "sam@example.edu",
        world.institution,
    )


def send_picture(client: Client, content: bytes | None = None, name: str = "../../me.png") -> object:
    return client.post("/me/avatar/", {"files": SimpleUploadedFile(name, content or factories.picture(), "image/png")})


def test_a_picture_is_checked_shown_replaced_and_removed(
    world: World, signed_in: SignIn, django_capture_on_commit_callbacks: Callable[..., object]
) -> None:
    client = signed_in(world.user("sam"))
    url = reverse("accounts:avatar", args=[world.user("sam").pk])
    send_picture(client)
    assert "is being checked" in client.get("/me/").content.decode()
    assert signed_in(world.user("noor")).get(url).status_code == 404
    run_tasks()
    first = User.objects.get(email="sam@example.edu").avatar
    assert uuid.UUID(first.removeprefix("files/"))
    shown = signed_in(world.user("noor")).get(url)
    assert shown["Content-Type"] == "image/webp"
    assert b"".join(shown.streaming_content)[:4] == b"RIFF"  # type: ignore[attr-defined]
    assert signed_in(world.user("eve")).get(url).status_code == 404
    assert signed_in(world.user("pat")).get(url).status_code == 404
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[attr-defined]
        send_picture(client)
        run_tasks()
    assert store().head(first) is None
    assert User.objects.get(email="sam@example.edu").avatar != first
    page = client.get("/me/").content.decode()
    assert "Remove picture" in page
    assert "is being checked" not in page
    client.post("/me/avatar/", {"remove": "1"})
    assert User.objects.get(email="sam@example.edu").avatar == ""
    assert not Upload.objects.counted().exists()


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_pictures_the_one_chosen_last_is_shown(world: World, sam: Member, order: tuple[int, int]) -> None:
    first, second = (factories.sent_file(sam, f"{n}.png", factories.picture(), Purpose.AVATAR) for n in "12")
    for upload in (first, second):
        account_actions.choose_avatar(by=sam.user, upload=upload.pk)
    for number in order:
        account_actions.check_upload((first, second)[number].pk)
    sam.user.refresh_from_db()
    assert sam.user.avatar == f"files/{second.pk}"
    again = factories.checked_file(sam, "3.png", factories.picture(), Purpose.AVATAR)
    account_actions.choose_avatar(by=sam.user, upload=again.pk)
    sam.user.refresh_from_db()
    assert sam.user.avatar == f"files/{again.pk}"
    with pytest.raises(Refused, match="isn’t there"):
        account_actions.choose_avatar(by=world.user("noor"), upload=again.pk)


@pytest.mark.parametrize(
    ("content", "name", "sentence"),
    [
        (b"<svg/>", "a.svg", "don’t take files of this type"), (b"", "a.png", "Choose a picture first."),
        (b"x" * (5 * 1024 * 1024 + 1), "a.png", "is larger than 5 MB"),
    ],
)  # fmt: skip
def test_a_refused_picture_says_why(world: World, signed_in: SignIn, content: bytes, name: str, sentence: str) -> None:
    sent = {"files": SimpleUploadedFile(name, content)} if content else {}
    response = signed_in(world.user("sam")).post("/me/avatar/", sent)
    assert response.status_code == 422
    assert sentence in response.content.decode()
    assert User.objects.get(email="sam@example.edu").avatar == ""


def test_a_picture_that_is_none_is_refused_once_it_is_looked_into(world: World, signed_in: SignIn) -> None:
    client = signed_in(world.user("sam"))
    send_picture(client, b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    run_tasks()
    assert sentence_for(Rejection.MISMATCH) in client.get("/me/").content.decode()
    upload = Upload.objects.get()
    assert client.post("/me/avatar/", {"uploads": str(upload.pk)}).status_code == 422
    assert User.objects.get(email="sam@example.edu").avatar == ""


# What the database itself refuses, and small things


def test_the_database_refuses_what_makes_no_sense(world: World) -> None:
    refused: list[Callable[[], object]] = [
        lambda: User.objects.filter(email="sam@example.edu").update(email="SAM@example.edu"),
        lambda: User.objects.filter(email="sam@example.edu").update(display_name=""),
        lambda: Enrollment.objects.update(role="king"),
        lambda: Course.objects.update(status="lost"),
        lambda: factories.enroll(world.user("sam"), world.course),
    ]
    for act in refused:
        with pytest.raises(IntegrityError), transaction.atomic():
            act()


def test_small_things(world: World) -> None:
    sam = world.user("sam")
    assert sam.initials == "SS"
    assert User(display_name="Cher").initials == "C"
    rows = [sam, world.institution, world.course, Enrollment.objects.first(), AuditEvent(verb="x", target_type="y")]
    assert all(str(row) for row in rows)
    assert User.objects.get_by_natural_key(" Sam@Example.EDU ") == sam
