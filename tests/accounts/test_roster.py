"""The people of a course: who is in it, as what, and in which section."""

import csv
import io
import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import actions
from accounts.access import Member, Refused
from accounts.models import AuditEvent, Enrollment, EnrollmentStatus, Invitation, Role, User
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
ROSTER = "/c/cs-101/course/roster/"
SECTIONS = "/c/cs-101/course/sections/"


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("ada"))


@pytest.fixture
def ta(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("tim"))


def row(world: World, name: str) -> Enrollment:
    return Enrollment.objects.get(user=world.user(name), course=world.course)


def names(client: Client, query: str = "") -> list[str]:
    return [str(entry.user).split()[0].lower() for entry, _ in client.get(ROSTER + query).context["rows"]]


# Looking


def test_everybody_is_there_by_name_and_filters_find_them(client: Client, world: World) -> None:
    assert names(client) == ["ada", "carl", "dana", "noor", "sam", "tim"]
    assert names(client, "?q=SAM@example") == names(client, "?q=surname-sam") == ["sam"]
    assert names(client, "?role=student&status=active") == ["noor", "sam"]
    assert names(client, "?status=dropped") == ["dana"]
    Enrollment.objects.filter(pk=row(world, "sam").pk).update(section="Monday", is_banned=True)
    past = timezone.now() - timedelta(days=1)
    Enrollment.objects.filter(pk=row(world, "noor").pk).update(is_banned=True, banned_until=past)
    assert names(client, "?in=Monday") == names(client, "?banned=1") == ["sam"]
    assert "sam" not in names(client, "?in=-")
    assert "Banned" in client.get(ROSTER).content.decode()
    assert "Nobody here matches" in client.get(ROSTER + "?q=zzz").content.decode()
    assert names(client, "?q=%00sam") == ["sam"]
    for bad in ("?role=king", "?cursor=x"):
        assert client.get(ROSTER + bad).status_code == 400


def test_the_roster_costs_the_same_at_six_and_at_120_and_pages_lose_nobody(client: Client, world: World) -> None:
    client.get(ROSTER)
    with CaptureQueriesContext(connection) as few:
        client.get(ROSTER)
    for n in range(114):
        # Many of the same name: the id settles ties.
        factories.enroll(
            factories.make_user(world.institution, f"p{n}", display_name=("Same Name", "same name")[n % 2]),
            world.course,
        )
    with CaptureQueriesContext(connection) as many:
        page = client.get(ROSTER)
    assert len(many) == len(few)
    seen, following = [], ROSTER
    while following:
        page = client.get(following)
        seen += [entry.pk for entry, _ in page.context["rows"]]
        following = ROSTER + page.context["next"] if page.context["next"] else ""
    assert len(seen) == len(set(seen)) == 120


def test_the_csv_runs_nothing_in_a_spreadsheet(client: Client, world: World) -> None:
    evil = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "  =1"]
    for n, name in enumerate(evil):
        factories.enroll(
            factories.make_user(world.institution, f"evil{n}", display_name=name), world.course, section=name[:40]
        )
    response = client.get("/c/cs-101/course/roster.csv")
    assert response["Content-Disposition"] == 'attachment; filename="cs-101-roster.csv"'
    table = list(csv.reader(io.StringIO(response.content.decode())))
    assert table[0] == ["Name", "E-mail", "Role", "Section", "Status"]
    assert ["Sam Surname-sam", "sam@example.edu", "Student", "", "active"] in table
    assert {f"'{name}" for name in evil} <= {line[0] for line in table}
    assert not any(cell.strip(" ").startswith(("=", "+", "-", "@", "\t")) for line in table for cell in line)
    assert AuditEvent.objects.get(verb="roster.downloaded").actor == world.user("ada")
    filtered = client.get("/c/cs-101/course/roster.csv?q=sam@").content.decode()
    assert filtered.count("\n") == 2
    with pytest.raises(PermissionDenied):
        actions.note_roster_download(by=world.member("sam"))


# Changing


def test_an_instructor_changes_what_somebody_is(client: Client, world: World) -> None:
    url = f"{ROSTER}{row(world, 'sam').pk}/"
    assert "Sam Surname-sam" in client.get(url).content.decode()
    client.post(url, {"role": "ta", "status": "active", "section": " Monday  evening "})
    changed = row(world, "sam")
    assert (changed.role, changed.section) == ("ta", "Monday evening")
    event = AuditEvent.objects.get(verb="enrollment.changed")
    assert event.data == {"fields": ["role", "section"], "role": "ta"}
    client.post(url, {"role": "ta", "status": "active", "section": "Monday evening"})
    assert AuditEvent.objects.filter(verb="enrollment.changed").count() == 1
    assert client.post(url, {"role": "king", "status": "active"}).status_code == 422


def test_a_ta_sorts_people_into_sections_and_nothing_else(ta: Client, world: World) -> None:
    url = f"{ROSTER}{row(world, 'sam').pk}/"
    page = ta.get(url)
    assert "Only instructors change role and status" in page.content.decode()
    ta.post(url, {"role": "instructor", "status": "dropped", "section": "Monday"})
    changed = row(world, "sam")
    assert (changed.role, changed.status, changed.section) == ("student", "active", "Monday")
    ta.post(ROSTER, {"people": [row(world, "noor").pk], "role": "ta", "section": "Tuesday"})
    assert (row(world, "noor").role, row(world, "noor").section) == ("student", "Tuesday")
    with pytest.raises(PermissionDenied):
        actions.change_enrollments(by=world.member("tim"), enrollments=[row(world, "sam").pk], role=Role.TA)
    with pytest.raises(PermissionDenied):
        actions.change_enrollments(by=world.member("sam"), enrollments=[row(world, "sam").pk], section="x")


def test_nobody_changes_their_own_role_so_the_course_keeps_an_instructor(client: Client, world: World) -> None:
    url = f"{ROSTER}{row(world, 'ada').pk}/"
    assert "changed by another instructor" in client.get(url).content.decode()
    client.post(url, {"role": "student", "status": "dropped", "section": "Monday"})
    assert (row(world, "ada").role, row(world, "ada").section) == ("instructor", "Monday")
    people = [row(world, name).pk for name in ("sam", "ada", "noor")]
    for change in ({"role": "student"}, {"status": "dropped"}):
        page = client.post(ROSTER, {"people": people} | change)
        assert page.status_code == 409
        assert "is you, and your own role and status" in page.content.decode()
        assert page.content.decode().count(" checked") == 3
    assert {row(world, name).status for name in ("sam", "noor", "ada")} == {"active"}


def test_several_are_changed_or_none(client: Client, world: World) -> None:
    people = [row(world, name).pk for name in ("sam", "noor")]
    page = client.post(
        ROSTER + "?role=student", {"people": people, "status": "completed", "section": "Monday"}, follow=True
    )
    assert "2 people are changed." in page.content.decode()
    assert page.redirect_chain[0][0] == ROSTER + "?role=student"
    assert {row(world, name).status for name in ("sam", "noor")} == {"completed"}
    client.post(ROSTER, {"people": people, "role": "ta"})
    assert {row(world, name).role for name in ("sam", "noor")} == {"ta"}
    page = client.post(ROSTER, {"people": people[:1], "no_section": "on"}, follow=True)
    assert "1 person is changed." in page.content.decode()
    assert row(world, "sam").section == ""
    stranger = Enrollment.objects.get(user=world.user("pat")).pk
    page = client.post(ROSTER, {"people": [*people, stranger], "section": "Tuesday"})
    assert page.status_code == 409
    assert "isn’t in this course any more" in page.content.decode().replace("&#x27;", "’").replace("isn't", "isn’t")
    assert {row(world, name).section for name in ("sam", "noor")} == {"", "Monday"}
    for sent, said in (
        ({"section": "x"}, "Tick the people you mean first"),
        ({"people": people}, "Choose what to change"),
        ({"people": people, "section": "x", "no_section": "on"}, "not both"),
        ({"people": ["x"], "section": "x"}, "Select a valid choice"),
        ({"people": people, "section": "x" * 50}, "at most 40"),
    ):
        page = client.post(ROSTER, sent)
        assert page.status_code == 422
        assert said in page.content.decode()


def test_who_was_ticked_stays_in_sight_when_the_filter_hides_them(client: Client, world: World) -> None:
    page = client.post(ROSTER + "?q=noor", {"people": [row(world, "sam").pk]})
    assert {entry.user.email for entry, _ in page.context["rows"]} == {"sam@example.edu", "noor@example.edu"}


def test_somebody_who_lost_the_role_meanwhile_changes_nothing(world: World) -> None:
    ada = world.member("ada")
    Enrollment.objects.filter(user=ada.user).update(role="ta")
    with pytest.raises(PermissionDenied):
        actions.change_enrollments(by=ada, enrollments=[row(world, "sam").pk], role=Role.TA)
    assert row(world, "sam").role == "student"


@pytest.mark.django_db(transaction=True)
def test_two_instructors_who_demote_each_other_leave_one() -> None:
    world = factories.make_world()
    rosa = factories.make_user(world.institution, "rosa")
    factories.enroll(rosa, world.course, Role.INSTRUCTOR)
    world.people["rosa"] = rosa
    start = threading.Barrier(2)
    refused: list[BaseException] = []

    def demote(by: Member, other: uuid.UUID) -> None:
        try:
            start.wait(timeout=10)
            actions.change_enrollments(by=by, enrollments=[other], role=Role.TA)
        except PermissionDenied as error:
            refused.append(error)
        finally:
            connections.close_all()

    workers = [
        threading.Thread(target=demote, args=(world.member("ada"), row(world, "rosa").pk)),
        threading.Thread(target=demote, args=(world.member("rosa"), row(world, "ada").pk)),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert Enrollment.objects.filter(course=world.course, role=Role.INSTRUCTOR).count() == 1
    assert len(refused) == 1


def test_an_archived_course_changes_nobody(client: Client, world: World) -> None:
    factories.archive(world.course)
    assert client.post(ROSTER, {"people": [row(world, "sam").pk], "section": "x"}).status_code == 403
    assert client.post(f"{ROSTER}{row(world, 'sam').pk}/", {"section": "x"}).status_code == 403
    assert client.post(SECTIONS, {"old": "x", "new": "y"}).status_code == 403
    assert client.get(f"{ROSTER}add/").status_code == 403
    page = client.get(f"{ROSTER}{row(world, 'sam').pk}/").content.decode()
    assert "Save" not in page


def test_a_ban_is_shown_and_its_page_linked(client: Client, world: World) -> None:
    until = timezone.now() + timedelta(days=1)
    Enrollment.objects.filter(pk=row(world, "sam").pk).update(is_banned=True, banned_until=until, ban_reason="Insults")
    page = client.get(f"{ROSTER}{row(world, 'sam').pk}/").content.decode()
    assert "Reason: Insults" in page
    assert f"/c/cs-101/people/{world.user('sam').pk}/ban/" in page
    assert "Change or lift the ban" in page
    assert "/ban/" not in client.get(f"{ROSTER}{row(world, 'ada').pk}/").content.decode()


# Adding


def test_people_are_added_by_address_however_it_was_copied(client: Client, world: World) -> None:
    lena, omar = (factories.make_user(world.institution, name) for name in ("lena", "omar"))
    Enrollment.objects.filter(pk=row(world, "dana").pk).update(section="old")
    text = 'Lena <LENA@example.edu>; "O. Haddad" <omar@example.edu>,\nsam@example.edu dana@example.edu\nnew@example.edu lena@example.edu'
    page = client.post(f"{ROSTER}add/", {"emails": text, "role": "ta", "section": "Monday"})
    assert page.status_code == 200
    done = page.context["done"]
    assert set(done.added) == {lena, omar}
    assert done.returned == [world.user("dana")]
    assert done.already == [world.user("sam")]
    assert done.invited == ["new@example.edu"]
    assert {(row.role, row.section) for row in Enrollment.objects.filter(user__in=[lena, omar])} == {("ta", "Monday")}
    dana = row(world, "dana")
    assert (dana.status, dana.role, dana.section) == ("active", "ta", "Monday")
    assert row(world, "sam").role == "student"
    invited = Invitation.objects.get(course=world.course)
    assert (invited.email, invited.role, invited.section) == ("new@example.edu", "ta", "Monday")
    page = client.post(f"{ROSTER}add/", {"emails": "new@example.edu", "role": "student"})
    assert (page.context["done"].invited, page.context["done"].waiting) == ([], ["new@example.edu"])
    assert "Invited before, and not here yet: new@example.edu" in page.content.decode()
    assert AuditEvent.objects.filter(verb="enrollment.added").count() == 2
    assert AuditEvent.objects.filter(verb="enrollment.returned").count() == 1


def test_adding_tells_nothing_about_other_institutions(client: Client, world: World) -> None:
    def said(address: str) -> str:
        page = client.post(f"{ROSTER}add/", {"emails": address, "role": "student"}).content.decode()
        return page[page.index("<main") :].replace(address, "ADDRESS")

    import re

    token = re.compile(r'name="csrfmiddlewaretoken" value="\w+"')
    assert token.sub("", said("eve@example.edu")) == token.sub("", said("nobody@example.edu"))
    assert not Enrollment.objects.filter(user=world.user("eve"), course=world.course).exists()


def test_what_is_no_address_is_said_and_nobody_is_added(client: Client, world: World) -> None:
    factories.make_user(world.institution, "lena")
    for text, said in (
        ("lena@example.edu\nsome name", "some name"),
        ("lena@example.edu\nlena@@example", "isn’t an e-mail address"),
        ("", "Paste the addresses first"),
        ("damaged \ufffd", "damaged"),
    ):
        page = client.post(f"{ROSTER}add/", {"emails": text, "role": "student"})
        assert page.status_code == 422
        assert said in page.content.decode()
    many = "\n".join(f"p{n}@example.edu" for n in range(501))
    page = client.post(f"{ROSTER}add/", {"emails": many, "role": "student"})
    assert "These are 501 addresses" in page.content.decode()
    assert "p500@example.edu" in page.content.decode()
    assert Enrollment.objects.filter(course=world.course).count() == 6
    with pytest.raises(PermissionDenied):
        actions.enroll_people(by=world.member("tim"), emails=["lena@example.edu"])


# Sections


def test_sections_are_renamed_and_merged(ta: Client, world: World) -> None:
    assert "Nobody is in a section yet" in ta.get(SECTIONS).content.decode()
    for name, section in (("sam", "Mon"), ("noor", "Monday"), ("dana", "Mon")):
        Enrollment.objects.filter(pk=row(world, name).pk).update(section=section)
    assert ta.get(SECTIONS).context["rows"] == [("Mon", 1), ("Monday", 1)]
    page = ta.post(SECTIONS, {"old": "Mon", "new": " Monday "}, follow=True)
    assert "“Monday” has 3 people now." in page.content.decode()
    page = ta.post(SECTIONS, {"old": "Mon", "new": "Else"})
    assert page.status_code == 422
    assert "There is no section “Mon” any more" in page.content.decode()
    assert ta.post(SECTIONS, {"old": "", "new": "Else"}).status_code == 422
    page = ta.post(SECTIONS, {"old": "Monday", "new": ""})
    assert "Give the section a name" in page.content.decode()
    assert row(world, "sam").status == EnrollmentStatus.ACTIVE
    with pytest.raises(Refused):
        actions.rename_section(by=world.member("ada"), old="Mon", new="x")
    with pytest.raises(PermissionDenied):
        actions.rename_section(by=world.member("sam"), old="Monday", new="x")
