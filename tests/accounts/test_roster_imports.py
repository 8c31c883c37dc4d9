"""A roster file: shown first, applied as shown, whole or not at all, and once."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, connection, connections, transaction
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import actions, tasks
from accounts.access import Member, Refused, get_roster_import
from accounts.models import AuditEvent, Enrollment, Invitation, Role, RosterImport, User
from accounts.roster_diff import Kind
from tests import factories
from tests.factories import World
from tests.quokkaq.test_hostile_input import VALUES

SignIn = Callable[[User], Client]
IMPORT = "/c/cs-101/course/roster/import/"
FILE = """email,name,role,section,user_id
sam@example.edu,Sam,ta,Mon,S1
noor@example.edu,Noor,student,,
dana@example.edu,Dana,student,Tue,
pat@example.edu,Pat,student,,S4
new@example.edu,New Person,student,Mon,S5
ada@example.edu,Ada,instructor,,
nobody,Bad,student,,
"""


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("ada"))


def page_of(roster: RosterImport) -> str:
    return f"/c/cs-101/course/roster/imports/{roster.pk}/"


def sent(client: Client, text: str | bytes, name: str = "people.csv", **more: Any) -> Any:
    data = text.encode() if isinstance(text, str) else text
    return client.post(IMPORT, {"file": SimpleUploadedFile(name, data), **more}, follow=True)


def everybody(world: World) -> dict[str, tuple[str, str, str, str]]:
    rows = Enrollment.objects.filter(course=world.course).select_related("user")
    return {row.user.email.partition("@")[0]: (row.role, row.status, row.section, row.sis_id) for row in rows}


def apply(by: Member, roster: RosterImport) -> dict[str, int]:
    """Apply a file as it would be shown now, and leave out rows with problems."""
    seen = actions.compare_roster(by, roster).mark
    return actions.apply_roster(by=by, roster=roster, seen=seen, skip_problems=True)


# Showing


def test_a_file_is_shown_and_changes_nobody(client: Client, world: World) -> None:
    before = everybody(world)
    page = sent(client, FILE)
    text = page.content.decode()
    assert page.status_code == 200
    assert [(name, count) for name, _, count in page.context["tabs"]] == [
        ("invite", 1), ("add", 1), ("return", 1), ("change", 1), ("problems", 1),
    ]  # fmt: skip
    assert "4 people change" in text
    assert "new@example.edu" in text
    url = page.redirect_chain[0][0]
    changed = client.get(url + "?show=change").content.decode()
    assert "Role: <del>Student</del>" in changed
    assert "<strong>Teaching assistant</strong>" in changed
    problems = client.get(url + "?show=problems").content.decode()
    assert "line 8" in problems
    assert "“nobody” isn’t an e-mail address." in problems
    assert everybody(world) == before
    assert not Invitation.objects.exists()
    assert AuditEvent.objects.get(verb="roster.uploaded").data == {"rows": 7}
    assert "people.csv" in client.get(IMPORT).content.decode()


def test_what_is_no_roster_is_said_beside_the_field_and_keeps_the_rest(client: Client) -> None:
    page = sent(client, b"PK\x03\x04zip", name="list.csv", course_id="CS-101", drop_missing="1")
    assert page.status_code == 422
    assert "This is a ZIP or Excel file" in page.content.decode()
    assert 'value="CS-101"' in page.content.decode()
    assert " checked" in page.content.decode()
    for text, said in (("", "This file is empty"), ("name\nSam", "must name the columns")):
        assert said in sent(client, text).content.decode()
    assert client.post(IMPORT, {}).status_code == 422
    assert not RosterImport.objects.exists()


def test_two_files_of_a_sis_export_and_another_course_in_them(client: Client, world: World) -> None:
    users = SimpleUploadedFile("users.csv", b"user_id,email\nS1,sam@example.edu\nS2,noor@example.edu\n")
    rows = "course_id,user_id,role,section_id\nX-1,S1,student,Mon\nY-2,S2,student,Tue\n"
    assert "rows of 2 courses (X-1, Y-2)" in sent(client, rows, second=users).content.decode()
    users.seek(0)
    page = sent(client, rows, second=users, course_id="x-1")
    assert "1 row about other courses left out" in page.content.decode()
    assert page.context["roster"].file_names == "people.csv, users.csv"
    assert [line["fields"] for line in page.context["lines"]] == [[("Section", "", "Mon"), ("SIS id", "", "S1")]]


def test_names_and_markup_of_a_file_are_text(client: Client) -> None:
    page = sent(client, "email,name,section\nx@example.edu,\"<b>=cmd|' /C calc'!A0</b>\",<i>\n", name="<u>.csv")
    text = page.content.decode()
    assert "&lt;b&gt;=cmd" in text
    assert not any(tag in text for tag in ("<b>", "<i>", "<u>"))


def test_the_page_costs_the_same_for_one_row_and_for_many(client: Client, world: World) -> None:
    few = factories.make_roster_import(world.member("ada"), "email\nlena@example.edu\n")
    many = factories.make_roster_import(
        world.member("ada"), "email\n" + "".join(f"p{n}@example.edu\n" for n in range(250)) + "bad\n" * 120
    )
    client.get(page_of(few))
    with CaptureQueriesContext(connection) as one:
        client.get(page_of(few))
    with CaptureQueriesContext(connection) as all_of_them:
        page = client.get(page_of(many))
    assert len(one) == len(all_of_them)
    assert (len(page.context["lines"]), page.context["last_page"]) == (100, 3)
    assert len(client.get(page_of(many) + "?show=invite&page=3").context["lines"]) == 50
    assert len(client.get(page_of(many) + "?show=problems&page=2").context["lines"]) == 20
    for odd in ("x", "-1", "0", "99", "9" * 40, "٣", ""):
        assert client.get(page_of(many), {"show": "x", "page": odd}).status_code == 200


# Applying


def test_it_is_applied_as_shown_and_once(client: Client, world: World) -> None:
    page = sent(client, FILE)
    url, seen = page.redirect_chain[0][0], page.context["diff"].mark
    refused = client.post(url, {"seen": seen})
    assert refused.status_code == 409
    assert "Tick that the rows with problems are left out" in refused.content.decode()
    assert everybody(world)["sam"][0] == "student"
    done = client.post(url, {"seen": seen, "skip_problems": "1"}, follow=True).content.decode()
    assert "4 people are changed." in done
    assert "Invited: 1. Added: 1. Returning: 1. Changed: 1. Unchanged: 2." in done
    assert "Not used because of a problem: 1." in done
    after = everybody(world)
    assert after["sam"] == ("ta", "active", "Mon", "S1")
    assert after["dana"] == ("student", "active", "Tue", "")
    assert after["pat"] == ("student", "active", "", "S4")
    assert after["carl"] == ("student", "completed", "", "")
    invited = Invitation.objects.get()
    assert (invited.email, invited.role, invited.section, invited.sis_id) == ("new@example.edu", "student", "Mon", "S5")
    assert AuditEvent.objects.get(verb="roster.applied").data == {"invite": 1, "add": 1, "return": 1, "change": 1}
    change = AuditEvent.objects.get(verb="enrollment.changed")
    assert change.data == {"fields": ["role", "section", "sis_id"], "role": "ta"}
    assert change.course == world.course
    for verb in ("enrollment.added", "enrollment.returned", "invitation.sent"):
        assert AuditEvent.objects.filter(verb=verb, actor=world.user("ada")).count() == 1
    # Once more, also after somebody was changed by hand: nothing.
    Enrollment.objects.filter(user=world.user("sam")).update(role="student")
    again = client.post(url, {"seen": seen, "skip_problems": "1"}, follow=True).content.decode()
    assert "There was nothing to change." in again
    assert everybody(world)["sam"][0] == "student"
    Enrollment.objects.filter(user=world.user("sam")).update(role="ta")
    same = sent(client, FILE)
    assert "There is nothing to change." in same.content.decode()
    assert "Apply to" not in same.content.decode()
    assert apply(world.member("ada"), same.context["roster"]) == {}
    assert Invitation.objects.count() == 1


def test_a_course_that_changed_meanwhile_is_looked_at_again(client: Client, world: World) -> None:
    page = sent(client, "email,role\nsam@example.edu,ta\n")
    url, seen = page.redirect_chain[0][0], page.context["diff"].mark
    Enrollment.objects.filter(user=world.user("sam")).update(status="dropped")
    refused = client.post(url, {"seen": seen})
    assert refused.status_code == 409
    assert "The course has changed since this was shown" in refused.content.decode()
    assert everybody(world)["sam"][:2] == ("student", "dropped")
    assert [name for name, _, _ in refused.context["tabs"]] == ["return"]
    client.post(url, {"seen": refused.context["diff"].mark})
    assert everybody(world)["sam"][:2] == ("ta", "active")


def test_people_not_in_the_file_are_dropped_only_when_that_was_ticked(world: World, ada: Member) -> None:
    factories.make_invitation(ada, "asked@example.edu")
    text = "email\nsam@example.edu\n"
    assert apply(ada, factories.make_roster_import(ada, text)) == {}
    assert everybody(world)["noor"][1] == "active"
    roster = factories.make_roster_import(ada, text, drop_missing=True)
    assert apply(ada, roster) == {"drop": 3}
    after = everybody(world)
    assert {name for name, row in after.items() if row[1] == "dropped"} == {"tim", "noor", "dana"}
    assert (after["ada"][:2], after["carl"][1]) == (("instructor", "active"), "completed")
    assert Invitation.objects.get().revoked_at is not None
    assert AuditEvent.objects.filter(verb="enrollment.changed", data__status="dropped").count() == 2


def test_who_is_invited_already_is_changed_without_another_mail(world: World, ada: Member) -> None:
    asked = factories.make_invitation(ada, "asked@example.edu")
    roster = factories.make_roster_import(ada, "email,role,section,user_id\nasked@example.edu,ta,Mon,S9\n")
    assert apply(ada, roster) == {"change": 1}
    row = Invitation.objects.get()
    assert (row.token_hash, row.role, row.section, row.sis_id) == (asked.token_hash, "ta", "Mon", "S9")
    assert AuditEvent.objects.get(verb="invitation.changed").data["role"] == "ta"
    # By now they have an account: the place is theirs at once, and the link is over.
    factories.make_user(world.institution, "asked")
    roster = factories.make_roster_import(ada, "email\nasked@example.edu\n")
    assert apply(ada, roster) == {"add": 1}
    assert Invitation.objects.get().revoked_at is not None
    assert everybody(world)["asked"] == ("student", "active", "", "")


def test_a_changed_address_is_recognised_and_nobody_is_linked_anew(world: World, ada: Member) -> None:
    Enrollment.objects.filter(user=world.user("noor")).update(sis_id="S2")
    roster = factories.make_roster_import(
        ada, "email,user_id,section\nnoor.h@example.edu,S2,Mon\nsam@example.edu,S2x,\npat@example.edu,S3,\n"
    )
    assert apply(ada, roster) == {"add": 1, "change": 2}
    assert everybody(world)["noor"] == ("student", "active", "Mon", "S2")
    assert world.user("noor").email == "noor@example.edu"
    stolen = factories.make_roster_import(ada, "email,user_id\nsam@example.edu,S2\n")
    assert [p.reason for p in actions.compare_roster(ada, stolen).problems] == [
        "The SIS id S2 is Noor Surname-noor’s here, and sam@example.edu is Sam Surname-sam’s."
    ]
    with pytest.raises(IntegrityError), transaction.atomic():
        Enrollment.objects.filter(user=world.user("sam"), course=world.course).update(sis_id="S2")


def test_a_file_makes_no_instructor_of_the_uploader_nor_less(world: World, ada: Member) -> None:
    roster = factories.make_roster_import(ada, "email,role\nada@example.edu,student\nsam@example.edu,teacher\n")
    assert apply(ada, roster) == {"change": 1}
    assert (everybody(world)["ada"][0], everybody(world)["sam"][0]) == ("instructor", "instructor")


def test_nothing_is_half_applied(world: World, ada: Member) -> None:
    """The last statement of all fails: what came before it is taken back."""
    before, roster = everybody(world), factories.make_roster_import(ada, FILE)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no room'; END $$;"
            "CREATE TRIGGER refuse BEFORE UPDATE ON accounts_rosterimport EXECUTE FUNCTION pg_temp.refuse()"
        )
    with pytest.raises(Exception, match="no room"), transaction.atomic():
        apply(ada, roster)
    assert everybody(world) == before
    assert not Invitation.objects.exists()
    assert not AuditEvent.objects.filter(verb__startswith="enrollment.").exists()


# Who may, and until when


@pytest.mark.parametrize("who", ["tim", "sam", "pat", "eve", "dana", ""])
def test_only_instructors_of_the_course_import(who: str, world: World, signed_in: SignIn, ada: Member) -> None:
    roster = factories.make_roster_import(ada, FILE)
    client = signed_in(world.user(who)) if who else Client()
    before = everybody(world)
    expected = {"tim": {403}, "sam": {403}, "": {302}}.get(who, {404})
    assert {
        client.get(page_of(roster)).status_code,
        client.post(page_of(roster), {"discard": 1}).status_code,
    } == expected
    if who != "eve":  # her own cs-101 takes her own files
        file = SimpleUploadedFile("x.csv", FILE.encode())
        assert {client.get(IMPORT).status_code, client.post(IMPORT, {"file": file}).status_code} == expected
    assert everybody(world) == before
    assert RosterImport.objects.get().state == "ready"


def test_the_actions_refuse_whom_the_pages_refuse(world: World, ada: Member) -> None:
    roster = factories.make_roster_import(ada, FILE)
    seen = actions.compare_roster(ada, roster).mark
    for who in ("tim", "sam"):
        member = world.member(who)
        with pytest.raises(PermissionDenied):
            factories.make_roster_import(member, FILE)
        with pytest.raises(PermissionDenied):
            actions.apply_roster(by=member, roster=roster, seen=seen, skip_problems=True)
        with pytest.raises(PermissionDenied):
            actions.discard_roster(by=member, roster=roster)
    with pytest.raises(Http404):
        get_roster_import(world.member("sam"), roster.pk)
    pat = world.member("pat", world.other_course)
    with pytest.raises(Http404):
        get_roster_import(pat, roster.pk)
    with pytest.raises(RosterImport.DoesNotExist):
        actions.apply_roster(by=pat, roster=roster, seen=seen)
    Enrollment.objects.filter(user=ada.user).update(role=Role.TA)
    with pytest.raises(PermissionDenied):
        actions.apply_roster(by=ada, roster=roster, seen=seen, skip_problems=True)
    assert not Invitation.objects.exists()


def test_an_archived_course_imports_nothing(client: Client, world: World, ada: Member) -> None:
    roster = factories.make_roster_import(ada, FILE)
    factories.archive(world.course)
    assert client.post(page_of(roster), {"seen": "x"}).status_code == 403
    assert sent(client, FILE).status_code == 403


def test_a_file_is_thrown_away_and_forgotten(client: Client, world: World, ada: Member) -> None:
    roster = factories.make_roster_import(ada, FILE)
    page = client.post(page_of(roster), {"discard": "1"}, follow=True)
    assert "thrown away" in page.content.decode()
    roster.refresh_from_db()
    assert (roster.state, roster.content, str(roster)) == ("discarded", {}, f"Roster file of {world.course.pk}")
    assert "Upload it again" in client.get(page_of(roster)).content.decode()
    assert client.post(page_of(roster), {"seen": "x"}).status_code == 409
    actions.discard_roster(by=ada, roster=roster)
    assert AuditEvent.objects.filter(verb="roster.discarded").count() == 1


def test_what_files_said_is_forgotten_after_a_week(client: Client, world: World, ada: Member) -> None:
    waiting, applied, young = (factories.make_roster_import(ada, "email\nlena@example.edu\n") for _ in range(3))
    apply(ada, applied)
    long_ago = timezone.now() - timedelta(days=7, minutes=1)
    RosterImport.objects.exclude(pk=young.pk).update(created_at=long_ago)
    tasks.forget_rosters(0)
    states = dict(RosterImport.objects.values_list("pk", "state"))
    assert states == {waiting.pk: "expired", applied.pk: "applied", young.pk: "ready"}
    assert [row.pk for row in RosterImport.objects.exclude(content={})] == [young.pk]
    assert "waited longer than seven days" in client.get(page_of(waiting)).content.decode()
    assert client.post(page_of(waiting), {"seen": "x"}).status_code == 409
    assert "Invited: 1." in client.get(page_of(applied)).content.decode()


# Races and sizes


@pytest.mark.django_db(transaction=True)
def test_two_who_apply_at_once_change_everybody_once() -> None:
    world = factories.make_world()
    rosa = factories.make_user(world.institution, "rosa")
    factories.enroll(rosa, world.course, Role.INSTRUCTOR)
    world.people["rosa"] = rosa
    ada = world.member("ada")
    roster = factories.make_roster_import(ada, "email,role\nsam@example.edu,ta\nnew@example.edu,student\n")
    marks = {name: actions.compare_roster(world.member(name), roster).mark for name in ("ada", "rosa")}
    start = threading.Barrier(2)
    results: list[Any] = []

    def work(name: str) -> None:
        try:
            member = world.member(name)
            start.wait(timeout=10)
            results.append(actions.apply_roster(by=member, roster=roster, seen=marks[name]))
        except Refused as refusal:
            results.append(refusal)
        finally:
            connections.close_all()

    workers = [threading.Thread(target=work, args=(name,)) for name in ("ada", "rosa")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert sorted(results, key=len) == [{}, {"invite": 1, "change": 1}]
    assert Invitation.objects.count() == 1
    assert AuditEvent.objects.filter(verb="enrollment.changed").count() == 1


def test_applying_costs_as_many_statements_for_many_as_for_few(world: World, ada: Member) -> None:
    def statements(first: int, count: int) -> int:
        for n in range(first, first + count):
            factories.enroll(factories.make_user(world.institution, f"old{n}"), world.course)
            factories.make_user(world.institution, f"known{n}")
        lines = [
            f"{who}{n}@example.edu,Mon,S{who}{n}"
            for n in range(first, first + count)
            for who in ("old", "known", "new")
        ]
        roster = factories.make_roster_import(ada, "email,section,user_id\n" + "\n".join(lines))
        seen = actions.compare_roster(ada, roster).mark
        with CaptureQueriesContext(connection) as captured:
            assert sum(actions.apply_roster(by=ada, roster=roster, seen=seen).values()) == 3 * count
        return len(captured)

    assert statements(0, 1) == statements(1, 60)


@pytest.mark.drill
@pytest.mark.parametrize("kind", VALUES)
def test_whatever_an_instructor_sends_breaks_nothing(kind: str, client: Client, world: World, ada: Member) -> None:
    roster, value = factories.make_roster_import(ada, FILE), VALUES[kind]
    invitation, code = factories.make_invitation(ada), actions.make_join_code(by=ada)
    files = {
        name: SimpleUploadedFile(value[:80] or "x", value.encode("utf-8", "replace")) for name in ("file", "second")
    }
    urls = [
        IMPORT, page_of(roster), "/c/cs-101/course/roster/invitations/", "/c/cs-101/course/join-code/", "/join/",
        f"/join/{code.code}/", actions.link_of(invitation).removeprefix("http://localhost:8000"),
    ]  # fmt: skip
    names = ("seen", "skip_problems", "invitation", "resend", "code", "expires_at", "max_uses", "section", "course_id",
             "drop_missing", "display_name", "password", "email")  # fmt: skip
    for url in urls:
        for sent in (dict.fromkeys(names, value), files, {name: [value, "x"] for name in names}):
            assert client.post(url, sent).status_code < 500, url
            assert Client().post(url, sent).status_code < 500, url
        assert client.get(url, dict.fromkeys(("show", "page", "cursor", "next"), value[:200])).status_code < 500, url


def test_kinds_of_the_page_are_all_there_are() -> None:
    from forum.views.joining import TITLES

    assert set(TITLES) == set(Kind)
