"""Settings, policies, archive, assignments, tags, and the audit trail of a course."""

import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.db import connection
from django.http import Http404
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import actions as course_actions
from accounts.access import (
    Member,
    Refused,
    get_enrollment,
    may_set_up,
    require_instructor,
    require_set_up,
)
from accounts.models import AuditEvent, Course, Enrollment, PostingPolicy, Role, User
from forum import access, actions
from forum.audit_trail import describe
from forum.models import Assignment, Tag, Thread
from tests import factories
from tests.factories import World

SignIn = Callable[[User], Client]
PARTS = {"settings", "people", "ai", "sections", "assignments", "tags", "templates"}
COURSE = "/c/cs-101/course/"
SETTINGS = f"{COURSE}settings/"
SOON = timezone.now() + timedelta(days=2)


@pytest.fixture
def client(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("ada"))


@pytest.fixture
def ta(world: World, signed_in: SignIn) -> Client:
    return signed_in(world.user("tim"))


def sent(client: Client, **changes: Any) -> dict[str, Any]:
    """Return what the settings form holds now, with some of it changed."""
    page = client.get(SETTINGS)
    form = page.context["form"]
    fields = {name: form[name].value() for name in form.fields}
    fields = {name: value for name, value in fields.items() if value not in (None, False)}
    return fields | changes


def saved(world: World) -> Course:
    return Course.objects.get(pk=world.course.pk)


# Who may


def test_who_changes_what_is_said_in_one_table(world: World, ada: Member, tim: Member, sam: Member) -> None:
    assert {part for part in PARTS if may_set_up(ada, part)} == PARTS
    assert {part for part in PARTS if may_set_up(tim, part)} == {"sections", "assignments", "tags", "templates"}
    assert not any(may_set_up(sam, part) for part in PARTS)
    with pytest.raises(PermissionDenied):
        require_set_up(tim, "settings")
    with pytest.raises(PermissionDenied):
        require_instructor(tim)
    with pytest.raises(PermissionDenied):
        require_instructor(Member(ada.user, ada.course, Role.INSTRUCTOR, active=False))
    factories.archive(world.course)
    assert not any(may_set_up(world.member("ada"), part) for part in PARTS)
    require_instructor(world.member("ada"))


def test_a_ta_looks_and_does_not_change(ta: Client, world: World) -> None:
    page = ta.get(SETTINGS).content.decode()
    assert "Only instructors can change this" in page
    assert "Save settings" not in page
    for url, fields in (
        (SETTINGS, {"name": "x"}),
        (f"{COURSE}archive/", {"confirm": "on"}),
        (f"{COURSE}open-posting/", {}),
        (f"{COURSE}roster/add/", {"emails": "a@b.de"}),
    ):
        assert ta.post(url, fields).status_code == 403, url
    tim = world.member("tim")
    for act in (
        lambda: course_actions.update_course(by=tim, fields={}, version=""),
        lambda: course_actions.lift_posting_stop(by=tim),
        lambda: course_actions.set_archived(by=tim, archived=True),
    ):
        with pytest.raises(PermissionDenied):
            act()
    assert saved(world).name == "Course cs-101"


@pytest.mark.parametrize(("who", "status"), [("sam", 403), ("carl", 403), ("eve", 200), ("pat", 404), ("dana", 404)])
def test_students_and_strangers_see_no_set_up(world: World, signed_in: SignIn, who: str, status: int) -> None:
    client = signed_in(world.user(who))
    for page in ("", "settings/", "roster/", "sections/", "assignments/", "tags/", "audit/", "roster.csv"):
        response = client.get(COURSE + page)
        assert response.status_code == status, page
        # Eve's own institution has a course with this address: she sees hers.
        assert "sam@example.edu" not in response.content.decode()


# Settings


def test_settings_are_saved_and_audited(client: Client, world: World) -> None:
    fields = sent(client, name="Python", posting_policy="approve", anonymity_policy="named", points_hidden="on")
    assert client.post(SETTINGS, fields)["Location"] == SETTINGS
    course = saved(world)
    assert (course.name, course.posting_policy, course.points_hidden) == ("Python", "approve", True)
    event = AuditEvent.objects.get(verb="course.updated")
    assert event.actor == world.user("ada")
    assert set(event.data["fields"]) == {"name", "posting_policy", "anonymity_policy", "points_hidden"}
    assert event.data["posting_policy"] == "approve"
    client.post(SETTINGS, sent(client))
    assert AuditEvent.objects.filter(verb="course.updated").count() == 1


def test_what_is_wrong_is_said_and_nothing_typed_is_lost(client: Client, world: World) -> None:
    page = client.post(SETTINGS, sent(client, name="", term="Winter", posting_policy="x"))
    assert page.status_code == 422
    assert "Winter" in page.content.decode()
    # The header shows what is saved, not what was refused.
    assert "Course cs-101" in page.content.decode()
    page = client.post(SETTINGS, sent(client, posting_closed_until="2020-01-01T10:00"))
    assert "This time has passed" in page.content.decode()
    page = client.post(SETTINGS, sent(client, posting_closed_until="some day"))
    assert "Give a date and a time" in page.content.decode()


def test_two_instructors_do_not_overwrite_each_other_unseen(client: Client, world: World) -> None:
    stale = sent(client, description="Mine")
    until = timezone.now() + timedelta(days=1)
    Course.objects.filter(pk=world.course.pk).update(
        term="Spring 2027", points_hidden=True, posting_policy="approve", posting_closed_until=until
    )
    page = client.post(SETTINGS, stale)
    assert page.status_code == 409
    text = page.content.decode()
    assert "Somebody else has changed these settings" in text
    theirs = dict(page.context["theirs"])
    assert theirs["Term"] == "Spring 2027"
    assert theirs["Who may post"] == PostingPolicy.APPROVE.label
    assert theirs["Hide points"] == "yes"
    assert theirs["Description"] == "nothing"
    assert theirs["Closed for an exam until"] == f"{until:%Y-%m-%d %H:%M}"
    assert "Mine" in text
    assert saved(world).description == ""
    # Having seen them, one may save.
    again = stale | {"version": page.context["version"]}
    assert client.post(SETTINGS, again).status_code == 302
    assert saved(world).description == "Mine"


def test_posting_is_closed_in_the_readers_time_and_opened_by_hand(client: Client, world: World) -> None:
    User.objects.filter(pk=world.user("ada").pk).update(time_zone="America/New_York")
    local = (timezone.now() + timedelta(days=3)).astimezone(zoneinfo.ZoneInfo("America/New_York"))
    client.post(SETTINGS, sent(client, posting_closed_until=local.strftime("%Y-%m-%dT%H:%M")))
    until = saved(world).posting_closed_until
    assert until == local.replace(second=0, microsecond=0).astimezone(UTC)
    assert "New York" in client.get(SETTINGS).content.decode()
    assert world.member("sam", saved(world)).posting_closed
    assert "Posting is closed to students" in client.get(COURSE).content.decode()
    client.post(f"{COURSE}open-posting/")
    assert saved(world).posting_closed_until is None
    assert AuditEvent.objects.filter(verb="course.posting_opened").count() == 1
    client.post(f"{COURSE}open-posting/")
    assert AuditEvent.objects.filter(verb="course.posting_opened").count() == 1


def test_a_closing_that_has_passed_does_not_stand_in_the_way(client: Client, world: World) -> None:
    past = timezone.now() - timedelta(days=1)
    Course.objects.filter(pk=world.course.pk).update(posting_closed_until=past)
    assert client.post(SETTINGS, sent(client, name="Another name")).status_code == 302
    assert saved(world).name == "Another name"
    assert AuditEvent.objects.get(verb="course.updated").data["fields"] == ["name"]


def test_what_waits_stays_waiting_and_is_counted_when_posting_opens(client: Client, world: World, sam: Member) -> None:
    Course.objects.filter(pk=world.course.pk).update(posting_policy="approve")
    sam.course.refresh_from_db()
    thread = factories.make_thread(sam)
    assert "1 text waits for approval" in client.get(SETTINGS).content.decode()
    assert "1 text waits for approval" in client.get(COURSE).content.decode()
    page = client.post(SETTINGS, sent(client, posting_policy="open"), follow=True)
    assert "1 text still wait for approval" in page.content.decode()
    thread.refresh_from_db()
    assert thread.moderation == "pending"


def test_archiving_takes_a_tick_and_can_be_undone(client: Client, world: World) -> None:
    refused = client.post(f"{COURSE}archive/")
    assert refused.status_code == 422
    assert "Tick this first" in refused.content.decode()
    client.post(f"{COURSE}archive/", {"confirm": "on"})
    assert saved(world).status == "archived"
    page = client.get(SETTINGS).content.decode()
    assert "Save settings" not in page
    assert "Make it active again" in page
    stale = {"name": "x", "term": "y", "posting_policy": "open", "anonymity_policy": "all"}
    assert "This course is archived" in client.post(SETTINGS, stale).content.decode()
    client.post(f"{COURSE}archive/", {"on": "0"})
    assert saved(world).status == "active"
    course_actions.set_archived(by=world.member("ada"), archived=False)
    verbs = set(AuditEvent.objects.values_list("verb", flat=True))
    assert {"course.archived", "course.unarchived"} <= verbs
    with pytest.raises(Refused, match="Somebody else"):
        course_actions.update_course(by=world.member("ada"), fields={"name": "x"}, version="old")


def test_an_archived_course_is_looked_at_and_not_changed(client: Client, world: World, ada: Member) -> None:
    tag = factories.make_tag(world.course)
    homework = actions.save_assignment(by=ada, assignment=None, title="HW", due_at=None, embargo_until=None)
    factories.archive(world.course)
    for page in ("", "settings/", "roster/", "sections/", "assignments/", "tags/", "audit/"):
        response = client.get(COURSE + page)
        assert response.status_code == 200
        assert "This course is archived" in response.content.decode()
    ada = world.member("ada")
    refused: list[Callable[[], object]] = [
        lambda: actions.add_tag(by=ada, name="x"),
        lambda: actions.rename_tag(by=ada, tag=tag, name="x"),
        lambda: actions.delete_tag(by=ada, tag=tag),
        lambda: actions.save_assignment(by=ada, assignment=None, title="x", due_at=None, embargo_until=None),
        lambda: actions.delete_assignment(by=ada, assignment=homework),
    ]
    for act in refused:
        with pytest.raises(PermissionDenied):
            act()
    assert client.post(f"{COURSE}tags/", {"name": "x"}).status_code == 403


# Assignments


def test_assignments_are_added_changed_and_deleted(ta: Client, world: World, sam: Member) -> None:
    User.objects.filter(pk=world.user("tim").pk).update(time_zone="Europe/Berlin")
    page = ta.get(f"{COURSE}assignments/").content.decode()
    assert "No assignments yet" in page
    ta.post(f"{COURSE}assignments/add/", {"title": "Homework 1", "due_at": "2026-03-20T18:00"})
    row = Assignment.objects.get()
    assert row.slug == "homework-1"
    assert row.due_at == row.embargo_until == datetime(2026, 3, 20, 17, 0, tzinfo=UTC)
    thread = factories.make_thread(sam, "About it", assignment=row)
    url = f"{COURSE}assignments/{row.pk}/"
    assert "2026-03-20T18:00" in ta.get(url).content.decode()
    ta.post(url, {"title": "Homework One", "due_at": "2026-03-20T18:00", "no_embargo": "on"})
    row.refresh_from_db()
    assert (row.title, row.slug, row.embargo_until) == ("Homework One", "homework-1", None)
    assert ta.get(url).context["form"]["no_embargo"].value() is True
    listed = ta.get(f"{COURSE}assignments/")
    assert "no embargo" in listed.content.decode()
    assert listed.context["rows"][0].thread_count == 1
    ta.post(f"{url}delete/")
    thread.refresh_from_db()
    assert thread.assignment is None
    assert not Assignment.objects.exists()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"title": ""}, "Give it a title"),
        ({"title": "homework 1"}, "There is an assignment “homework 1” already"),
        ({"title": "B", "due_at": "2026-03-20T18:00", "embargo_until": "2026-03-20T17:00"}, "before it is due"),
        ({"title": "B", "embargo_until": "2026-03-20T17:00", "no_embargo": "on"}, "not both"),
        ({"title": "B", "due_at": "soon", "embargo_until": "later"}, "Give a date and a time"),
    ],
)
def test_an_assignment_that_makes_no_sense_is_refused(
    ta: Client, tim: Member, fields: dict[str, str], said: str
) -> None:
    actions.save_assignment(by=tim, assignment=None, title="Homework 1", due_at=None, embargo_until=None)
    page = ta.post(f"{COURSE}assignments/add/", fields)
    assert page.status_code == 422
    assert said in page.content.decode()
    assert Assignment.objects.count() == 1


def test_addresses_of_assignments_and_tags_differ_also_in_other_letters(tim: Member) -> None:
    titles = ("Übung 1", "Ubung 1", "作业", "作业二", "x" * 120)
    rows = [actions.save_assignment(by=tim, assignment=None, title=t, due_at=None, embargo_until=None) for t in titles]
    assert len({row.slug for row in rows}) == 5
    assert all(row.slug for row in rows)
    assert actions.add_tag(by=tim, name="Übung").slug != actions.add_tag(by=tim, name="Ubung").slug


def test_an_assignment_deleted_meanwhile_is_said(tim: Member) -> None:
    row = actions.save_assignment(by=tim, assignment=None, title="HW", due_at=None, embargo_until=None)
    stale = Assignment.objects.get(pk=row.pk)
    actions.delete_assignment(by=tim, assignment=row)
    with pytest.raises(Refused, match="deleted this assignment"):
        actions.save_assignment(by=tim, assignment=stale, title="HW", due_at=None, embargo_until=None)
    for missing in (access.get_assignment, access.get_tag):
        with pytest.raises(Http404):
            missing(tim, stale.pk)


# Tags


def test_a_tag_counts_the_threads_that_are_still_there(world: World, sam: Member) -> None:
    exam, lab = factories.make_tag(world.course, "exam"), factories.make_tag(world.course, "lab")
    kept, deleted, merged = (factories.make_thread(sam, tags=[exam]) for _ in range(3))
    factories.make_thread(
        world.member("eve", world.foreign_course), tags=[factories.make_tag(world.foreign_course, "exam")]
    )
    actions.delete_thread(by=sam, thread=deleted)
    Thread.objects.filter(pk=merged.pk).update(merged_into=kept)
    assert [(tag.pk, tag.thread_count) for tag in access.counted_tags(world.member("tim"))] == [
        (exam.pk, 1),
        (lab.pk, 0),
    ]


def test_tags_are_added_renamed_merged_and_deleted(ta: Client, world: World, sam: Member) -> None:
    ta.post(f"{COURSE}tags/", {"name": " Loops "})
    ta.post(f"{COURSE}tags/", {"name": "Lists"})
    loops, lists = Tag.objects.get(name="Loops"), Tag.objects.get(name="Lists")
    both = factories.make_thread(sam, "About both", tags=[loops, lists])
    one = factories.make_thread(sam, "About loops", tags=[loops])
    refused = ta.post(f"{COURSE}tags/", {"name": "loops"})
    assert refused.status_code == 422
    assert "There is a tag “loops” already" in refused.content.decode()
    assert ta.post(f"{COURSE}tags/", {"name": ""}).status_code == 422
    page = ta.post(f"{COURSE}tags/{loops.pk}/", {"name": "x" * 50})
    assert page.status_code == 422
    assert "too long" in page.content.decode()
    ta.post(f"{COURSE}tags/{loops.pk}/", {"name": "Iteration"})
    loops.refresh_from_db()
    assert (loops.name, loops.slug) == ("Iteration", "loops")
    page = ta.post(f"{COURSE}tags/{loops.pk}/", {"name": "LISTS"}, follow=True)
    assert "Its threads are tagged “Lists” now" in page.content.decode()
    assert set(lists.threads.all()) == {both, one}
    assert not Tag.objects.filter(pk=loops.pk).exists()
    ta.post(f"{COURSE}tags/{lists.pk}/delete/")
    assert not Tag.objects.exists()
    assert Thread.objects.count() == 2
    verbs = set(AuditEvent.objects.filter(verb__startswith="tag.").values_list("verb", flat=True))
    assert verbs == {"tag.added", "tag.renamed", "tag.merged", "tag.deleted"}


# What was done


def test_the_audit_trail_says_who_did_what_to_what(client: Client, world: World, sam: Member, tim: Member) -> None:
    assert "Nothing yet" in client.get(f"{COURSE}audit/").content.decode()
    thread = factories.make_thread(sam, "A pinned one")
    post = factories.make_post(sam, thread)
    actions.set_pinned(by=tim, thread=thread, pinned=True)
    actions.edit_post(by=sam, post=post, body="Changed")
    row = Enrollment.objects.get(user=sam.user, course=world.course)
    course_actions.change_enrollments(by=world.member("ada"), enrollments=[row.pk], section="Monday")
    found = [(line.who, line.what, line.label) for line in client.get(f"{COURSE}audit/").context["lines"]]
    assert found == [
        ("Ada Surname-ada", "changed what somebody is in the course", "Sam Surname-sam"),
        ("Sam Surname-sam", "edited a post", f"in #{thread.number} A pinned one"),
        ("Tim Surname-tim", "pinned a thread", f"#{thread.number} A pinned one"),
    ]


def test_who_hides_is_nobody_in_the_audit_trail(client: Client, sam: Member) -> None:
    thread = factories.make_thread(sam, "A hidden one", anonymity="all")
    actions.edit_thread(by=sam, thread=thread, title="Still a hidden one", body="x", tags=[])
    page = client.get(f"{COURSE}audit/").content.decode()
    assert "<em>Somebody</em> edited a thread" in page
    assert "Surname-sam" not in page


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("thread.pinned", "pinned a thread"),
        ("answer.endorsed", "endorsed an answer of the AI"),
        ("post.hidden_again", "hidden again a post"),
        ("strange", "strange a row"),
        ("course.updated", "changed the course’s settings"),
    ],
)
def test_verbs_are_said_in_words(verb: str, said: str) -> None:
    assert describe(verb) == said


def test_the_audit_trail_costs_the_same_at_any_length(client: Client, world: World, sam: Member, tim: Member) -> None:
    actions.set_pinned(by=tim, thread=factories.make_thread(sam), pinned=True)
    client.get(f"{COURSE}audit/")
    with CaptureQueriesContext(connection) as few:
        client.get(f"{COURSE}audit/")
    for n in range(60):
        actions.set_pinned(by=tim, thread=factories.make_thread(sam, f"Question {n} of many"), pinned=True)
    with CaptureQueriesContext(connection) as many:
        page = client.get(f"{COURSE}audit/")
    assert len(many) == len(few)
    assert len(page.context["lines"]) == 50
    following = client.get(f"{COURSE}audit/", {"cursor": page.context["next"]})
    assert len(following.context["lines"]) == 11
    assert client.get(f"{COURSE}audit/?cursor=x").status_code == 400


def test_the_overview_shows_what_is_next(client: Client, tim: Member) -> None:
    actions.save_assignment(by=tim, assignment=None, title="Homework 9", due_at=SOON, embargo_until=SOON)
    page = client.get(COURSE).content.decode()
    assert "Next: Homework 9" in page
    assert "3 students, 2 staff" in page
    assert "secret until" in client.get(f"{COURSE}assignments/").content.decode()


def test_an_enrollment_is_found_by_staff_of_its_course_only(world: World, tim: Member, sam: Member) -> None:
    row = Enrollment.objects.get(user=sam.user, course=world.course)
    assert get_enrollment(tim, row.pk).user == sam.user
    for member in (sam, world.member("pat", world.other_course)):
        with pytest.raises(Http404):
            get_enrollment(member, row.pk)
